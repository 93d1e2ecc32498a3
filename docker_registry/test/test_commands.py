"""What operators type, as a terminal and a script see it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.cli import main
from docker_registry.config import schema
from docker_registry.config.load import SAMPLE
from docker_registry.config.values import reachable
from docker_registry.deferreds import deferred
from docker_registry.test.process_case import SERVE, Daemon, ProcessCase

LISTEN = "tcp:0:interface=127.0.0.1"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


class HelpTests(SynchronousTestCase):
    def test_every_command_has_an_example(self) -> None:
        self.assertIn("Example: docker-registry ", call("--help").output)
        for name in main.commands:
            result = call(name, "--help")
            self.assertEqual(result.exit_code, 0)
            self.assertIn(f"Example: docker-registry {name}", result.output)

    def test_completion(self) -> None:
        """As docs/running.md has it."""
        for shell, says in [("bash", "complete "), ("zsh", "#compdef"), ("fish", "complete ")]:
            environ = {"_DOCKER_REGISTRY_COMPLETE": f"{shell}_source"}
            result = CliRunner(env=environ).invoke(main, prog_name="docker-registry")
            if shell == "bash" and "bash" in result.stderr.lower() and not result.stdout:
                continue                            # an old bash, or none
            self.assertIn(says, result.output)

    def test_completion_knows_commands(self) -> None:
        environ = {"_DOCKER_REGISTRY_COMPLETE": "fish_complete", "COMP_WORDS": "docker-registry st", "COMP_CWORD": "st"}
        self.assertIn("status", CliRunner(env=environ).invoke(main, prog_name="docker-registry").output)

    def test_completion_knows_files(self) -> None:
        """As what a configuration may be, which bash then looks for by itself."""
        environ = {"_DOCKER_REGISTRY_COMPLETE": "bash_complete", "COMP_CWORD": "3"}
        for name in ("serve", "check-config", "status", "mail-test", "warm", "leftovers", "recover"):
            environ["COMP_WORDS"] = f"docker-registry {name} --config "
            result = CliRunner(env=environ).invoke(main, prog_name="docker-registry")
            self.assertEqual(result.output, "file,\n")


class OutputTests(SynchronousTestCase):
    """Nobody can read what a command says: it ends, and says why in a line. Of ours, of click's, under the reactor."""

    COMMANDS = (["--help"], ["check-config", "--json"], ["leftovers"])

    def ended(self, command: list[str], stdout: Any) -> tuple[int, str]:
        environ = {name: text for name, text in os.environ.items() if not name.startswith("DOCKER_REGISTRY")}
        run = [sys.executable, "-c", SERVE, *command]
        ended = subprocess.run(run, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, env=environ)
        return ended.returncode, ended.stderr

    def test_full_disk(self) -> None:
        with open("/dev/full", "wb") as full:
            for command in self.COMMANDS:
                self.assertEqual(self.ended(command, full), (
                    74, "the standard output cannot be written: No space left on device\n",
                ), command)

    def test_reader_that_has_gone(self) -> None:
        for command in self.COMMANDS:
            reading, writing = os.pipe()
            os.close(reading)
            with open(writing, "wb") as pipe:
                self.assertEqual(self.ended(command, pipe), (1, ""), command)


class CheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = self.mktemp()
        os.makedirs(directory)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory)
        Path("c.yml").write_text("dev: {storage: memory}\nbad: {storage: tape, secret_key: [hunter2]}\n")

    def test_well(self) -> None:
        result = call("check-config", "-c", "c.yml", "-f", "dev", "--json")
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(json.loads(result.output), {"ok": True, "file": "c.yml", "flavor": "dev", "warnings": []})

    def test_problems(self) -> None:
        result = call("check-config", "-c", "c.yml", "-f", "bad", "--json")
        self.assertEqual(result.exit_code, 78)
        self.assertNotIn("hunter2", result.output)
        found = json.loads(result.output)
        self.assertFalse(found["ok"])
        self.assertEqual(
            [(each["file"], each["line"], each["column"], each["option"]) for each in found["problems"]],
            [("c.yml", 2, 16, "bad.storage"), ("c.yml", 2, 34, "bad.secret_key")],
        )

    def test_of_the_command_line(self) -> None:
        result = call("check-config", "-c", "nowhere.yml", "--json")
        self.assertEqual(result.exit_code, 78)
        self.assertEqual(json.loads(result.output)["problems"][0]["file"], "nowhere.yml")


class SchemaTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.schema = json.loads(call("config-schema").output)
        jsonschema.Draft202012Validator.check_schema(self.schema)
        self.validator = jsonschema.Draft202012Validator(self.schema)

    def is_valid(self, text: str) -> bool:
        return bool(self.validator.is_valid(yaml.safe_load(text)))

    def test_takes_the_sample(self) -> None:
        self.validator.validate(yaml.safe_load(Path(SAMPLE).read_text()))

    def test_takes_what_load_takes(self) -> None:
        for text in (
            "dev:", "dev: {}", "dev: {storage: memory}", "dev: {threads: 4}", "dev: {threads: '_env:THREADS:4'}",
            "dev: {shutdown_grace: 30}", "dev: {shutdown_grace: 30s}", "dev: {max_manifest_bytes: 4MiB}",
            "dev: {access_log: off}", "dev: {access_log: 'off'}", "dev: {limits: }", "dev: {limits: {connections: 5}}",
            "dev: {smtp_host: mail.example.com, to_addr: a@b, smtp_secure: true}",
            "dev: {notifications: {endpoints: [{name: a, url: 'https://b/', headers: {Authorization: [x]}}]}}",
            "dev: {email_exceptions: {smtp_host: mail, to_addr: [a@b, c@d]}}", "dev: {listen: ['tcp:1', 'tcp:2']}",
        ):
            self.assertTrue(self.is_valid(text), text)

    def test_refuses_what_load_refuses(self) -> None:
        for text in (
            "dev: 5", "dev: {storrage: memory}", "dev: {threads: many}", "dev: {threads: 1}", "dev: {v1: 'yes'}",
            "dev: {shutdown_grace: 30 parsecs}", "dev: {limits: {conections: 5}}", "dev: {log_format: xml}",
            "dev: {listen: tcp:1}", "dev: {notifications: {endpoints: [{name: a}]}}",
            "dev: {notifications: {endpoints: {name: a, url: 'https://b/'}}}", "dev: {threads: '_env:'}",
        ):
            self.assertFalse(self.is_valid(text), text)

    def test_describes_everything(self) -> None:
        flavor = schema.document()["additionalProperties"]["anyOf"][0]
        for name, option in flavor["properties"].items():
            self.assertTrue(option["description"], name)


