"""YAML as values that know where they stand (H6)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.config import document
from docker_registry.config.document import MAX_DEPTH, MAX_NODES, Value
from docker_registry.config.problems import ConfigError, Place
from docker_registry.test.config_case import MARKER


def plain(value: Value | dict[str, Value]) -> object:
    content = value if isinstance(value, dict) else value.content
    if isinstance(content, dict):
        return {key: plain(each) for key, each in content.items()}
    return [plain(each) for each in content] if isinstance(content, tuple) else content


READ = [
    ("plain", "dev:\n  a: 1\n", {"dev": {"a": 1}}),
    ("kinds", "d: [1, 1.5, true, no, ~, text, 'true', 0x10]", {"d": [1, 1.5, True, False, None, "text", "true", 16]}),
    ("a date is text", "d: 2026-01-31", {"d": "2026-01-31"}),
    ("an impossible date", "d: 2026-99-99", {"d": "2026-99-99"}),
    ("keys as written", "on: 1\n2026: 2\n~: 3", {"on": 1, "2026": 2, "~": 3}),
    ("anchor", "a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
    ("merge", "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
    ("merge after", "a: &x {b: 1}\nd:\n  b: 2\n  <<: *x", {"a": {"b": 1}, "d": {"b": 2}}),
    (
        "merge of a list: the first wins",
        "a: &x {b: 1}\nc: &y {b: 2, d: 3}\ne: {<<: [*x, *y]}",
        {"a": {"b": 1}, "c": {"b": 2, "d": 3}, "e": {"b": 1, "d": 3}},
    ),
    ("byte order mark", "\ufeffa: 1", {"a": 1}),
    ("windows line ends", "a:\r\n  b: 1\r\n", {"a": {"b": 1}}),
    ("explicit plain tag", "a: !!str 5", {"a": "5"}),
    ("JSON", '{"dev": {"storage": "memory"}}', {"dev": {"storage": "memory"}}),
]

REFUSED: list[tuple[str, str | bytes, str]] = [
    ("empty", "", "f:1:1: empty (allowed: a mapping of flavors)"),
    ("only a comment", "# nothing\n", "f:1:1: empty (allowed: a mapping of flavors)"),
    ("list", "- a", "f:1:1: not a mapping (allowed: a mapping of flavors)"),
    ("text", MARKER, "f:1:1: not a mapping (allowed: a mapping of flavors)"),
    ("tab", "a:\n\tb: 1", "f:2:1: not YAML: a tab; indent with spaces"),
    ("colon", f"a: {MARKER}: c", "f:1:11: not YAML: mapping values are not allowed here"),
    ("unfinished quote", f"a: '{MARKER}\n", "f:2:1: not YAML: found unexpected end of stream"),
    ("unfinished list", "a: [b,\nc: d", "f:2:5: not YAML: expected ',' or ']', but got '<stream end>'"),
    ("percent", f"a: %{MARKER}", "f:1:4: not YAML: found character that cannot start any token"),
    ("escape", f'a: "\\q{MARKER}"', "f:1:6: not YAML: found unknown escape character"),
    ("alias of nothing", f"a: *{MARKER}", "f:1:4: not YAML: found undefined alias"),
    ("tag", f"a: !{MARKER} x", "f:1:4: a: a tag that is not allowed"),
    ("object", "a: !!python/object/apply:os.system [x]", "f:1:4: a: a tag that is not allowed"),
    ("binary", "a: !!binary aHVudGVyMg==", "f:1:4: a: a tag that is not allowed"),
    ("set", "a: !!set {b, c}", "f:1:4: a: a tag that is not allowed"),
    ("no number", f"a: !!int {MARKER}", "f:1:4: a: not what its tag or its shape says"),
    ("no boolean", f"a: !!bool {MARKER}", "f:1:4: a: not what its tag or its shape says"),
    ("number of nothing", "a: 0x_", "f:1:4: a: not what its tag or its shape says"),
    ("endless number", f"a: {'9' * 5000}", "f:1:4: a: not what its tag or its shape says"),
    ("key twice", "a: {b: 1, b: 2}", "f:1:11: a.b: duplicate key 'b', first in line 1"),
    ("flavor twice", "a: {}\nb: {}\na: {}", "f:3:1: a: duplicate key 'a', first in line 1"),
    ("secret as key, twice", f"a:\n  ? ':{MARKER}'\n  ? ':{MARKER}'", "f:3:5: a: duplicate key, first in line 2"),
    ("key that is a list", "a: {[b]: c}", "f:1:5: a: a key that is no text"),
    ("merge of a number", "a: {<<: 3}", "f:1:9: a: only a mapping can be merged"),
    ("two documents", "a: 1\n---\nb: 2", "f:2:1: not YAML: expected a single document in the stream, "
                                             "but found another document"),
    ("not UTF-8", b"a: 1\nb: \xff", "f:2:4: not UTF-8"),
    ("NUL", "a: 1\nb: \0", "f:2:4: not YAML: a character that may not stand in a text"),
    ("itself", "a: &x [*x]", f"f:1:4: nested deeper than {MAX_DEPTH} levels"),
    ("deep", "[" * 100_000, f"f:1:{MAX_DEPTH + 1}: nested deeper than {MAX_DEPTH} levels"),
    ("many", "a: [" + "1," * MAX_NODES + "]", f"f:1:{3 + 2 * MAX_NODES - 4}: more than {MAX_NODES} values"),
]


def billion_laughs() -> str:
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "\n".join(lines)


class ParseTests(SynchronousTestCase):
    def test_read(self) -> None:
        for name, text, expected in READ:
            with self.subTest(name):
                self.assertEqual(plain(document.parse(text.encode(), "f")), expected)

    def test_refused(self) -> None:
        for name, text, expected in REFUSED:
            with self.subTest(name):
                content = text if isinstance(text, bytes) else text.encode()
                message = str(self.assertRaises(ConfigError, document.parse, content, "f"))
                self.assertEqual(message, expected)
                self.assertNotIn(MARKER, message)

    def test_every_problem_at_once(self) -> None:
        text = b"a: {b: 1, b: 2}\nc: !x y\nd: {<<: 3}"
        error = self.assertRaises(ConfigError, document.parse, text, "f")
        self.assertEqual([problem.place for problem in error.problems], [Place(1, 11), Place(2, 4), Place(3, 9)])

    def test_a_small_file_that_blows_up(self) -> None:
        """Ten lines that stand for ten thousand million values are refused after ten thousand of them."""
        text = billion_laughs()
        self.assertLess(len(text), 1000)
        message = str(self.assertRaises(ConfigError, document.parse, text.encode(), "f"))
        self.assertIn(f"more than {MAX_NODES} values once aliases are followed", message)

    def test_merges_that_blow_up(self) -> None:
        lines = ["a0: &a0 {x: 1}"]
        lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 10)]
        message = str(self.assertRaises(ConfigError, document.parse, "\n".join(lines).encode(), "f"))
        self.assertIn("values once aliases are followed", message)

    def test_places(self) -> None:
        value = document.parse(b"a:\n  b: [x,\n    y]\n", "f")["a"].content
        assert isinstance(value, dict)
        listed = value["b"].content
        assert isinstance(listed, tuple)
        self.assertEqual((value["b"].key, value["b"].place), (Place(2, 3), Place(2, 6)))
        self.assertEqual(listed[1].place, Place(3, 5))

    def test_scalar(self) -> None:
        for text, expected in [
            ("5", 5), ("true", True), ("off", False), ("1.5", 1.5), ("", None), ("x", "x"), ("0x_", "0x_"),
            ("2026-01-31", "2026-01-31"), ("[1]", "[1]"), ("*x", "*x"), ("9" * 5000, "9" * 5000),
        ]:
            with self.subTest(text[:10]):
                self.assertEqual(document.scalar(text), expected)
