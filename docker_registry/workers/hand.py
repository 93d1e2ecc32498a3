"""One worker, as the parent sees it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from docker_registry.workers.messages import (
    BOARD,
    COUNTS,
    FAULT,
    ORDERS,
    REPORTS,
    SOCKETS,
    Charge,
    Order,
    Report,
    line,
)

PROGRAM = """\
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from docker_registry.workers.worker import main, prepare
charge = prepare()
from twisted.internet import reactor
main(reactor, charge)
"""
"""Finds what the parent has found, wherever that was; and nothing in the working directory."""

_NOT_THEIRS = ("LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_")

_OF_THE_PARENT = {signal.SIGINT, signal.SIGHUP, signal.SIGUSR1}
"""Signals that a terminal or a script sends to all processes; a worker is born with them blocked."""


class Hand(ProcessProtocol):
    """A process from its start to its end.

    :param counts: a descriptor of what workers count in, or -1.
    :param on_ready: called when it serves.
    :param on_end: called with the status that it ended with, negative if a signal did it.
    :param on_fault: called with what it says of an exception.
    :ivar pid: 0 before it is started.
    :ivar is_ready: whether it serves.
    :ivar unanswered: pings since it answered last.
    """

    log = Logger()

    def __init__(
        self,
        charge: Charge,
        counts: int,
        on_ready: Callable[[Hand], None],
        on_end: Callable[[Hand, int], None],
        on_fault: Callable[[bytes], None],
    ) -> None:
        self.number = charge.number
        self.pid = 0
        self.is_ready = False
        self.unanswered = 0
        self._charge = charge
        self._counts = counts
        self._on_ready = on_ready
        self._on_end = on_end
        self._on_fault = on_fault
        self._said = b""
        self._hears = True
        self._reloading: list[Deferred[None]] = []

    def start(self, reactor: Any, board: int, sockets: Sequence[int], keep: Sequence[int]) -> None:
        """:param board, sockets, keep: descriptors that the process gets; it only holds the last ones.
        :raises OSError: the system has no room for another process.
        """
        counts = self._counts if self._counts >= 0 else board
        descriptors = {ORDERS: "w", 1: 1, 2: 2, REPORTS: "r", BOARD: board, COUNTS: counts}
        descriptors |= dict(enumerate([*sockets, *keep], SOCKETS))
        arguments = [sys.executable, "-P", "-c", PROGRAM, f"docker-registry worker {self.number}", json.dumps(sys.path)]
        environ = {name: text for name, text in os.environ.items() if not name.startswith(_NOT_THEIRS)}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_PARENT)
        try:
            transport = reactor.spawnProcess(self, sys.executable, arguments, env=environ, childFDs=descriptors)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.pid = transport.pid

    def order(self, order: Order) -> None:
        """Whether it follows shows later, if it matters."""
        if self._hears and self.transport is not None:
            self.transport.writeToChild(ORDERS, line(order))

    def ping(self) -> None:
        self.unanswered += 1
        self.order(Order.PING)

    def reload(self) -> Deferred[None]:
        """Fires when it has, or has ended. One that is not ready does when it is, and is not waited for."""
        done: Deferred[None] = Deferred()
        self.order(Order.RELOAD)
        if self.is_ready:
            self._reloading.append(done)
        else:
            done.callback(None)
        return done

    def kill(self) -> None:
        try:
            if self.transport is not None:
                self.transport.signalProcess(signal.SIGKILL)
        except ProcessExitedAlready:
            self.log.debug("worker {number} has ended by itself", number=self.number)

    # From the process

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.writeToChild(ORDERS, self._charge.to_bytes())

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, self._said = (self._said + data).split(b"\n")
        for each in lines:
            if each.startswith(FAULT):
                self._on_fault(each.removeprefix(FAULT))
            else:
                self._take(Report(each.decode("ascii")))

    def _take(self, report: Report) -> None:
        self.unanswered = 0
        if report is Report.READY:
            self.is_ready = True
            self._on_ready(self)
        elif report is Report.RELOADED:
            self._reloaded()

    def _reloaded(self) -> None:
        waiting, self._reloading = self._reloading, []
        for each in waiting:
            if not each.called:
                each.callback(None)

    def childConnectionLost(self, childFD: int) -> None:
        """The end of the process follows."""
        if childFD == ORDERS:
            self._hears = False

    def processEnded(self, reason: Failure) -> None:
        self._reloaded()
        self.transport = None
        self._on_end(self, _status(reason.value))       # who still sees whether it was ready
        self.is_ready = False


def _status(error: Any) -> int:
    if isinstance(error, ProcessDone):
        return 0
    status: int = error.exitCode if error.exitCode is not None else -error.signal
    return status
