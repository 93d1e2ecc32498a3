"""What is installed, where twistd finds it, and what systemd makes of its units."""

from __future__ import annotations

import configparser
import os
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from docker_registry import tap
from docker_registry.config.model import Config
from docker_registry.config.problems import EXIT_STATUS
from docker_registry.daemon import LAST_STEPS

CHECKOUT = Path(__file__).parent.parent.parent
ASKED = "DOCKER_REGISTRY_TEST_PACKAGING"


def checkout() -> Path:
    """The directory of the source, when the tests run there."""
    if not (CHECKOUT / "setup.py").exists():
        raise SkipTest("not a checkout")
    return CHECKOUT


class PluginTests(SynchronousTestCase):
    def test_is_found(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        [maker] = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "docker-registry"]
        self.assertIs(maker.options, tap.Options)
        self.assertIs(maker.makeService, tap.makeService)

    def test_costs_other_programs_nothing(self) -> None:
        """Every twistd of the machine loads it."""
        path = checkout() / "twisted" / "plugins" / "docker_registry_plugin.py"
        program = f"import runpy, sys; runpy.run_path({str(path)!r}); print('docker_registry' in sys.modules)"
        said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
        self.assertEqual(said.stdout, "False\n")

    def test_overwrites_nothing_of_twisted(self) -> None:
        found = sorted(path.name for path in (checkout() / "twisted").rglob("*.py"))
        self.assertEqual(found, ["docker_registry_plugin.py"])


class InstallTests(SynchronousTestCase):
    """With pip, into a virtual environment of its own."""

    def setUp(self) -> None:
        if not os.environ.get("CI") and not os.environ.get(ASKED):
            raise SkipTest(f"takes half a minute and asks the package index: set {ASKED}=1 to run it")
        base = Path(self.mktemp()).absolute()
        self.source = base / "source"
        shutil.copytree(
            checkout(), self.source, symlinks=True,
            ignore=shutil.ignore_patterns(".git", ".*_cache", ".venv", "_trial_temp*", "build", "*.egg-info",
                                          "registry-data", "__pycache__"),
        )
        self.environment = base / "venv"
        venv.create(self.environment, with_pip=True)
        self.site = next(self.environment.glob("lib/python3*/site-packages"))

    def run_there(self, program: str, *arguments: str) -> str:
        """The output of a program of the environment, run where there is no checkout."""
        clean = {
            name: value for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "SETTINGS_FLAVOR", "DOCKER_REGISTRY_CONFIG")
        }
        result = subprocess.run(
            [self.environment / "bin" / program, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.environment, env=clean, timeout=300,
        )
        self.assertEqual(result.returncode, 0, result.stdout)
        return result.stdout

    def pip(self, *arguments: str) -> None:
        self.run_there("pip", "--quiet", "--disable-pip-version-check", *arguments)

    def assert_works(self) -> None:
        self.assertIn("docker-registry      Container image registry", self.run_there("twistd", "--help"))
        self.assertIn("--flavor", self.run_there("twistd", "docker-registry", "--help"))
        self.assertIn("ok: flavor dev of ", self.run_there("docker-registry", "check-config"))
        self.assertIn("docker-registry, version ", self.run_there("docker-registry", "--version"))

    def assert_gone(self) -> None:
        """And Twisted is as it was."""
        self.assertNotIn("docker-registry", self.run_there("twistd", "--help"))
        self.assertFalse((self.environment / "bin" / "docker-registry").exists())
        self.assertFalse((self.site / "docker_registry").exists())
        self.assertIn("pluginPackagePaths", (self.site / "twisted" / "plugins" / "__init__.py").read_text())

    def test_install_and_uninstall(self) -> None:
        """`pip install .`, then `pip install --editable .`, and each time it goes without a trace."""
        left = self.source / "build" / "lib" / "docker_registry" / "of_an_earlier_version.py"
        left.parent.mkdir(parents=True)
        left.touch()
        self.pip("install", "--constraint", f"{self.source}/constraints.txt", str(self.source))
        self.assert_works()
        sample = self.site / "docker_registry" / "config" / "sample.yml"
        self.assertFalse(sample.is_symlink())
        self.assertEqual(sample.read_text(), (self.source / "config_sample.yml").read_text())
        self.assertTrue((self.site / "docker_registry" / "py.typed").exists())
        self.assertFalse((self.site / "docker_registry" / left.name).exists())
        self.pip("uninstall", "--yes", "docker-registry")
        self.assert_gone()
        self.pip("install", "--no-deps", "--editable", str(self.source))
        self.assert_works()
        self.pip("uninstall", "--yes", "docker-registry")
        self.assert_gone()


class UnitTests(SynchronousTestCase):
    """systemd/docker-registry.service and .socket."""

    def section(self, kind: str, name: str) -> configparser.SectionProxy:
        unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
        unit.optionxform = str      # type: ignore[assignment, method-assign]
        unit.read(checkout() / "systemd" / f"docker-registry.{kind}")
        return unit[name]

    def test_goes_with_the_program(self) -> None:
        service = self.section("service", "Service")
        grace = Config.model_fields["shutdown_grace"].default
        self.assertGreaterEqual(int(service["TimeoutStopSec"]), grace + 4 * LAST_STEPS, "one of several workers hangs")
        self.assertEqual(int(service["RestartPreventExitStatus"]), EXIT_STATUS)
        self.assertEqual(service["Type"], "notify")
        self.assertIn("docker-registry --listen systemd:domain=INET:index=0", service["ExecStart"])
        self.assertEqual(self.section("socket", "Socket")["ListenStream"], "127.0.0.1:5000")

    def test_is_hardened(self) -> None:
        service = self.section("service", "Service")
        for name, value in {
            "User": "docker-registry", "UMask": "0027", "NoNewPrivileges": "yes", "ProtectSystem": "strict",
            "PrivateTmp": "yes", "StateDirectory": "docker-registry", "StateDirectoryMode": "0750",
            "CacheDirectory": "docker-registry", "CacheDirectoryMode": "0750",
            "CapabilityBoundingSet": "", "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
        }.items():
            self.assertEqual(service[name], value, name)
        for name in ("MemoryMax", "LimitNOFILE", "SystemCallFilter"):
            self.assertIn(name, service)
        self.assertNotIn("MemoryDenyWriteExecute", service, "cffi's callbacks need such memory: there would be no TLS")

    def test_loses_no_line(self) -> None:
        """journald takes an interval of 0 for its own limit, by which it drops most of a busy registry's log."""
        service = self.section("service", "Service")
        self.assertGreater(int(service["LogRateLimitIntervalSec"]), 0)
        self.assertGreaterEqual(int(service["LogRateLimitBurst"]), 1_000_000)

    def test_systemd_takes_it(self) -> None:
        analyze = shutil.which("systemd-analyze")
        if analyze is None:
            raise SkipTest("no systemd-analyze: apt-get install systemd")
        directory = Path(self.mktemp()).absolute()
        shutil.copytree(checkout() / "systemd", directory)
        unit = directory / "docker-registry.service"
        unit.write_text(unit.read_text().replace("/opt/docker-registry/bin/twistd", sys.executable))
        for arguments in (
            ["--man=no", "verify", str(unit), f"{directory}/docker-registry.socket"],
            # At most 2.0 of 10: "OK".
            ["--offline=yes", "--no-pager", "--threshold=20", "security", str(unit)],
        ):
            said = subprocess.run([analyze, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertEqual(said.returncode, 0, said.stdout)
            if "verify" in arguments:
                self.assertEqual(said.stdout, "")
