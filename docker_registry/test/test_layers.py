"""Imports point down, so that each part can be read, tested and replaced without those above it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import docker_registry

LAYERS = [
    ["__main__"],
    ["tap", "cli"],
    ["commands"],
    ["warm", "leftovers", "recover", "workers"],
    ["alone", "progress"],
    ["service"],
    ["assembly"],
    ["daemon"],
    ["listening", "journal"],
    ["watching"],
    ["front", "mail", "webhooks"],
    ["admin"],
    ["metrics"],
    ["v1", "v2"],
    ["auth", "notifications"],
    ["registry"],
    ["storage"],
    ["web", "config", "alerts", "process", "systemd"],
    ["logs"],
    ["digest", "names", "errors", "deferreds", "threads", "strictjson", "current", "acceptor", "reloading",
     "query_secrets", "complaints", "polling", "output"],
]
"""From top to bottom. A part imports from the layers below its own, and the last layer also from itself."""

RANK = {name: rank for rank, names in enumerate(reversed(LAYERS)) for name in names}

NEVER = [
    # part, and what it does not import from anywhere
    ("registry", "twisted.web"),
    ("registry", "docker_registry.web"),
    ("registry", "klein"),
    ("storage", "twisted.web.server"),
    ("storage", "docker_registry.web"),
    ("storage", "klein"),
]

ROOT = Path(docker_registry.__file__).parent


def modules() -> Iterator[tuple[Path, str]]:
    """Each module of the package, tests apart, with the part that it belongs to."""
    for path in sorted(ROOT.rglob("*.py")):
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if part not in ("test", "__init__"):
            yield path, part


def imported(path: Path) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def parts(names: Iterator[str]) -> Iterator[str]:
    for name in names:
        package, _, rest = name.partition(".")
        if package == "docker_registry" and rest:
            yield rest.partition(".")[0]


class LayerTests(SynchronousTestCase):
    def test_every_part_has_a_layer(self) -> None:
        self.assertEqual({part for _, part in modules()} - RANK.keys(), set())

    def test_imports_point_down(self) -> None:
        for path, part in modules():
            for target in set(parts(imported(path))) - {part}:
                at_the_bottom = RANK[target] == RANK[part] == 0
                self.assertTrue(RANK[target] < RANK[part] or at_the_bottom, f"{path} imports {target}")

    def test_no_http_in_the_core(self) -> None:
        for path, part in modules():
            for name in imported(path):
                for who, what in NEVER:
                    forbidden = part == who and (name == what or name.startswith(f"{what}."))
                    self.assertFalse(forbidden, f"{path} imports {name}")

    def test_no_global_reactor(self) -> None:
        """It is an argument everywhere but where twistd hands over."""
        for path, part in modules():
            if part not in ("tap", "cli"):
                self.assertNotIn("twisted.internet.reactor", set(imported(path)), path)
