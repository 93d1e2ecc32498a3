"""A daemon without a process, and what it would be seen to do."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Callable
from typing import Any

from twisted.internet.testing import EventLoggingObserver, MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.process import Process


class RecordedProcess(Process):
    """The process, but for the signals of the one that runs the tests.

    :ivar status: what it was told to end with; ``None`` as long as it runs.
    """

    status: int | None = None

    def __init__(self, reactor: Any, events: list[str] | None = None) -> None:
        super().__init__(reactor)
        self._events = [] if events is None else events

    def settle(self) -> None:
        self._events.append("settled")

    def on_stop_signal(self, call: Callable[[], None]) -> None:
        self.signal = call

    def on_reload_signal(self, call: Callable[[], None]) -> None: ...

    def stop(self, status: int = 0) -> None:
        if self.status is None:
            self.status = status


class DaemonCase(SynchronousTestCase):
    """:ivar modules: whose lines are looked at."""

    modules: str

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.reactor.hasRun = True          # so that callWhenRunning calls
        self.systemd = self._listen_as_systemd()
        self.logged = EventLoggingObserver()
        globalLogPublisher.addObserver(self.logged)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged)

    def _listen_as_systemd(self) -> socket.socket:
        directory = tempfile.mkdtemp()      # short: the name of a socket has 107 bytes
        self.addCleanup(shutil.rmtree, directory)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(receiver.close)
        receiver.bind(f"{directory}/notify")
        return receiver

    def told(self) -> list[str]:
        """What systemd has been told since the last time."""
        said = []
        while True:
            try:
                said.append(self.systemd.recv(100).decode().split("\n")[0])
            except BlockingIOError:
                return said

    def lines(self, level: Any) -> list[str]:
        """Of the log, from a level on."""
        return [
            event["log_format"].format(**event)
            for event in self.logged
            if event["log_namespace"].startswith(self.modules) and event["log_level"] >= level
        ]
