"""Options of Glance and of the store beside it: what is wrong is said, and what is right gets to both."""

from __future__ import annotations

from pathlib import Path

from docker_registry import assembly
from docker_registry.storage import accounts
from docker_registry.test.config_case import ConfigCase

URL = "(allowed: https://HOST:PORT/PATH, or the same with http)"

PROBLEMS = [
    # options, and what is said of them
    ("storage: glance", "x.storage_path: missing, and storage_alternate is local"),
    ("storage: glance, storage_path: images", "x.storage_path: "),
    ("storage: glance, storage_alternate: glance", 'wrong value "glance" (allowed: local, s3, swift)'),
    ("storage: glance, storage_alternate: memory", 'wrong value "memory" (allowed: local, s3, swift)'),
    ("storage: glance, storage_alternate: s3", "x.storage: s3_bucket is missing, and storage_alternate is s3"),
    ("storage: glance, storage_alternate: swift",
     "x.storage: swift_container is missing, and storage_alternate is swift"),
    ("storage: glance, storage_alternate: s3, s3_bucket: images, storage_path: ../x", "x.storage_path: not a prefix"),
    ("storage: memory, os_glance_url: glance.example.org",
     f"x.os_glance_url: not https://HOST:PORT/PATH, without a password {URL}"),
    ("storage: memory, glance_names: 'on'", "x.glance_names: wrong value"),
    ("storage: memory, glance_name: true", "x.glance_name: unknown option; the nearest is glance_names"),
]


class OptionTests(ConfigCase):
    def test_problems(self) -> None:
        for options, expected in PROBLEMS:
            with self.subTest(options):
                self.assertIn(expected, self.problems(f"x: {{{options}}}"))

    def test_beside(self) -> None:
        """What is said of a directory or a bucket holds of the one beside Glance."""
        here = Path.cwd()
        config = self.load(f"x: {{storage: glance, storage_path: {here}}}").config
        self.assertEqual(config.storage_alternate, "local")
        self.assertEqual(assembly.cache_directory(config), here / ".cache")
        self.assertEqual(assembly.registry_settings(config).catalogue_refresh, 0.0)
        config = self.load(
            "x: {storage: glance, storage_alternate: s3, s3_bucket: images, storage_path: /prod, workers: 1}"
        ).config
        self.assertIsNone(assembly.cache_directory(config))
        settings = assembly.registry_settings(config)
        self.assertEqual((settings.catalogue_refresh, settings.link_belief), (3600.0, 5.0))

    def test_whose(self) -> None:
        """What was found in one project does not count in another."""
        same = "storage: memory, os_auth_url: 'https://k:5000/v3', os_project_name: p"
        places = [
            accounts.whose(self.load(f"x: {{{same}{more}}}").config)
            for more in ("", ", os_username: u", ", os_project_id: q", ", os_region_name: r",
                         ", os_glance_url: 'http://h'")
        ]
        self.assertEqual(places[0], places[1])
        self.assertEqual(len(set(places)), 4)
