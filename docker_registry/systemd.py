"""What systemd is told: READY, RELOADING, STOPPING, and that the reactor still turns (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from twisted.logger import Logger


class Notifier:
    """Datagrams to the socket that systemd names; without one, nothing. It never fails the daemon.

    :param environ: ``NOTIFY_SOCKET`` is a path, or a name in the abstract name space after ``@``; ``WATCHDOG_USEC``
        and ``WATCHDOG_PID`` are set when pings are awaited.
    :ivar patience: seconds that systemd waits for a ping; 0 when it does not wait for any.
    """

    log = Logger()

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        self.patience = _watchdog(environ) if name else 0.0
        self._is_deaf = False                   # and an operator has been told

    @property
    def interval(self) -> float | None:
        """Seconds between two pings, half of what systemd waits; ``None`` when it does not wait for any."""
        return self.patience / 2 if self.patience else None

    def ready(self) -> None:
        """The registry answers."""
        self._send("READY=1")

    def reloading(self) -> None:
        """It reads again what can be read again; `ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The registry takes no more requests."""
        self._send("STOPPING=1")

    def ping(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(state.encode(), self._address)
        except OSError as error:
            if not self._is_deaf:
                self.log.warn("systemd was not told {state}: {error}", state=state, error=error.strerror or error)
            self._is_deaf = True
        else:
            self._is_deaf = False


def _watchdog(environ: Mapping[str, str]) -> float:
    text, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID")
    mine = pid is None or pid == str(os.getpid())
    return int(text) / 1e6 if mine and text.isdecimal() else 0.0
