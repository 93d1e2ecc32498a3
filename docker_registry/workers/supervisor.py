"""The parent of several workers: starts, watches, replaces and stops them. See `docker_registry.workers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from docker_registry import mail, watching
from docker_registry.acceptor import Acceptor
from docker_registry.alerts.forwarding import read
from docker_registry.assembly import admin, core, entrances, parts
from docker_registry.config.load import Loaded
from docker_registry.config.problems import EXIT_STATUS
from docker_registry.daemon import LAST_STEPS, Daemon
from docker_registry.deferreds import outcomes
from docker_registry.errors import StorageError
from docker_registry.listening import CannotStart
from docker_registry.metrics.families import COLUMNS
from docker_registry.metrics.table import Table, memory
from docker_registry.process import Process, open_files
from docker_registry.registry.shared import Shared
from docker_registry.storage.interface import ITaken
from docker_registry.systemd import Notifier
from docker_registry.workers.board import Board
from docker_registry.workers.hand import Hand
from docker_registry.workers.messages import Charge, Order

PATIENCE = 60.0
"""Seconds in which a worker has to answer, where systemd's watchdog does not say."""

TICKS = 4
"""Pings in that time. A worker is killed when it has left two unanswered, so another serves in good time."""

START = 120.0
"""Seconds that a worker has to be ready."""

STABLE = 60.0
"""Seconds that a worker has to live for its end to be the first one again."""

PAUSES = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Seconds before a worker is started again, by how many have ended in a row."""

TRIES = 4
"""Ends in a row of each worker before it was ready, with which the parent gives up."""

RELOAD = 10.0
"""Seconds that workers have to say that they have read again what can be read again."""


class Place:
    """What one of the workers is, whichever process that is at the moment.

    :ivar hand: the process; ``None`` between two of them.
    :ivar since: when that was started.
    :ivar ends: how many have ended in a row, each before it was stable.
    :ivar failures: how many of them before they were ready.
    :ivar next: when the next one is started.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.hand: Hand | None = None
        self.since = 0.0
        self.ends = self.failures = 0
        self.next: IDelayedCall | None = None

    @property
    def is_ready(self) -> bool:
        return self.hand is not None and self.hand.is_ready


