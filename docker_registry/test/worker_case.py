"""A daemon with several workers, each a process of its own."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from docker_registry.test.process_case import Daemon, UploadCase

READY = re.compile(r"worker (\d+) is ready: process (\d+)")
ALL = re.compile(r"listening on (.+) with \d+ workers, storing")


class WorkerCase(UploadCase):
    workers = 2

    def setUp(self) -> None:
        super().setUp()
        self.configure()

    def configure(self, listen: str = "'tcp:0:interface=127.0.0.1'", grace: int = 5, **more: object) -> None:
        options = "".join(f", {name}: {value}" for name, value in more.items())
        self.write(
            f"x: {{storage_path: ./images, listen: [{listen}], workers: {self.workers}, secret_key: s, "
            f"shutdown_grace: {grace}{options}}}"
        )

    async def all_ready(self, *arguments: str, environ: Mapping[str, str] | None = None) -> tuple[Daemon, int]:
        """A daemon whose workers all serve, and its port."""
        daemon = self.twistd(*arguments, environ=environ)
        address = (await daemon.said.until(ALL))[1]
        for pid in self.pids(daemon).values():
            self.addCleanup(kill, pid)
        return daemon, int(address.rpartition(":")[2])

    def pids(self, daemon: Daemon) -> dict[int, int]:
        """Of the workers, by number, as they were ready last."""
        return self.pids_in(daemon.said.seen)

    def pids_in(self, log: str) -> dict[int, int]:
        found = {int(number): int(pid) for number, pid in READY.findall(log)}
        return dict(sorted(found.items()))      # whichever was ready first

    async def another(self, daemon: Daemon, number: int, before: int) -> int:
        """The process that takes the place of the one that was ``before``."""
        ready = rf"worker {number} is ready: process "
        await daemon.said.until(rf"{ready}{before}\n(?s:.*){ready}\d+\n")
        pid = self.pids(daemon)[number]
        self.addCleanup(kill, pid)
        return pid

    @contextmanager
    def only(self, *pids: int) -> Iterator[None]:
        """Stop these workers meanwhile: so the others serve what comes."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """A worker that may have ended already; its number is not used again so soon."""
    if is_running(pid):
        os.kill(pid, number)


def is_running(pid: int) -> bool:
    """Whether it is there, and more than its status is left of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
