"""A worker: the process that serves, as its parent has it started."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, cast

from twisted.application.reactors import installReactor
from twisted.internet.stdio import StandardIO
from twisted.logger import Logger, globalLogBeginner
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from docker_registry import mail
from docker_registry.assembly import core, parts, serving
from docker_registry.config.load import Loaded, load_again
from docker_registry.config.problems import EXIT_STATUS, ConfigError
from docker_registry.deferreds import deferred
from docker_registry.journal import log_observer
from docker_registry.listening import Inherited
from docker_registry.metrics.families import COLUMNS
from docker_registry.metrics.table import Table
from docker_registry.process import Process
from docker_registry.registry.shared import Shared
from docker_registry.service import RegistryService
from docker_registry.systemd import Notifier
from docker_registry.workers.board import Board
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


class WorkerProcess(Process):
    """The parent says when to stop and what to read again; a SIGTERM ends this worker alone."""

    def on_stop_signal(self, call: Callable[[], None]) -> None:
        self._on((signal.SIGTERM,), call)

    def on_reload_signal(self, call: Callable[[], None]) -> None:
        """Those that ask for it do not come here: see `hand`."""


class ToParent(Notifier):
    """Tells the parent what a daemon that is alone tells systemd."""

    def __init__(self, say: Callable[[Report], None]) -> None:
        super().__init__({})
        self._say = say

    def ready(self) -> None:
        self._say(Report.READY)


class Worker(RegistryService):
    """:param say: tells the parent."""

    log = Logger()

    def __init__(self, reactor: Any, *, say: Callable[[Report], None], **parts: Any) -> None:
        super().__init__(reactor, periodic=False, **parts)
        self._say = say
        self._is_over = False

    def _say_ready(self, by: str = "") -> None:
        """The parent does."""
        self._serve()

    async def _reload(self) -> None:
        await self.reloads.reload()
        self._say(Report.RELOADED)

    @deferred
    async def stopService(self) -> None:
        await super().stopService()
        self._is_over = True

    def ask_to_stop(self) -> None:
        """Once is enough: what sends signals to all processes of a daemon sends one here, and one to the parent."""
        if not self._asked:
            super().ask_to_stop()

    def follow(self, order: Order) -> None:
        if order is Order.PING:
            self._say(Report.PONG)
        elif order is Order.RELOAD:
            self.ask_to_reload()
        elif order is Order.STOP:
            self.ask_to_stop()
        elif order is Order.HURRY:
            self.hurry()

    def orphaned(self) -> None:
        """Make room at once: the next daemon waits for the store."""
        if self._is_over:
            return
        self.log.error("the parent has gone: stopping now")
        self.hurry()
        self.ask_to_stop()


class Orders(LineOnlyReceiver):
    """What comes from the parent; its end, too, is an order."""

    delimiter = b"\n"

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def lineReceived(self, line: bytes) -> None:
        self._worker.follow(Order(line.decode("ascii")))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._worker.orphaned()


def build(
    reactor: Any, loaded: Loaded, board: Board, say: Callable[[Report], None], fault: Callable[[bytes], None]
) -> Worker:
    """The service of one worker.

    :param fault: tells the parent, which mails, of an exception.
    """
    config = loaded.config
    table = Table.shared(COLUMNS.width, COUNTS, board.row) if config.admin_listen else None
    made = core(reactor, config, table, Shared(board, board.uploads, board.making), joins=True)
    endpoints = [Inherited(reactor, text, fd, board.is_busier) for fd, text in enumerate(config.listen, SOCKETS)]
    alerts = mail.forwarder(reactor, loaded, fault)
    what = parts(reactor, loaded, made, endpoints, WorkerProcess(reactor), ToParent(say), alerts)
    what = serving(reactor, config, made, what)
    what["site"].connected = board.connected
    return Worker(reactor, say=say, **what)


def prepare() -> Charge:
    """Read what to be from the parent's pipe; after this the reactor may be imported."""
    charge = Charge.read(ORDERS)
    if charge.twistd.get("reactor"):
        installReactor(charge.twistd["reactor"])
    return charge


def main(reactor: Any, charge: Charge) -> None:
    """Serve until the parent has enough of it."""
    try:
        loaded = load_again(charge.source, charge.file, charge.flavor, os.environ, charge.listen)
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(EXIT_STATUS) from None

    def say(report: Report) -> None:
        orders.transport.write(line(report))    # type: ignore[union-attr]

    def fault(said: bytes) -> None:
        orders.transport.write(FAULT + said + b"\n")   # type: ignore[union-attr]

    worker = build(reactor, loaded, Board(BOARD, charge.number), say, fault)
    orders = Orders(worker)
    observer = log_observer(reactor, charge.twistd, loaded.config, worker.reloads)
    globalLogBeginner.beginLoggingTo([observer])
    cast(Any, StandardIO)(orders, ORDERS, REPORTS)
    worker.startService()
    reactor.addSystemEventTrigger("before", "shutdown", worker.stopService)
    reactor.run()