HASTY = "from docker_registry.commands import asking; asking.PATIENCE = 0.3\n"
"""Before `SERVE`: waits less long for a registry that hangs."""


class ReachableTests(SynchronousTestCase):
    def test_endpoints(self) -> None:
        for text, place in [
            ("tcp:5001:interface=127.0.0.1", ("127.0.0.1", 5001)), ("tcp:5001", ("127.0.0.1", 5001)),
            ("tcp:port=5001:interface=192.0.2.1", ("192.0.2.1", 5001)), ("tcp6:5001", ("::1", 5001)),
            (r"tcp:5001:interface=\:\:1", ("::1", 5001)), ("unix:/run/a.sock:mode=660", "/run/a.sock"),
            ("haproxy:tcp:5001", None), ("systemd:domain=INET:index=0", None), ("ssl:1:privateKey=k", None),
        ]:
            self.assertEqual(reachable(text), place, text)


class StatusTests(ProcessCase):
    """Of a real daemon."""

    def configure(self, admin: str, storage: str = "storage_path: ./images") -> None:
        self.write(f"x: {{{storage}, listen: ['{LISTEN}'], admin_listen: [{admin}], shutdown_grace: 5}}")

    async def status(self, *options: str, program: str = SERVE) -> tuple[int, str]:
        """What the command ends with, and says."""
        asking: Daemon = self.run_program(program, ["status", "-c", "c.yml", "-f", "x", *options])
        status = await asking.ended
        self.assertNotIn("Traceback", asking.complained.seen)
        return status, asking.said.seen

    @deferred
    async def test_ready(self) -> None:
        self.configure("'unix:admin.sock'")
        daemon, port = await self.started()
        await self.ask(port)
        status, said = await self.status()
        self.assertEqual(status, 0)
        self.assertRegex(said, r"\Aready\n  process \d+: ready, its store works\n")
        self.assertRegex(said, r"(?m)^  requests +1$")
        self.assertRegex(said, r"(?m)^  memory +\d+ MB$")
        status, said = await self.status("--json")
        found: dict[str, Any] = json.loads(said)
        self.assertEqual(
            (status, found["running"], found["ready"], found["requests"], found["failed_requests"]),
            (0, True, True, 1, 0),
        )
        self.assertGreater(found["memory_bytes"], 1 << 20)
        self.assertLess(found["uptime_seconds"], 600)
        await self.stop(daemon)
        status, said = await self.status()
        self.assertEqual(status, 3)
        self.assertIn("not running", said)

    @deferred
    async def test_not_ready(self) -> None:
        self.configure("'unix:admin.sock'")
        daemon, port = await self.started()
        await self.draining(daemon, port)
        status, said = await self.status()
        self.assertEqual((status, said.splitlines()[0]), (1, "not ready: stopping"))
        daemon.kill(signal.SIGTERM)
        await daemon.ended

    @deferred
    async def test_nobody_to_ask(self) -> None:
        self.configure("")
        status, said = await self.status("--json")
        self.assertEqual((status, json.loads(said)["running"]), (3, False))
        daemon, _ = await self.started()
        status, said = await self.status()
        self.assertEqual(status, 0)
        self.assertRegex(said, r"\Arunning: process \d+ has \S+/images\n  admin_listen is empty")
        await self.stop(daemon)

    @deferred
    async def test_hangs(self) -> None:
        """It takes connections and does not answer: it runs, and does not serve, whether its store says who has it."""
        self.configure("'tcp:0:interface=127.0.0.1'")
        daemon = self.twistd()
        admin = (await daemon.said.until(r"health and metrics on 127.0.0.1:(\d+)"))[1]
        await daemon.said.until("listening on")
        daemon.kill(signal.SIGSTOP)
        for storage, said in (("storage_path: ./images", r"running: process \d+ has \S+/images\n"),
                              ("storage: memory", "running, and hangs, as far as can be told\n")):
            self.configure(f"'tcp:{admin}:interface=127.0.0.1'", storage)
            status, output = await self.status(program=HASTY + SERVE)
            self.assertEqual(status, 1, output)
            self.assertRegex(output, rf"\A{said}  tcp:{admin}:interface=127.0.0.1: no answer within 0.3 s\n\Z")
        daemon.kill(signal.SIGCONT)
        await self.stop(daemon)

    @deferred
    async def test_somebody_else(self) -> None:
        """Another program has the port."""
        daemon, port = await self.started()
        self.configure(f"'tcp:{port}:interface=127.0.0.1'", "storage: memory")
        status, said = await self.status()
        self.assertEqual(status, 3)
        self.assertIn("not the admin listener of a registry", said)
        await self.stop(daemon)

    @deferred
    async def test_configuration(self) -> None:
        self.write("x: {storage: tape}")
        self.assertEqual((await self.status())[0], 78)
