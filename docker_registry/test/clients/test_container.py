"""The container image, built and run by a real dockerd. No bridge is needed: everything is in the host's network.

Its base is made here, of Debian's packages, since no hub is asked; with it the steps of Containerfile are the same.
"""

from __future__ import annotations

import atexit
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from unittest import SkipTest

import yaml
from twisted.trial.unittest import SynchronousTestCase

import docker_registry
from docker_registry.test.clients.daemon import Registry, free_port, until
from docker_registry.test.clients.engines import Docker
from docker_registry.test.clients.images import tar
from docker_registry.test.clients.tools import Failed, need, run

CHECKOUT = Path(docker_registry.__file__).parent.parent
IMAGE, BASE, NGINX = "docker-registry", "debian:of-packages", "nginx:stable"
SLIM = [f"--dpkgopt={option}" for option in (
    "force-unsafe-io", *(f"path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")),
)]
"""Kept in the image, as Debian's own images have it: what is installed there is not synced, and has no manual."""

MEMORY = 3 << 30
"""Bytes for the images, and for what they are made of."""

AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


class Engine(Docker):
    """Which driver keeps its images it may choose for itself: only some are quick."""

    storage = ()


class Ground:
    """An engine that has built the image; trial knows no set-up for a class."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(dir="/tmp", prefix="container-"))
        atexit.register(self.leave)
        if _free_memory() > 3 * MEMORY:             # where nothing waits for a disk
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEMORY}", "tmpfs", self.home], check=False)
        self.engine = Engine(self.home)
        self.engine.start()
        self.make_base()
        self.build(BASE, IMAGE, "--file", str(CHECKOUT / "Containerfile"), str(CHECKOUT))
        context = self.home / "nginx"
        context.mkdir()
        (context / "Containerfile").write_text(
            f"FROM {BASE}\nRUN apt-get update -q && apt-get install -y -q --no-install-recommends nginx-light\n"
            'CMD ["nginx", "-g", "daemon off;"]\n'
        )
        self.build(BASE, NGINX, "--file", str(context / "Containerfile"), str(context))

    def make_base(self) -> None:
        """debian:bookworm-slim, nearly, with this machine's package index and the authorities that it believes."""
        base, pip = self.home / "base.tar", self.home / "pip.conf"
        index = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True,
            check=False,
        ).stdout.strip()
        lines = ["[global]", f"cert = {AUTHORITIES}", *([f"index-url = {index}"] if index else [])]
        pip.write_text("\n".join(lines) + "\n")
        run("mmdebstrap", "--variant=minbase", "--include=ca-certificates", *SLIM,
            f"--customize-hook=copy-in {AUTHORITIES} {AUTHORITIES.parent}", f"--customize-hook=copy-in {pip} /etc",
            "bookworm", base, "http://deb.debian.org/debian", environ={"TMPDIR": str(self.home)}, timeout=900)
        self.engine.run("import", str(base), BASE)
        base.unlink()

    def build(self, base: str, name: str, *arguments: str) -> None:
        self.engine.run("build", "--network", "host", "--build-arg", f"BASE={base}", "--tag", name, *arguments)

    def leave(self) -> None:
        self.engine.stop()
        # The first is of containers in the host's network, and nobody else takes it away.
        for place in (self.home / "exec" / "netns" / "default", self.home):
            subprocess.run(["umount", place], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.home)


def _free_memory() -> int:
    """Bytes."""
    found = re.search(r"(?m)^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text())
    return int(found[1]) << 10 if found is not None else 0


def ground() -> Ground:
    """The one of all tests; what kept it from being made is not tried again."""
    found = _attempt()
    if isinstance(found, Exception):
        raise found
    return found


@cache
def _attempt() -> Ground | Exception:
    try:
        return Ground()
    except Exception as error:
        return error


class ContainerCase(SynchronousTestCase):
    timeout = 900

    def setUp(self) -> None:
        if not (CHECKOUT / "Containerfile").exists():
            raise SkipTest("not a checkout")
        if os.geteuid():
            raise SkipTest("dockerd and mmdebstrap are for root")
        need(("dockerd", "docker.io"), ("docker", "docker.io"), ("mmdebstrap", "mmdebstrap"), ("skopeo", "skopeo"))
        self.engine = ground().engine
        self.work = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.work)

    def container(self, *options: str, command: tuple[str, ...] = ()) -> Container:
        """One that runs until the test is over."""
        found = Container(self.engine, *options, command=command)
        self.addCleanup(found.remove)
        return found


