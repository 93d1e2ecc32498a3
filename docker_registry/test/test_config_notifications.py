"""Options for webhooks, with the names that registry:2 gave them (H5)."""

from __future__ import annotations

from pydantic import SecretStr

from docker_registry.config.notifications import Endpoint, Notifications
from docker_registry.config.secrets import secrets
from docker_registry.test.config_case import MARKER, ConfigCase

FIELDS = "names of header fields, each with a value or a list of them"
SECONDS = "seconds, or with units: 500ms, 30s, 1m30s"

PROBLEMS = [
    # an endpoint, and what is said of it
    ("url: 'http://x/'", "name: missing (allowed: letters, digits, '.', '_', '-')"),
    ("name: a", "url: missing (allowed: a URL of http or https)"),
    ("name: 'a b', url: 'http://x/'", "name: not a name for the log, of 1 to 64 characters "
                                     "(allowed: letters, digits, '.', '_', '-')"),
    ("name: a, url: 'ftp://x/'", "url: not a URL of http or https (allowed: a URL of http or https)"),
    ("name: a, url: '/events'", "url: not a URL of http or https (allowed: a URL of http or https)"),
    ("name: a, url: 'http://x:99999/'", "url: not a URL (allowed: a URL of http or https)"),
    (f"name: a, url: 'http://me:{MARKER}@x/'", "url: with a user or a password; an Authorization field below headers "
                                               "says that (allowed: a URL of http or https)"),
    ("name: a, url: 'http://x/ y'", "url: with a fragment, blanks or control characters "
                                    "(allowed: a URL of http or https)"),
    ("name: a, url: 'http://x/', timeout: 0", f"timeout: wrong value 0 (allowed: {SECONDS}; from 0.1 to 5m)"),
    ("name: a, url: 'http://x/', threshold: 0", "threshold: wrong value 0 (allowed: a whole number; from 1 to 1000)"),
    ("name: a, url: 'http://x/', ignore: {actions: [tag]}",
     'ignore.actions: wrong value "tag" (allowed: a list of push, pull, mount, delete)'),
    (f'name: a, url: "http://x/", headers: {{A: "{MARKER}\\r\\nB: c"}}',
     f"headers.A: a value that no header field has (allowed: {FIELDS})"),
    ("name: a, url: 'http://x/', headers: {'A B': c}",
     f"headers: a name that no header field has (allowed: {FIELDS})"),
    *((f"name: a, url: 'http://x/', headers: {{{name}: '0'}}",
       f"headers.{name}: a field that says where a request ends, which depends on the events (allowed: {FIELDS})")
      for name in ("Content-Length", "transfer-encoding")),
    ("name: a, url: 'http://x/', headers: {Authorization: 31337}",
     f"headers.Authorization: wrong value (allowed: {FIELDS})"),
    ("name: a, url: 'http://x/', treshold: 5", "treshold: unknown option; the nearest is threshold"),
]


class NotificationOptionsTests(ConfigCase):
    def notifications(self, options: str, **others: object) -> Notifications:
        return self.load(f"x:\n  storage: memory\n  notifications:\n{options}", **others).config.notifications

    def test_problems(self) -> None:
        for options, expected in PROBLEMS:
            with self.subTest(options):
                said = self.problems(f"x:\n  storage: memory\n  notifications: {{endpoints: [{{{options}}}]}}\n")
                self.assertEqual(said.partition(" ")[2], f"x.notifications.endpoints.{expected}")
                self.assertTrue(said.startswith("c.yml:3:"))

    def test_two_of_one_name(self) -> None:
        said = self.problems("x:\n  storage: memory\n  notifications:\n    endpoints:\n"
                             "      - {name: a, url: 'http://x/'}\n      - {name: a, url: 'http://y/'}\n")
        self.assertEqual(said, "c.yml:5:7: x.notifications.endpoints: two of one name "
                               "(allowed: a list of entries with options)")

    def test_none(self) -> None:
        for options in ("", "    endpoints:\n", "    endpoints: []\n"):
            self.assertEqual(self.notifications(options), Notifications())

    def test_as_registry_2_has_it(self) -> None:
        """The example of its documentation."""
        found = self.notifications(
            "    events:\n      includereferences: true\n    endpoints:\n      - name: alistener\n"
            "        disabled: false\n        url: https://my.listener.com/event\n"
            "        headers: {Authorization: [_env:TOKEN], X-Two: [a, b], X-One: c}\n        timeout: 500ms\n"
            "        threshold: 10\n        backoff: 1m30s\n        ignoredmediatypes:\n"
            "          - application/octet-stream\n        ignore:\n          mediatypes:\n"
            "            - application/octet-stream\n          actions:\n            - pull\n",
            environ={"TOKEN": f"Bearer {MARKER}"},
        )
        self.assertTrue(found.events.includereferences)
        [endpoint] = found.endpoints
        self.assertEqual(endpoint.name, "alistener")
        self.assertEqual(endpoint.url.get_secret_value(), "https://my.listener.com/event")
        self.assertEqual((endpoint.timeout, endpoint.threshold, endpoint.backoff), (0.5, 10, 90.0))
        self.assertEqual([*secrets(endpoint.headers)], [f"Bearer {MARKER}", "a", "b", "c"])
        self.assertEqual(endpoint.ignore.actions, ("pull",))

    def test_defaults(self) -> None:
        [endpoint] = self.notifications("    endpoints: [{name: a, url: 'http://x/'}]\n").endpoints
        self.assertEqual(endpoint, Endpoint(name="a", url=SecretStr("http://x/")))
        self.assertEqual((endpoint.timeout, endpoint.backoff), (5.0, 30.0))

    def test_url_is_a_secret(self) -> None:
        """Often its path is all that there is of one."""
        [endpoint] = self.notifications("    endpoints: [{name: a, url: 'http://x/hook/31337'}]\n").endpoints
        self.assertNotIn("31337", repr(endpoint))
        self.assertEqual([*secrets(endpoint)], ["http://x/hook/31337"])
