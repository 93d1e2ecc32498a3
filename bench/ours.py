"""Ours, as it is measured: twistd with a heartbeat beside the registry.

``python -m bench.ours FD ARGUMENT...`` runs ``twistd ARGUMENT...`` in this process. For each byte that arrives on the
socket FD it answers one line, about the heartbeats since the last one: the seconds of the largest gap between two, and
of the largest without what the kernel let this thread wait for a processor.
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
    """How long the reactor let a call wait that was due every `INTERVAL`. Lives in the reactor's thread."""

    def __init__(self) -> None:
        self._statistics = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        self._last, self._waited = monotonic(), self._waited_so_far()
        self._largest = self._largest_own = 0.0

    def beat(self) -> None:
        now, waited = monotonic(), self._waited_so_far()
        gap = now - self._last
        self._largest = max(self._largest, gap)
        self._largest_own = max(self._largest_own, gap - (waited - self._waited))
        self._last, self._waited = now, waited

    def take_largest(self) -> tuple[float, float]:
        """Seconds, with and without the time spent waiting for a processor; the next answer begins here."""
        self.beat()
        largest = self._largest, self._largest_own
        self._largest = self._largest_own = 0.0
        return largest

    def _waited_so_far(self) -> float:
        """Seconds in which this thread could have run, and another had the processor (proc(5), ``schedstat``)."""
        return int(os.pread(self._statistics, 100, 0).split()[1]) / 1e9


class Answering(Protocol):
    transport: ITransport

    def __init__(self, largest: Callable[[], tuple[float, float]]) -> None:
        self._largest = largest

    def dataReceived(self, data: bytes) -> None:
        for _ in data:
            self.transport.write(b"%.6f %.6f\n" % self._largest())


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
