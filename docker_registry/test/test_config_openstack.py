"""Options of a login at OpenStack: what is wrong is said, and never a secret; what is right gets to the login."""

from __future__ import annotations

from pathlib import Path

from docker_registry.storage.clouds import cloud
from docker_registry.test.certificates import make_certificate
from docker_registry.test.config_case import MARKER, ConfigCase

URL = "(allowed: https://HOST:PORT/PATH, or the same with http)"

PROBLEMS = [
    # options, and what is said of them
    ("os_auth_url: keystone.example.org", f"x.os_auth_url: not https://HOST:PORT/PATH, without a password {URL}"),
    (f"os_auth_url: 'https://u:{MARKER}@h/v3'", f"x.os_auth_url: not https://HOST:PORT/PATH, without a password {URL}"),
    ("os_auth_url: 'file:///etc/passwd'", "x.os_auth_url: not https://HOST:PORT/PATH"),
    ("os_interface: publicURL", 'x.os_interface: wrong value "publicURL" (allowed: public, internal, admin)'),
    ("os_insecure: 'yes'", "x.os_insecure: wrong value"),
    ("os_cacert: /none", "x.os_cacert: the file cannot be read: No such file or directory"),
    ("os_cacert: /dev/null", "x.os_cacert: no certificate in PEM"),
    (f"os_password: [{MARKER}]", "x.os_password: wrong value"),
    (f"os_pasword: {MARKER}", "x.os_pasword: unknown option; the nearest is os_password"),
    ("os_username: 5", "x.os_username: wrong value 5 (allowed: text)"),
]


class OptionTests(ConfigCase):
    def test_problems(self) -> None:
        for options, expected in PROBLEMS:
            with self.subTest(options):
                said = self.problems(f"x: {{storage: memory, {options}}}")
                self.assertIn(expected, said)

    def test_login(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        make_certificate(directory)
        config = self.load(
            f"x: {{storage: memory, os_auth_url: 'https://k:5000/v3', os_username: u, os_password: _env:PASSWORD, "
            f"os_project_name: p, os_region_name: r, os_interface: internal, os_cacert: {directory}/cert.pem}}",
            environ={"PASSWORD": MARKER},
        ).config
        self.assertNotIn(MARKER, repr(config))
        found = cloud(config.openstack, {"OS_REGION_NAME": "of the environment"}, [])
        self.assertEqual((found.login.username, found.login.password, found.login.project), ("u", MARKER, "p"))
        self.assertEqual((found.region, found.interface, found.ca, found.insecure),
                         ("r", "internal", directory / "cert.pem", False))