class Supervisor(Daemon):
    """:param make: makes a worker that is yet to be started, of its number and what is to be told when it is ready and
        when it has ended.
    :param board: what workers share.
    :param workers: how many.
    :param table: where they count what they do, if anybody can ask for it.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        make: Callable[..., Hand],
        board: Board,
        workers: int,
        table: Table | None = None,
        **parts: Any,
    ) -> None:
        super().__init__(reactor, **parts)
        self._make = make
        self._table = table
        self._board = board
        self._places = [Place(number) for number in range(1, workers + 1)]
        self._settling: set[Deferred[None]] = set()
        self._all_ended: Deferred[None] | None = None

    # Starting

    async def _open(self) -> None:
        await self._storage.start()
        await self._listen(Factory())
        for port, (text, _) in zip(self._ports, self._endpoints, strict=False):
            if not isinstance(port, Acceptor):
                raise CannotStart(f"{text} cannot be shared: set workers: 1")
        if self._is_to_start:
            self._registry.start()
            self._pings.start((self._notifier.patience or PATIENCE) / TICKS, now=False)
            for place in self._places:
                self._begin_worker(place)

    def _begin_worker(self, place: Place) -> None:
        place.next = None
        place.since = self._reactor.seconds()
        place.hand = hand = self._make(place.number, self._ready, self._ended)
        try:
            with open(self._board.open_again(), "rb", buffering=0) as board:
                hand.start(
                    self._reactor, board.fileno(), [port.fileno() for port in self._acceptors()], self._kept()
                )
        except OSError as error:
            self.log.error("worker {number} cannot be started: {reason}", number=place.number, reason=error.strerror)
            place.failures += 1
            self._lost(place)

    def _acceptors(self) -> Sequence[Acceptor]:
        return [port for port in self._ports if isinstance(port, Acceptor)]

    def _kept(self) -> Sequence[int]:
        return [self._storage.keeper()] if ITaken.providedBy(self._storage) else []

    def _ready(self, hand: Hand) -> None:
        place = self._places[hand.number - 1]
        self.log.info("worker {number} is ready: process {pid}", number=hand.number, pid=hand.pid)
        place.failures = 0
        if not self._is_ready and all(each.is_ready for each in self._places) and self.running:
            self._say_ready(f" with {len(self._places)} workers")

    # Watching

    def _ping(self) -> None:
        """Look after the workers, and tell systemd if all is well."""
        well = True
        for hand in [place.hand for place in self._places if place.hand is not None]:
            if hand.is_ready and hand.unanswered > 1 and self.running:
                self.log.error("worker {number}, process {pid}, does not answer: it is killed",
                               number=hand.number, pid=hand.pid, alert="worker does not answer")
                hand.kill()
            well = well and not (hand.is_ready and hand.unanswered)
            hand.ping()
        self._look_at_starts()
        if well and self._is_ready:
            self._notifier.ping()

    def _look_at_starts(self) -> None:
        for place in self._places:
            late = self._reactor.seconds() - place.since > START
            if place.hand is not None and not place.is_ready and late:
                self.log.error("worker {number} is not ready after {seconds:g} s: it is killed",
                               number=place.number, seconds=START)
                place.since = self._reactor.seconds()
                place.hand.kill()

    def _ended(self, hand: Hand, status: int) -> None:
        place = self._places[hand.number - 1]
        stopped = not self.running or self._asked
        if not stopped:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            line, facts = "worker {number}, process {pid}, {how}", {"number": hand.number, "pid": hand.pid, "how": how}
            if status:
                self.log.error(line, **facts, alert="worker ended")
            else:
                self.log.info(line, **facts)            # somebody has sent it a SIGTERM
        self._board.ended(hand.number)
        if self._table is not None:
            self._table.vacate(hand.number, COLUMNS.families)
        if not place.is_ready:
            place.failures += 1
        settled = Deferred.fromCoroutine(self._settle(hand))
        self._settling.add(settled)
        settled.addBoth(lambda _: self._settling.discard(settled))
        if self._board.is_making(hand.number) and not stopped:
            settled.addBoth(lambda _: self._lost(place, status))
        else:
            self._lost(place, status)

    async def _settle(self, hand: Hand) -> None:
        """What it left on its way goes, and what others built upon it becomes durable."""
        if ITaken.providedBy(self._storage):
            try:
                await self._storage.settle(hand.pid)
            except (StorageError, OSError):
                self.log.failure("what worker {number} left could not be settled", number=hand.number)
                return
        if self._board.is_making(hand.number):
            self._board.clear(hand.number)

    def _lost(self, place: Place, status: int = 1) -> None:
        """Its process has ended, though nobody has asked it to: begin another one, now or later."""
        place.hand = None
        if not self.running or self._asked:
            self._tell_if_all_ended()
            return
        if self._reactor.seconds() - place.since > STABLE:
            place.ends = 0
        place.ends += 1
        tired = status == EXIT_STATUS or all(each.failures >= TRIES for each in self._places)
        if tired and place.failures and not any(each.is_ready for each in self._places):
            if status == EXIT_STATUS:
                self.log.critical("no worker can serve as configured: see above")
            else:
                self.log.critical("the workers end again and again, the last one with status {status}: see above",
                                  status=status)
            self._process.stop(EXIT_STATUS if status == EXIT_STATUS else 1)
            return
        pause = PAUSES[min(place.ends, len(PAUSES)) - 1]
        place.next = self._reactor.callLater(pause, self._begin_worker, place)

    # Reloading

    async def _reload_all(self) -> None:
        await self.reloads.reload()
        workers = [place.hand.reload() for place in self._places if place.hand is not None]
        all_have: Deferred[Any] = Deferred()
        DeferredList(workers).addCallback(all_have.callback)
        if not await self._in_time(all_have, RELOAD):
            self.log.error("not every worker has read again what it should within {seconds:g} s", seconds=RELOAD)

    # Stopping

    def hurry(self) -> None:
        super().hurry()
        self._order(Order.HURRY)

    def _order(self, order: Order) -> None:
        for place in self._places:
            if place.hand is not None:
                place.hand.order(order)

    def _begin_to_stop(self) -> None:
        """Workers first: each lets its requests come to their end."""
        self._order(Order.STOP)

    async def _stop(self, closing: Sequence[Deferred[Any]]) -> None:
        self._registry.stop()
        for place in self._places:
            if place.next is not None:
                place.next.cancel()
                place.next = None
        self._all_ended = Deferred()
        self._tell_if_all_ended()
        # The grace may be over before: then they have cut what is left, and are about to end.
        if not await self._in_time(self._all_ended, self._grace + 3 * LAST_STEPS):
            for place in self._places:
                if place.hand is not None:
                    self.log.error("worker {number} does not end: it is killed", number=place.number)
                    place.hand.kill()
            self._all_ended = Deferred()
            self._tell_if_all_ended()
            await self._in_time(self._all_ended, LAST_STEPS)
        await outcomes(*closing, *self._settling)
        await self._in_time(self._registry.idle(), LAST_STEPS)
        await self._leave()

    def _tell_if_all_ended(self) -> None:
        waiting = self._all_ended
        if waiting is not None and not waiting.called and all(place.hand is None for place in self._places):
            waiting.callback(None)


def build(
    reactor: Any, loaded: Loaded, environ: Mapping[str, str], twistd: Mapping[str, Any]
) -> Supervisor:
    """The parent of a configuration with several workers. Nothing is opened yet.

    :param environ: of the process, for what systemd says there.
    :param twistd: its options, for the workers' logs.
    :raises ConfigError: systemd has not handed over the socket that ``listen`` names.
    """
    config = loaded.config
    open_files()                        # the workers inherit the limit
    board, counts = Board.make(config.processes), -1
    table: Table | None = None
    if config.admin_listen:
        counts = memory(COLUMNS.width, config.processes + 1)
        table = Table.shared(COLUMNS.width, counts, 0)
    made = core(reactor, config, table, Shared(board, board.uploads, board.making))

    def make(number: int, on_ready: Callable[[Hand], None], on_end: Callable[[Hand, int], None]) -> Hand:
        log = {name: twistd.get(name) for name in ("logfile", "syslog", "prefix", "nodaemon", "reactor")}
        charge = Charge(number, loaded.source, loaded.file, loaded.flavor, loaded.listen, log)
        return Hand(charge, counts, on_ready, on_end, on_fault)

    alerts = mail.alerts(reactor, loaded, watching.mails(table))

    def on_fault(said: bytes) -> None:
        if alerts is not None:
            alerts.receive(*read(said))

    endpoints = entrances(reactor, loaded, accepts=False)
    service = Supervisor(
        reactor,
        make=make,
        board=board,
        workers=config.processes,
        table=table,
        **parts(reactor, loaded, made, endpoints, Process(reactor), Notifier(environ), alerts),
    )
    service.companions += admin(reactor, loaded, made, service.reloads, service.give_up)
    return service