class Container(Registry):
    """A registry in a container; of its ports nobody else knows."""

    def __init__(self, engine: Docker, *options: str, command: tuple[str, ...]) -> None:
        self._engine = engine
        self.port, self.admin = free_port(), free_port()
        self.name = engine.run(
            "run", "--detach", "--network", "host", "--health-interval", "1s",
            "--env", f"LISTEN=tcp:{self.port}:interface=127.0.0.1",
            "--env", f"ADMIN_LISTEN=tcp:{self.admin}:interface=127.0.0.1", *options, IMAGE, *command,
        ).strip()

    def state(self) -> dict[str, Any]:
        (found,) = json.loads(self._engine.run("inspect", self.name))
        state: dict[str, Any] = found["State"]
        return state

    def log(self) -> str:
        done = subprocess.run(
            ["docker", "logs", self.name], env={**os.environ, **self._engine.environ}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=True,
        )
        return done.stdout

    def wait_until_healthy(self) -> None:
        if not until(lambda: self.state()["Health"]["Status"] == "healthy"):
            raise AssertionError(f"{self.state()}\n{self.log()}")

    def wait_for(self, text: str) -> None:
        if not until(lambda: text in self.log()):
            raise AssertionError(f"no {text!r} in: {self.log()}")

    def do(self, *command: str) -> str:
        return self._engine.run("exec", self.name, *command)

    def stop(self) -> int:
        """Its exit status."""
        self._engine.run("stop", self.name)
        return self.wait()

    def wait(self) -> int:
        """Until it has ended by itself; its exit status."""
        return int(self._engine.run("wait", self.name))

    def start(self) -> None:
        self._engine.run("start", self.name)

    def remove(self) -> None:
        self._engine.run("rm", "--force", "--volumes", self.name)


