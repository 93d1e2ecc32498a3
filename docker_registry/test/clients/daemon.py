"""Registries as real processes on a port of their own: ours, and Debian's."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds until a daemon must have started, or stopped."""

MARK = "until-here"
"""In requests that are made to see them in the log."""


def _ports() -> Iterator[int]:
    """None of those that the kernel gives to whoever asks for any: it would give them away before they are listened at;
    and none from which servers/swift and servers/glance take theirs. Each process begins elsewhere."""
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    ports = range(10_000, min(20_000, int(ephemeral[0]))) or range(int(ephemeral[1]) + 1, 1 << 16)
    at = os.getpid() * 7919 % len(ports)
    return cycle([*ports[at:], *ports[:at]])


_free = _ports()
_claims: list[socket.socket] = []


def free_port() -> int:
    """One at which nobody listens, and that was not told before, here or in another process that tests now."""
    for port in _free:
        claim = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe, suppress(OSError):
            claim.bind(f"\0docker-registry-test-{port}")
            probe.bind(("127.0.0.1", port))
            _claims.append(claim)                       # it is held until this process ends, however it does
            return port
        claim.close()
    raise AssertionError


class Process:
    """:param command: what to run; its output is collected in `output`."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.output: list[str] = []
        self._grown = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._grown:
                self.output.append(line.decode(errors="replace").rstrip("\n"))
                self._grown.notify_all()
        with self._grown:
            self._grown.notify_all()

    def wait_for(self, pattern: str, start: int = 0) -> str:
        """The first line of output, from number ``start`` on, in which ``pattern`` is found."""

        def found() -> str | None:
            return next((line for line in self.output[start:] if re.search(pattern, line)), None)

        with self._grown:
            self._grown.wait_for(lambda: found() or not self._reader.is_alive(), PATIENCE)
        line = found()
        if line is None:
            raise AssertionError(f"no {pattern!r} in: " + "\n".join(self.output[-20:]))
        return line

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it, and tell its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


class Registry:
    """Any registry on loopback.

    :ivar port: where it listens.
    """

    port: int

    @property
    def host(self) -> str:
        """As image names begin."""
        return f"127.0.0.1:{self.port}"

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of one answer, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


class Ours(Registry):
    """This registry, over ``root``, logging each request.

    :param under: a command that runs it, such as prlimit with its options.
    """

    def __init__(self, root: Path, *, under: Sequence[str] = (), **options: Any) -> None:
        self.root = root
        self._under = under
        self.port = free_port()
        self._options = {
            "storage": "local", "storage_path": str(root), "loglevel": "debug", "shutdown_grace": 5, **options,
        }
        self.start()

    def start(self) -> None:
        config = self.root.with_name(f"{self.root.name}.yml")
        config.write_text(json.dumps({"dev": self._options}))
        listen = f"tcp:{self.port}:interface=127.0.0.1"
        self.daemon = Process([
            *self._under, sys.executable, "-m", "docker_registry.test.clients.twistd",
            "--nodaemon", "--pidfile=",
            "docker-registry", "--config", str(config), "--flavor", "dev", "--listen", listen,
        ])
        try:
            self.daemon.wait_for("listening on")
        except AssertionError:
            self.daemon.stop()
            raise

    def stop(self, number: int = signal.SIGTERM) -> int:
        return self.daemon.stop(number)

    def requests(self, start: int = 0) -> list[tuple[str, str, int]]:
        """Method, target and status of each request that was answered, from line ``start`` of the log on."""
        self.mark()
        found = []
        for line in list(self.daemon.output[start:]):
            match = re.search(r" ([A-Z]+) (/\S*) (\d{3}) \d+ bytes ", line)
            if match is not None and MARK not in match[2]:
                found.append((match[1], match[2], int(match[3])))
        return found

    def mark(self) -> int:
        """Where the log stands when all is in it that one process has answered: its lines come a moment later."""
        start, target = len(self.daemon.output), f"/v2/?{MARK}={uuid.uuid4()}"
        self.request("GET", target)
        return self.daemon.output.index(self.daemon.wait_for(re.escape(target), start), start) + 1


class Theirs(Registry):
    """Debian's docker-registry, over ``root``.

    :param storage: another store, as it is configured.
    """

    def __init__(self, root: Path, storage: Mapping[str, Any] | None = None) -> None:
        self.root = root
        self.port = free_port()
        config = root.with_name(f"{root.name}-go.yml")
        config.write_text(json.dumps({
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {**(storage or {"filesystem": {"rootdirectory": str(root)}}), "delete": {"enabled": True}},
            "http": {"addr": self.host},
        }))
        # With authorities of its own it does not start (aws-sdk-go, "unsupported transport").
        self.daemon = Process(["docker-registry", "serve", str(config)], {"AWS_CA_BUNDLE": ""})
        wait_for_port(self.port)

    def stop(self) -> None:
        self.daemon.stop()


def is_listened_on(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


def wait_for_port(port: int) -> None:
    """Until somebody listens there."""
    if not until(lambda: is_listened_on(port)):
        raise AssertionError(f"nobody listens on {port}")


def until(condition: Callable[[], T]) -> T:
    """What ``condition`` comes to as soon as that is true, or when patience has an end."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()) and time.monotonic() < deadline:
        select.select([], [], [], 0.05)
    return found
