"""Today's clients, each with a store of its own, as processes."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.test.clients.daemon import Process
from docker_registry.test.clients.tools import run


class Client:
    """A client with a store of its own below ``home``."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def start(self) -> None:
        """What has to run before it can be used."""

    def pull(self, name: str) -> None:
        raise NotImplementedError

    def push(self, source: str, target: str) -> None:
        """Push what was pulled as ``source``."""
        raise NotImplementedError

    def files(self, name: str) -> bytes:
        """What a container of ``name``, which was pulled, sees: an archive."""
        raise NotImplementedError

    def stop(self) -> None:
        """End what `start` began."""


class Podman(Client):
    program = "podman"

    def _run(self, *arguments: str) -> str:
        places = "--root", str(self.home / "root"), "--runroot", str(self.home / "run")
        return run(self.program, "--storage-driver", "vfs", *places, *arguments)

    def pull(self, name: str) -> None:
        self._run("pull", "--tls-verify=false", name)

    def push(self, source: str, target: str) -> None:
        self._run("push", "--tls-verify=false", source, f"docker://{target}")

    def files(self, name: str) -> bytes:
        return archive(Path(self._run("image", "mount", name).strip()))

    def search(self, term: str) -> list[tuple[str, str]]:
        """Names and descriptions, as they are printed."""
        found = self._run("search", "--tls-verify=false", "--no-trunc", "--format", "{{.Name}}\t{{.Description}}", term)
        return [(name, said) for name, _, said in (line.partition("\t") for line in found.splitlines())]


class Buildah(Podman):
    program = "buildah"


class Containerd(Client):
    def start(self) -> None:
        config = self.home / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self.home}/root"\nstate = "{self.home}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{self.home}/socket"\n'
        )
        self._daemon = Process(["containerd", "-c", str(config)])
        self._daemon.wait_for("containerd successfully booted")

    def _run(self, *arguments: str) -> str:
        return run("ctr", "-a", f"{self.home}/socket", "images", *arguments)

    def pull(self, name: str) -> None:
        self._run("pull", "--plain-http", "--snapshotter", "native", name)

    def push(self, source: str, target: str) -> None:
        self._run("tag", "--force", source, target)
        self._run("push", "--plain-http", target)

    def files(self, name: str) -> bytes:
        target = Path(tempfile.mkdtemp(dir=self.home))      # its name is that of the snapshot, too
        self._run("mount", "--snapshotter", "native", name, str(target))
        try:
            return archive(target)
        finally:
            self._run("unmount", "--snapshotter", "native", str(target))

    def stop(self) -> None:
        self._daemon.stop()


class Docker(Client):
    storage: tuple[str, ...] = ("--storage-driver=vfs",)

    def start(self) -> None:
        self.environ = {"DOCKER_HOST": f"unix://{self.home}/socket", "DOCKER_CONFIG": str(self.home / "config")}
        self._daemon = Process([
            "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", *self.storage,
            "--data-root", f"{self.home}/root", "--exec-root", f"{self.home}/exec", "--pidfile", f"{self.home}/pid",
            "-H", f"unix://{self.home}/socket",
        ])
        self._daemon.wait_for("API listen on")

    def run(self, *arguments: str) -> str:
        """What the command prints."""
        return run("docker", *arguments, environ=self.environ)

    def pull(self, name: str) -> None:
        self.run("pull", name)

    def push(self, source: str, target: str) -> None:
        self.run("tag", source, target)
        self.run("push", target)

    def build(self, context: Path, name: str) -> None:
        self.run("build", "--quiet", "--tag", name, str(context))

    def search(self, term: str) -> list[tuple[str, str]]:
        """Names and descriptions, as they are printed."""
        found = self.run("search", "--no-trunc", "--format", "{{.Name}}\t{{.Description}}", term)
        return [(name, said) for name, _, said in (line.partition("\t") for line in found.splitlines())]

    def files(self, name: str) -> bytes:
        container = self.run("create", name, "none").strip()
        target = self.home / "exported"
        self.run("export", "--output", str(target), container)
        self.run("rm", container)
        return target.read_bytes()

    def stop(self) -> None:
        self._daemon.stop()


def use(case: SynchronousTestCase, kind: type[Client]) -> Client:
    """One that runs until the test is over."""
    home = Path(tempfile.mkdtemp(dir="/tmp", prefix="client-"))
    case.addCleanup(shutil.rmtree, home, ignore_errors=True)
    client = kind(home)
    client.start()
    case.addCleanup(client.stop)
    return client


def archive(directory: Path) -> bytes:
    """All that is in it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as writer:
        writer.add(directory, ".")
    return packed.getvalue()