class ImageTests(ContainerCase):
    SAFE = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true")

    def test_what_it_says_of_itself(self) -> None:
        (found,) = json.loads(self.engine.run("image", "inspect", IMAGE))
        config = found["Config"]
        self.assertEqual(config["User"], "10001:10001")
        self.assertEqual(config["Volumes"], {"/var/lib/registry": {}})
        self.assertEqual(config["ExposedPorts"], {"5000/tcp": {}})
        self.assertEqual(config["StopSignal"], "SIGTERM")
        self.assertIn("docker-registry status", config["Healthcheck"]["Test"][-1])
        self.assertEqual((config["Entrypoint"], config["Cmd"]), (["docker-registry"], ["serve"]))
        self.assertIn("SETTINGS_FLAVOR=prod", config["Env"])

    def test_nothing_is_left_of_building(self) -> None:
        said = self.engine.run(
            "run", "--rm", "--network", "host", "--entrypoint", "sh", IMAGE, "-c",
            "which gcc pip python3-config; ls -d /source /opt/docker-registry/bin/pip*; "
            "find /opt/docker-registry -name test_daemon.py; find / -xdev -user registry -not -path '/proc/*'; true",
        )
        self.assertEqual(said, "/var/lib/registry\n")

    def test_push_pull_and_restart(self) -> None:
        """Without rights, without a file system to write to, and with a volume."""
        registry = self.container(*self.SAFE, "--volume", "kept:/var/lib/registry")
        registry.wait_until_healthy()
        registry.wait_for(f"listening on 127.0.0.1:{registry.port}, storing below /var/lib/registry; try: docker push")
        self.assertRegex(registry.do("cat", "/proc/1/status"), r"(?m)^Uid:\s+10001\s+10001\s+10001\s+10001$")
        self.assertRegex(registry.do("cat", "/proc/1/status"), r"(?m)^CapEff:\s+0+$")
        with self.assertRaisesRegex(Failed, "Read-only file system"):
            registry.do("touch", "/opt/docker-registry/x")
        self.assertIn("ready", registry.do("docker-registry", "status"))
        archive = self.work / "image.tar"
        archive.write_bytes(tar("hello", os.urandom(3 << 20)))
        name = f"{registry.host}/shop/web:1"
        self.engine.run("import", str(archive), name)
        self.engine.run("push", name)
        digest = self.pulled(name)
        self.assertNotIn("Traceback", registry.log())
        self.assertEqual(registry.stop(), 0)
        self.assertIn("stopped", registry.log())
        registry.start()
        registry.wait_until_healthy()
        self.assertEqual(self.pulled(name), digest)
        self.engine.run("rmi", name)
        self.engine.run("pull", name)
        # Another container over the same volume, once the first has gone.
        registry.stop()
        other = self.container(*self.SAFE, "--volume", "kept:/var/lib/registry")
        other.wait_until_healthy()
        self.assertEqual(self.pulled(f"{other.host}/shop/web:1"), digest)
        self.assertEqual(set(other.do("stat", "--format", "%U:%a", "/var/lib/registry").split()), {"registry:750"})

    def pulled(self, name: str) -> str:
        """skopeo pulls it, whole; the digest of its manifest."""
        target = Path(tempfile.mkdtemp(dir=self.work))
        run("skopeo", "copy", "--quiet", "--preserve-digests", "--src-tls-verify=false", f"docker://{name}",
            f"dir:{target}")
        manifest = (target / "manifest.json").read_bytes()
        for layer in json.loads(manifest)["layers"]:
            content = (target / layer["digest"].partition(":")[2]).read_bytes()
            self.assertEqual(f"sha256:{hashlib.sha256(content).hexdigest()}", layer["digest"])
        return hashlib.sha256(manifest).hexdigest()

    def test_requests_come_to_their_end(self) -> None:
        """docker stop lets an upload finish that is on its way."""
        registry = self.container("--env", "WORKERS=2", "--env", "SECRET_KEY=s", "--env", "LOGLEVEL=debug")
        registry.wait_until_healthy()
        registry.wait_for("with 2 workers")
        status, headers, _ = registry.request("POST", "/v2/a/blobs/uploads/")
        self.assertEqual(status, 202)
        with socket.create_connection(("127.0.0.1", registry.port), timeout=60) as client:
            client.sendall(
                f"PATCH {headers['Location']} HTTP/1.1\r\nHost: r\r\nContent-Length: 8\r\n"
                "Expect: 100-continue\r\n\r\n".encode()
            )
            self.assertIn(b"100 Continue", client.recv(1000))
            client.sendall(b"half")
            stopping = subprocess.Popen(
                ["docker", "stop", "--time", "60", registry.name], env={**os.environ, **self.engine.environ},
                stdout=subprocess.DEVNULL,
            )
            registry.wait_for("requests in flight: 1")
            client.sendall(b"done")
            self.assertRegex(client.recv(4000).decode(), "(?s)^HTTP/1.1 202 .*(?i:range: 0-7)\r\n")
        self.assertEqual(stopping.wait(60), 0)
        self.assertEqual(registry.state()["ExitCode"], 0)

    def test_what_is_wrong_with_the_environment(self) -> None:
        """Each ends at once, with a line that names the variable."""
        foreign = self.work / "foreign"
        foreign.mkdir(mode=0o755)
        wrong = [
            (("--env", "LOGLEVEL=loud"), r"prod\.loglevel: wrong value in \$LOGLEVEL \(allowed: debug"),
            (("--env", "WORKERS=2"), r"prod\.secret_key: \$SECRET_KEY: missing, and several workers"),
            (("--env", "SETTINGS_FLAVOR=dev"),
             r"dev: no such flavor in this file \(allowed: glance, prod, s3, swift, test\)"),
            (("--env", "SETTINGS_FLAVOR=s3"), r"s3_bucket is missing, and storage is s3"),
            (("--volume", f"{foreign}:/var/lib/registry"), r"\$STORAGE_PATH: not writable for registry"),
        ]
        for registry, said in [(self.container(*options), said) for options, said in wrong]:
            self.assertEqual(registry.wait(), 78, registry.log())
            self.assertRegex(registry.log(), rf"^/etc/docker-registry/config\.yml:\S+ .*{said}")
            self.assertNotIn("Traceback", registry.log())
        # As docs/container.md gives it to the registry's user.
        self.engine.run("run", "--rm", "--network", "host", "--user", "0", "--volume", f"{foreign}:/var/lib/registry",
                        "--entrypoint", "chown", IMAGE, "-R", "10001:10001", "/var/lib/registry")
        self.container("--volume", f"{foreign}:/var/lib/registry").wait_until_healthy()

    def test_commands(self) -> None:
        said = self.engine.run("run", "--rm", "--network", "host", IMAGE, "check-config")
        self.assertEqual(said, "ok: flavor prod of /etc/docker-registry/config.yml\n")

    def test_a_configuration_of_ones_own(self) -> None:
        self.work.chmod(0o755)
        (self.work / "c.yml").write_text("mine: {storage: memory, listen: ['tcp:1:interface=127.0.0.1']}")
        said = self.engine.run(
            "run", "--rm", "--network", "host", "--volume", f"{self.work}/c.yml:/etc/docker-registry/config.yml:ro",
            "--env", "SETTINGS_FLAVOR=mine", IMAGE, "check-config",
        )
        self.assertEqual(said, "ok: flavor mine of /etc/docker-registry/config.yml\n")


