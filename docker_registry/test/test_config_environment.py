"""The configuration of a container: every option has a variable."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml

from docker_registry.config import environment
from docker_registry.config.model import Config
from docker_registry.config.secrets import secrets
from docker_registry.config.section import group
from docker_registry.config.values import AUTO
from docker_registry.test.config_case import MARKER, ConfigCase

EACH = {
    "ACCESS_LOG": ("access_log", "json"),
    "ALLOW_MISSING_CHILDREN": ("allow_missing_children", True),
    "LIMITS_PER_ADDRESS": ("limits.per_address", 0),
    "LIMITS_BODY_MEMORY": ("limits.body_memory", 64 << 20),
    "SHUTDOWN_GRACE": ("shutdown_grace", 120.0),
    "WORKERS": ("workers", AUTO),
    "DELETE_ENABLED": ("delete_enabled", False),
    "LISTEN": ("listen", ("tcp:80", "tcp6:80")),
    "ADMIN_LISTEN": ("admin_listen", ("tcp:81",)),
    "SMTP_FROM_ADDR": ("email_exceptions.from_addr", "us@example.com"),
    "SMTP_TO_ADDR": ("email_exceptions.to_addr", ("a@example.com", "b@example.com")),
    "NOTIFICATIONS_QUEUE": ("notifications.queue", 500),
    "NOTIFICATIONS_EVENTS_INCLUDEREFERENCES": ("notifications.events.includereferences", True),
}
SAID = {
    "ACCESS_LOG": "json", "ALLOW_MISSING_CHILDREN": "true", "LIMITS_PER_ADDRESS": "0", "LIMITS_BODY_MEMORY": "64MiB",
    "SHUTDOWN_GRACE": "2m", "WORKERS": "auto", "SECRET_KEY": "s", "DELETE_ENABLED": "false", "LISTEN": "tcp:80 tcp6:80",
    "ADMIN_LISTEN": "tcp:81", "SMTP_FROM_ADDR": "us@example.com", "SMTP_TO_ADDR": "a@example.com, b@example.com",
    "NOTIFICATIONS_QUEUE": "500", "NOTIFICATIONS_EVENTS_INCLUDEREFERENCES": "true",
}


class EnvironmentTests(ConfigCase):
    def setUp(self) -> None:
        super().setUp()
        self.store = {"STORAGE_PATH": f"{os.getcwd()}/store", "CACHE_PATH": f"{os.getcwd()}/cache",
                      "NOTIFICATIONS_OUTBOX": f"{os.getcwd()}/outbox"}

    def config(self, flavor: str = "prod", **variables: str) -> Config:
        return self.load(environment.text(), flavor, {**self.store, **variables}).config

    def test_every_option_is_there(self) -> None:
        """In the common part; but which store it is, is what the flavors are for."""
        written = yaml.safe_load(environment.text())["common"]
        self.assertEqual(Config.model_fields.keys() - written.keys(), {"storage"})
        for name, field in Config.model_fields.items():
            if (inner := group(field)) is not None:
                self.assertEqual(written[name].keys(), inner.model_fields.keys())

    def test_no_variable_twice(self) -> None:
        common = environment.text().partition("\nprod:")[0]
        found = re.findall(r"_env:(\w+)", common)
        self.assertEqual(len(found), len(set(found)))
        self.assertTrue(all(name.isupper() or name == "V1" for name in found), found)

    def test_nothing_said(self) -> None:
        """It listens where a container does, and everything else has its default."""
        config = self.config()
        self.assertEqual(config.listen, ("tcp:5000",))
        self.assertEqual(config.admin_listen, ("tcp:5001:interface=127.0.0.1",))
        same = {"listen": Config.model_fields["listen"].default, "admin_listen": (), "storage": "memory",
                "storage_path": None, "cache_path": None, "notifications": Config.model_fields["notifications"].default}
        self.assertEqual(config.model_copy(update=same), Config(storage="memory"))

    def test_what_outlives_a_container_is_in_the_volume(self) -> None:
        text = environment.text()
        for name in ("STORAGE_PATH", "CACHE_PATH", "NOTIFICATIONS_OUTBOX"):
            self.assertIn(f'_env:{name}:{environment.VOLUME}', text)

    def test_each(self) -> None:
        config = self.config(**SAID)
        for path, value in EACH.values():
            found: object = config
            for name in path.split("."):
                found = getattr(found, name)
            self.assertEqual(found, value, path)

    def test_bucket(self) -> None:
        config = self.config("s3", S3_BUCKET="images", S3_SECRET_KEY=MARKER, S3_ACCESS_KEY="a", STORAGE_PATH="")
        self.assertEqual((config.storage, config.bucket, config.storage_path), ("s3", "images", None))
        self.assertEqual([*secrets(config)], ["a", MARKER])
        self.assertEqual(config.cache_path, Path("cache").absolute())

    def test_openstack(self) -> None:
        """The variables are those of an RC file."""
        login = {"OS_AUTH_URL": "https://k:5000/v3", "OS_USERNAME": "u", "OS_PASSWORD": MARKER, "OS_PROJECT_NAME": "p"}
        glance = self.config("glance", **login, GLANCE_NAMES="true")
        self.assertEqual((glance.storage, glance.beneath, glance.glance_names), ("glance", "local", True))
        self.assertEqual(str(glance.storage_path), self.store["STORAGE_PATH"])
        swift = self.config("swift", **login, SWIFT_CONTAINER="images", STORAGE_PATH="")
        self.assertEqual((swift.storage, swift.container), ("swift", "images"))
        self.assertEqual(swift.cache_path, Path("cache").absolute())
        for config in (glance, swift):
            self.assertEqual(config.openstack["auth_url"], "https://k:5000/v3")
            self.assertEqual([*secrets(config)], [MARKER])

    def test_webhooks(self) -> None:
        """A list of entries is one variable."""
        said = (
            "[{name: builds, url: 'https://b.example.com/x', headers: {Authorization: Bearer t}, "
            "ignore: {actions: [pull]}}, {name: other, url: 'http://o/'}]"
        )
        builds, other = self.config(NOTIFICATIONS_ENDPOINTS=said).notifications.endpoints
        self.assertEqual((builds.name, other.name), ("builds", "other"))
        self.assertEqual(builds.headers["Authorization"][0].get_secret_value(), "Bearer t")
        self.assertEqual(builds.ignore.actions, ("pull",))

    def test_problems_name_the_variable(self) -> None:
        for variables, said in [
            ({"LOGLEVEL": "loud"}, "prod.loglevel: wrong value in $LOGLEVEL (allowed: debug"),
            ({"WORKERS": "many"}, "prod.workers: wrong value in $WORKERS (allowed: a whole number"),
            ({"WORKERS": "2"}, "prod.secret_key: $SECRET_KEY: missing, and several workers"),
            ({"LIMITS_CONNECTIONS": "-5"}, "prod.limits.connections: wrong value in $LIMITS_CONNECTIONS"),
            ({"NOTIFICATIONS_ENDPOINTS": f"[{{{MARKER}"}, "$NOTIFICATIONS_ENDPOINTS: not a list in YAML"),
            ({"NOTIFICATIONS_ENDPOINTS": MARKER}, "wrong value in $NOTIFICATIONS_ENDPOINTS (allowed: a list of"),
            ({"NOTIFICATIONS_ENDPOINTS": f"[{{name: a, url: 'ftp://{MARKER}'}}]"},
             "endpoints.url: $NOTIFICATIONS_ENDPOINTS: not a URL of http or https"),
            ({"NOTIFICATIONS_ENDPOINTS": f"[{{name: a, url: 'http://a/', header: {MARKER}}}]"},
             "endpoints.header: unknown option; the nearest is headers"),
            ({"STORAGE_PATH": ""}, "prod.storage_path: "),
        ]:
            with self.subTest(variables):
                environ = {**self.store, **variables}
                said_of_it = self.problems(environment.text(), "prod", environ=environ)
                self.assertIn(said, said_of_it)
