"""Options into a service."""

from __future__ import annotations

import os
import re
import sys
from io import StringIO
from pathlib import Path

from click.testing import CliRunner
from twisted.application.service import Application, IService
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.python.usage import UsageError
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.cli import main
from docker_registry.tap import Options, makeService


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        directory = self.mktemp()
        os.makedirs(directory)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory)
        Path("c.yml").write_text("dev: {storage: memory}\nbad: {storage: tape, threads: no, secret_key: [hunter2]}\n")
        for name in ("SETTINGS_FLAVOR", "DOCKER_REGISTRY_CONFIG"):
            if name in os.environ:
                self.patch(os, "environ", {key: value for key, value in os.environ.items() if key != name})


class OptionsTests(Case):
    def test_configuration(self) -> None:
        options = Options()
        options.parseOptions(["--config", "c.yml", "--flavor", "dev", "--listen", "tcp:1", "-l", "tcp:2"])
        self.assertEqual(options.loaded.config.listen, ("tcp:1", "tcp:2"))
        self.assertEqual((options.loaded.file, options.loaded.flavor), ("c.yml", "dev"))

    def test_nothing(self) -> None:
        options = Options()
        options.parseOptions([])
        self.assertEqual(options.loaded.config.storage_path, Path(os.getcwd()) / "registry-data")

    def test_environment(self) -> None:
        self.patch(os, "environ", {"DOCKER_REGISTRY_CONFIG": os.path.abspath("c.yml"), "SETTINGS_FLAVOR": "dev"})
        options = Options()
        options.parseOptions([])
        self.assertEqual(options.loaded.config.storage, "memory")

    def test_problems(self) -> None:
        """All of them on stderr, and the status of a configuration that cannot work."""
        said = StringIO()
        self.patch(sys, "stderr", said)
        error = self.assertRaises(SystemExit, Options().parseOptions, ["-c", "c.yml", "-f", "bad", "-l", "nowhere"])
        self.assertEqual(error.code, 78)
        self.assertEqual(
            [line.split(" (")[0] for line in said.getvalue().splitlines()],
            [
                "--listen: nowhere: not an endpoint",
                'c.yml:2:16: bad.storage: wrong value "tape"',
                "c.yml:2:31: bad.threads: wrong value false",
                "c.yml:2:47: bad.secret_key: wrong value: a list",
            ],
        )

    def test_unknown_option(self) -> None:
        self.assertRaises(UsageError, Options().parseOptions, ["--colour", "red"])

    def test_help_has_an_example(self) -> None:
        self.assertIn("Example: twistd --nodaemon docker-registry", str(Options()))


class ServiceTests(Case):
    def options(self, *twistd: str) -> Options:
        """As twistd parses them, without the plugins of this machine."""
        parent = ServerOptions()
        parent.parseOptions(["--nodaemon", *twistd])
        options = Options()
        options.parent = parent
        options.parseOptions(["--config", "c.yml"])
        return options

    def test_a_service(self) -> None:
        self.assertTrue(IService.providedBy(makeService(self.options())))

    def test_no_socket_of_systemd(self) -> None:
        Path("c.yml").write_text("dev: {storage: memory, listen: ['systemd:domain=INET:index=7']}")
        said = StringIO()
        self.patch(sys, "stderr", said)
        error = self.assertRaises(SystemExit, makeService, self.options())
        self.assertEqual(error.code, 78)
        self.assertIn("systemd has not handed over such a socket", said.getvalue())

    def observer(self, *twistd: str) -> ILogObserver:
        """What the application of twistd logs with."""
        application = Application("registry")
        makeService(self.options(*twistd)).setServiceParent(application)
        observer: ILogObserver = application.getComponent(ILogObserver)
        return observer

    def test_log_level(self) -> None:
        for level in ("debug", "info", "warn", "error", "critical"):
            Path("c.yml").write_text(f"dev: {{storage: memory, loglevel: {level}}}")
            Path("log").unlink(missing_ok=True)
            log = Logger(observer=self.observer("--logfile", "log"))
            for name in ("debug", "info", "warn", "error", "critical"):
                log.emit(LogLevel.levelWithName(name), "{name} is written", name=name)
            written = [line.split()[-3] for line in Path("log").read_text().splitlines()]
            everything = ["debug", "info", "warn", "error", "critical"]
            self.assertEqual(written, everything[everything.index(level) :])

    def test_connections_to_stores(self) -> None:
        """What Twisted says of each of them is not worth a line."""
        observer = self.observer("--logfile", "log")
        for name in ("twisted.web.client._HTTP11ClientFactory", "docker_registry.x"):
            Logger(name, observer=observer).info("said by {name}", name=name)
        self.assertEqual(re.findall("said by (.*)", Path("log").read_text()), ["docker_registry.x"])


class CommandTests(Case):
    def test_ok(self) -> None:
        result = CliRunner().invoke(main, ["check-config", "--config", "c.yml", "--flavor", "dev"])
        self.assertEqual((result.exit_code, result.output), (0, "ok: flavor dev of c.yml\n"))

    def test_problems(self) -> None:
        result = CliRunner().invoke(main, ["check-config", "-c", "c.yml", "-f", "bad"])
        self.assertEqual(result.exit_code, 78)
        self.assertEqual(len(result.stderr.splitlines()), 3)
        self.assertNotIn("hunter2", result.output)

    def test_warning(self) -> None:
        os.chmod("c.yml", 0o666)
        result = CliRunner().invoke(main, ["check-config", "-c", "c.yml"])
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(result.stderr, "warning: c.yml: everybody may write to it\n")

    def test_version_and_help(self) -> None:
        self.assertRegex(CliRunner().invoke(main, ["--version"]).output, r"^docker-registry, version \d")
        for command in ([], ["serve"], ["check-config"]):
            self.assertIn("Example: docker-registry ", CliRunner().invoke(main, [*command, "--help"]).output)