class ComposeTests(ContainerCase):
    """container/compose.yml: as it is, but for the network, which is the host's, and with Debian's nginx."""

    def setUp(self) -> None:
        need(("docker-compose", "docker-compose"), ("openssl", "openssl"))
        super().setUp()
        self.port, self.inner, self.admin = free_port(), free_port(), free_port()
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", "/CN=registry.example.com", "-keyout", self.work / "registry.key",
            "-out", self.work / "registry.crt")
        (self.work / ".env").write_text("SECRET_KEY=of-the-test\n")

    def compose(self, *arguments: str) -> str:
        return run("docker-compose", "--project-name", "example", "--project-directory", self.work, "--file",
                   self.work / "compose.yml", *arguments, environ=self.engine.environ)

    def test_config(self) -> None:
        """The file to the letter is one of compose."""
        shutil.copy(CHECKOUT / "container" / "compose.yml", self.work)
        found = yaml.safe_load(self.compose("config"))
        self.assertEqual(found["services"]["registry"]["environment"]["SECRET_KEY"], "of-the-test")
        (self.work / ".env").unlink()
        self.assertRaisesRegex(Failed, "openssl rand", self.compose, "config")

    def test_up(self) -> None:
        self.lay_out()
        self.addCleanup(self.compose, "down", "--volumes")
        self.compose("up", "--detach", "--no-build")
        self.assertTrue(until(self.answers), "nginx, and the registry behind it")
        digest = f"sha256:{hashlib.sha256(b'x' * 3_000_000).hexdigest()}"
        status, _ = self.ask("POST", f"/v2/shop/web/blobs/uploads/?digest={digest}", b"x" * 3_000_000)
        self.assertEqual(status, 201)
        self.assertEqual(self.ask("GET", f"/v2/shop/web/blobs/{digest}"), (200, b"x" * 3_000_000))
        self.compose("restart")
        self.assertTrue(until(self.answers))
        self.assertEqual(self.ask("HEAD", f"/v2/shop/web/blobs/{digest}")[0], 200)

    def lay_out(self) -> None:
        document = yaml.safe_load((CHECKOUT / "container" / "compose.yml").read_text())
        registry, nginx = document["services"]["registry"], document["services"]["nginx"]
        self.assertEqual(nginx["image"], NGINX)
        del registry["build"], nginx["ports"]
        registry["network_mode"] = nginx["network_mode"] = "host"
        registry["environment"] |= {
            "LISTEN": f"tcp:{self.inner}:interface=127.0.0.1", "ADMIN_LISTEN": f"tcp:{self.admin}:interface=127.0.0.1",
        }
        nginx["extra_hosts"] = ["registry:127.0.0.1"]
        (self.work / "compose.yml").write_text(yaml.safe_dump(document))
        site = (CHECKOUT / "container" / "nginx.conf").read_text()
        site = site.replace("registry:5000", f"registry:{self.inner}")
        (self.work / "nginx.conf").write_text(site.replace("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"))

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=60, context=ssl._create_unverified_context()
        )
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def answers(self) -> bool:
        try:
            return self.ask("GET", "/v2/")[0] == 200
        except OSError:
            return False


class ExampleTests(SynchronousTestCase):
    def test_nginx_is_set_up_as_documented(self) -> None:
        """The two differ in where the registry is."""
        if not (CHECKOUT / "container").exists():
            raise SkipTest("not a checkout")
        documented = re.search(r"```nginx\n(.*?)```", (CHECKOUT / "docs" / "running.md").read_text(), re.DOTALL)
        assert documented is not None
        example = (CHECKOUT / "container" / "nginx.conf").read_text()
        self.assertEqual(example.replace("registry:5000", "127.0.0.1:5000"), documented[1])
