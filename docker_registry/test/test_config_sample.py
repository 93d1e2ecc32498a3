"""The sample, the documentation and the model say the same."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import docker_registry
from docker_registry.config import reference
from docker_registry.config.load import SAMPLE, load
from docker_registry.config.model import SAMPLE_SECRET, Config
from docker_registry.config.problems import ConfigError
from docker_registry.config.section import group

CHECKOUT = Path(docker_registry.__file__).parent.parent

GROUPS = {name: inner for name, field in Config.model_fields.items() if (inner := group(field))}
SMTP = {
    "SMTP_HOST": "mail.example.com", "SMTP_PORT": "587", "SMTP_LOGIN": "us", "SMTP_PASSWORD": "secret",
    "SMTP_SECURE": "true", "SMTP_FROM_ADDR": "us@example.com", "SMTP_TO_ADDR": "a@example.com, b@example.com",
}
FLAVORS = ["dev", "openstack", "prod", "test"]


class SampleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.text = Path(SAMPLE).read_text()
        self.flavors = yaml.safe_load(self.text)
        directory = self.mktemp()
        os.makedirs(directory)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory)

    def test_is_that_of_the_checkout(self) -> None:
        if not (CHECKOUT / "config_sample.yml").exists():
            raise SkipTest("not a checkout")
        self.assertEqual((CHECKOUT / "config_sample.yml").read_text(), self.text)

    def test_flavors(self) -> None:
        self.assertEqual(sorted(self.flavors), ["common", *FLAVORS])

    def test_loads_with_nothing_set(self) -> None:
        """Each flavor, with no more in the environment than a path that can be written to, and prod's secret."""
        environ = {"STORAGE_PATH": os.path.abspath("images")}
        for flavor in FLAVORS:
            with self.subTest(flavor):
                more = {"SECRET_KEY": "s"} if flavor == "prod" else {}
                loaded = load(None, flavor, {**environ, **more})
                self.assertEqual((loaded.flavor, loaded.file), (flavor, SAMPLE))

    def test_workers_of_prod_need_a_secret(self) -> None:
        error = self.assertRaises(ConfigError, load, None, "prod", {"STORAGE_PATH": os.path.abspath("images")})
        self.assertIn("prod.secret_key: $SECRET_KEY: missing, and several workers must have the same", str(error))

    def test_loads_with_everything_set(self) -> None:
        names = set(re.findall(r"_env:([A-Z_]+)", self.text.split("\ncommon:")[1]))
        self.assertEqual({name for name in names if not name.startswith("SMTP_")}, {"SECRET_KEY", "STORAGE_PATH"})
        variables = {name: f"/{name}" for name in names} | {"STORAGE_PATH": os.path.abspath("images")} | SMTP
        self.assertEqual(SMTP.keys() - names, set())
        mail = load(None, "prod", variables).config.email_exceptions
        self.assertEqual((mail.smtp_port, mail.smtp_secure), (587, "starttls"))
        self.assertEqual(mail.to_addr, ("a@example.com", "b@example.com"))
        for flavor in ("prod", "openstack"):
            config = load(None, flavor, variables).config
            assert config.secret_key is not None
            self.assertEqual(config.secret_key.get_secret_value(), "/SECRET_KEY")
            self.assertEqual(config.storage_path, Path(variables["STORAGE_PATH"]))

    def test_prod_without_environment(self) -> None:
        prod = self.flavors["prod"]
        self.assertEqual(prod["storage_path"], "_env:STORAGE_PATH:/var/lib/docker-registry")

    def test_common_shows_the_defaults(self) -> None:
        """All of them but those that each flavor has its own of, and none that is something else."""
        shown = self.flavors["common"]
        self.assertEqual(Config.model_fields.keys() - shown.keys(), {"storage_path", "secret_key", "cache_path"})
        self.assertIn("    # cache_path: /", self.text)
        for name, inner in GROUPS.items():
            self.assertEqual(inner.model_fields.keys() - shown[name].keys() - {"outbox"}, set())
        Path("c.yml").write_text(f"{self.text}\nempty: {{storage: memory}}\n")
        self.assertEqual(load("c.yml", "empty", {}).config, Config(storage="memory"))

    def test_secret_of_dev_is_the_one_that_is_refused_elsewhere(self) -> None:
        self.assertEqual(self.flavors["dev"]["secret_key"], SAMPLE_SECRET)

    def test_a_comment_for_every_option(self) -> None:
        """Above the option, or above the group of lines that it stands in."""
        lines = self.text.splitlines()
        for number, line in enumerate(lines):
            option = re.match(r"( +)[a-z0-9_]+:", line)
            if option is None:
                continue
            above = number - 1
            while re.match(rf"{option[1]}[a-z0-9_]+:", lines[above]):
                above -= 1
            self.assertRegex(lines[above], rf"^{option[1]}#", line)


class DocumentationTests(SynchronousTestCase):
    def test_is_what_the_model_says(self) -> None:
        """``python -m docker_registry.config.reference`` prints what belongs there."""
        path = CHECKOUT / "docs" / "configuration.md"
        if not path.exists():
            raise SkipTest("not a checkout")
        written = path.read_text()
        self.assertEqual(written[written.index(reference.HEADING) :], reference.text())

    def test_names_every_option(self) -> None:
        text = reference.text()
        for option in [*Config.model_fields, *(option for inner in GROUPS.values() for option in inner.model_fields)]:
            self.assertIn(f"## {option}\n", text)
