"""Real servers that a script has started: stopped, killed, and started again as they were."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from docker_registry.test.clients.daemon import is_listened_on, until, wait_for_port


class RealServer:
    """One process of those whose ids are in a file. Whatever a test did to it, `mend` makes it serve.

    :param folder: in which the script keeps what it has started, see `servers/glance`.
    :param what: stands in its command line.
    :param port: where it listens.
    :ivar command: that it was started with.
    :ivar environ: of that.
    """

    def __init__(self, folder: Path, what: str, port: int) -> None:
        self._pids = folder / "pids"
        self._log = folder / "log" / "again"
        self._what = what.encode()
        self._port = port
        self.command = self._read("cmdline")
        self.environ = dict(each.partition("=")[::2] for each in self._read("environ"))

    @property
    def pid(self) -> int:
        for line in reversed(self._pids.read_text().splitlines()):
            pid, born = line.split()
            try:
                if self._what in Path(f"/proc/{pid}/cmdline").read_bytes() and _born(int(pid)) == born:
                    return int(pid)
            except FileNotFoundError:
                continue
        raise LookupError(self._what)

    def _read(self, what: str) -> list[str]:
        return [os.fsdecode(each) for each in Path(f"/proc/{self.pid}/{what}").read_bytes().rstrip(b"\0").split(b"\0")]

    def stop(self) -> None:
        """It takes connections, and does nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Nobody is there any more."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        until(lambda: not _is_there(pid) and not is_listened_on(self._port))     # its threads may live a moment longer

    def start(self) -> None:
        """After `kill`, with the same command."""
        with self._log.open("ab") as log:
            self._process = process = subprocess.Popen(
                self.command, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )
        with self._pids.open("a") as pids:
            pids.write(f"{process.pid} {_born(process.pid)}\n")
        wait_for_port(self._port)

    def mend(self) -> None:
        try:
            self.go_on()
        except LookupError:
            self.start()


def _born(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]


def _is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False
