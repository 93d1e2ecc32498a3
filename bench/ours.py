"""Ours, as it is measured: twistd with a heartbeat beside the registry.

``python -m bench.ours FD ARGUMENT...`` runs ``twistd ARGUMENT...`` in this process. For each byte that arrives on the
socket FD it answers one line: the seconds of the largest gap between two heartbeats since the last time, and since the
last heartbeat.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any

from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall

INTERVAL = 0.01
"""Seconds from one heartbeat to the next."""


class Heartbeat:
    """How long the reactor let a call wait that was due every `INTERVAL`."""

    def __init__(self) -> None:
        self._last = monotonic()
        self._largest = 0.0

    def beat(self) -> None:
        now = monotonic()
        self._largest = max(self._largest, now - self._last)
        self._last = now

    def take_largest(self) -> float:
        """Seconds; the next answer knows nothing of this time."""
        self.beat()
        largest, self._largest = self._largest, 0.0
        return largest


class Answering(Protocol):
    transport: ITransport

    def __init__(self, largest: Callable[[], float]) -> None:
        self._largest = largest

    def dataReceived(self, data: bytes) -> None:
        for _ in data:
            self.transport.write(b"%.6f\n" % self._largest())


def main(fd: int, arguments: list[str]) -> None:
    from twisted.internet import reactor as installed
    from twisted.scripts.twistd import run

    reactor: Any = installed
    heartbeat = Heartbeat()
    beats = LoopingCall(heartbeat.beat)
    beats.clock = reactor
    reactor.callWhenRunning(beats.start, INTERVAL)
    reactor.adoptStreamConnection(fd, socket.AF_UNIX, Factory.forProtocol(lambda: Answering(heartbeat.take_largest)))
    os.close(fd)
    sys.argv = ["twistd", *arguments]
    run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
