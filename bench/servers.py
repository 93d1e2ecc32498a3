"""The registries that are measured, as processes on loopback."""

from __future__ import annotations

import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PATIENCE = 30.0
"""Seconds for a registry to start, or to stop."""


class Server:
    """:param command: what to run.
    :ivar name: for the table.
    """

    def __init__(self, name: str, port: int, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.port = port
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + PATIENCE
        while True:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"{name} does not start: {log.read_text(errors='replace')[-1000:]}")
            select.select([], [], [], 0.05)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def reset_peak(self) -> None:
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")

    def memory(self, field: str = "VmHWM") -> float:
        """MiB: at most since `reset_peak`, or ``VmRSS`` now."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"no {field}")

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
        """One answer, read whole, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Ours(Server):
    def __init__(self, work: Path, port: int, *, sync: bool) -> None:
        self._gap = work / f"gap-{port}"
        root = work / f"ours-{port}"
        config = work / f"ours-{port}.yml"
        options = {"storage": "local", "storage_path": str(root), "sync": sync, "limits": {"per_address": 0}}
        config.write_text(json.dumps({"bench": options}))
        super().__init__(
            "ours" if sync else "ours, sync: false",
            port,
            [
                sys.executable, "-m", "bench.ours", str(self._gap), "--nodaemon", "--pidfile=", "docker-registry",
                "--config", str(config), "--flavor", "bench", "--listen", f"tcp:{port}:interface=127.0.0.1",
            ],
            work / f"ours-{port}.log",
        )

    def gap(self) -> float:
        """Milliseconds: by how much the reactor's heartbeat was late at most since the last time."""
        self._gap.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self._gap.exists() and (text := self._gap.read_text()).endswith("\n"):
                return float(text)
            select.select([], [], [], 0.01)
        raise RuntimeError("no heartbeat")


class Theirs(Server):
    def __init__(self, work: Path, port: int) -> None:
        config = work / "theirs.yml"
        config.write_text(json.dumps({
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(work / "theirs")}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{port}"},
        }))
        super().__init__("docker-registry 2.8.2", port, ["docker-registry", "serve", str(config)], work / "theirs.log")

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("docker-registry") is not None
