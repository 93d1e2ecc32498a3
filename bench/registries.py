"""The registries that are measured: each a process of its own, on loopback, with storage of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.buckets import Place
from bench.failures import LoadFailed
from bench.machine import cpu_of
from bench.wire import LOOPBACK, Connection

START = 30.0
"""Seconds that a registry has to answer its first request."""

STOP = 30.0
"""Seconds that it has to end."""

OTHER = "docker-registry"
"""The other registry's program, of Debian's package of the same name."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Between two heartbeats of a reactor, in seconds.

    :ivar whole: the largest.
    :ivar own: the largest without what the kernel let the reactor's thread wait for a processor.
    """

    whole: float
    own: float


class Registry(ABC):
    """:param name: as in the table.
    :param home: a directory for its storage, its configuration and its log; made here.
    :param bucket: where its storage is instead.
    """

    def __init__(self, name: str, home: Path, bucket: Place | None = None) -> None:
        self.name = name
        self.bucket = bucket
        self.home = home
        self.root = home / "storage"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers.

        :raises LoadFailed: it does not; the end of its log says why.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        with (self.home / "log").open("ab") as log:
            self._process = self._begin(log.fileno())
        deadline = time.monotonic() + START
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise LoadFailed(f"{self.name} does not start: {self._last_words()}")
            time.sleep(0.02)

    def stop(self) -> None:
        """By its pid: asked first, killed when it does not listen."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """A process without a past; what is stored stays."""
        self.stop()
        self.start()

    def forget(self, digest: str) -> None:
        """Give back the disk space of a blob that nobody asks for any more; both write the same tree."""
        if self.bucket is not None:
            self.bucket.forget(digest)
            return
        algorithm, _, value = digest.partition(":")
        shutil.rmtree(self.root / "docker/registry/v2/blobs" / algorithm / value[:2] / value)

    @property
    def pid(self) -> int:
        if self._process is None or self._process.poll() is not None:
            raise LoadFailed(f"{self.name} does not run: {self._last_words()}")
        return self._process.pid

    def cpu(self) -> float:
        """Seconds of processor time so far, of all its processes and their threads."""
        return sum(map(cpu_of, self._pids()))

    def peak(self) -> int:
        """Largest resident memory in bytes since `reset_peak` (proc(5), ``VmHWM``), each process at its own time."""
        return sum(map(_peak_of, self._pids()))

    def reset_peak(self) -> None:
        """Let the peak be what is resident now (proc(5), ``clear_refs``)."""
        for pid in self._pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def _pids(self) -> list[int]:
        """Its process, and those that this one has begun."""
        return [self.pid, *map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split())]

    def take_gap(self) -> Gap | None:
        """The largest since the last time; ``None`` where there is no reactor to ask."""
        return None

    @abstractmethod
    def _begin(self, log: int) -> subprocess.Popen[bytes]: ...

    def _answers(self) -> bool:
        try:
            with Connection(self.port) as connection:
                return connection.ask("GET", "/v2/").status == 200
        except OSError:
            return False

    def _last_words(self) -> str:
        lines = (self.home / "log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it logged nothing"


def _peak_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise LoadFailed("the kernel does not tell VmHWM")


class Ours(Registry):
    """:param sync: as in its configuration; everything else there is as a new installation has it, but for the number
    of connections from one address, which here are all from one.
    :param options: more of its configuration.
    """

    def __init__(
        self,
        name: str,
        home: Path,
        bucket: Place | None = None,
        *,
        sync: bool = True,
        options: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(name, home, bucket)
        self._sync = sync
        self._options = {**(bucket.ours if bucket else {}), **(options or {})}
        self._asking: socket.socket | None = None

    def _begin(self, log: int) -> subprocess.Popen[bytes]:
        config = self.home / "config.yml"
        options = {"storage_path": str(self.root), "sync": self._sync, "limits": {"per_address": 0}, **self._options}
        config.write_text(json.dumps({"bench": options}))
        self._asking, theirs = socket.socketpair()
        self._asking.settimeout(START)
        with theirs:
            return subprocess.Popen(
                [
                    sys.executable, "-m", "bench.ours", str(theirs.fileno()),
                    "--nodaemon", "--pidfile=", OTHER, "--config", str(config), "--flavor", "bench",
                    "--listen", f"tcp:{self.port}:interface={LOOPBACK}",
                ],
                cwd=Path(__file__).parent.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[theirs.fileno()],
            )

    def stop(self) -> None:
        super().stop()
        if self._asking is not None:
            self._asking.close()
            self._asking = None

    def take_gap(self) -> Gap | None:
        if self._asking is None or "workers" in self._options:      # the one who is asked serves nobody then
            return None
        self._asking.sendall(b"?")
        answer = b""
        while not answer.endswith(b"\n"):
            part = self._asking.recv(64)
            if not part:
                raise LoadFailed(f"{self.name} has ended: {self._last_words()}")
            answer += part
        whole, own = map(float, answer.split())
        return Gap(whole, own)


class Other(Registry):
    """Debian's docker-registry, with the cache that its package configures, and no access log to hold it up."""

    def _begin(self, log: int) -> subprocess.Popen[bytes]:
        config = self.home / "config.yml"
        storage = self.bucket.others if self.bucket else {"filesystem": {"rootdirectory": str(self.root)}}
        config.write_text(json.dumps({
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"cache": {"blobdescriptor": "inmemory"}, "delete": {"enabled": True}, **storage},
            "http": {"addr": f"{LOOPBACK}:{self.port}"},
        }))
        # With authorities of its own it does not start over a bucket (aws-sdk-go, "unsupported transport").
        environ = {**os.environ, "AWS_CA_BUNDLE": ""}
        return subprocess.Popen(
            [OTHER_PATH or OTHER, "serve", str(config)], env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def _installed() -> str | None:
    """Where the other registry's program is; our own command has the same name."""
    ours = Path(sys.executable).parent
    places = [place for place in os.get_exec_path() if Path(place) != ours]
    return shutil.which(OTHER, path=os.pathsep.join(places))


OTHER_PATH = _installed()


def other_version() -> str:
    """The version of the other registry, as it calls itself."""
    said = subprocess.run([OTHER_PATH or OTHER, "--version"], capture_output=True, text=True, timeout=START, check=True)
    return said.stdout.split()[-1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
