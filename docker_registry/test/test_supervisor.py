"""When workers are started, killed and given up, by a clock that stands still."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from docker_registry.metrics.families import (
    COLUMNS,
    CONNECTIONS,
    DURATION,
    IN_FLIGHT,
    PENDING,
    PID,
    REACTOR_LAG,
    REQUESTS,
)
from docker_registry.metrics.table import Table
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.storage.interface import ITaken
from docker_registry.storage.memory import MemoryStorage
from docker_registry.systemd import Notifier
from docker_registry.test.daemon_case import DaemonCase, RecordedProcess
from docker_registry.test.registry_case import Direct
from docker_registry.workers.board import Board
from docker_registry.workers.hand import Hand as RealHand
from docker_registry.workers.messages import REPORTS, Charge, Order
from docker_registry.workers.supervisor import PAUSES, STABLE, START, TRIES, Supervisor

TICK = 15.0
"""Seconds between two pings, where systemd does not ask for any."""


class Hand:
    """A worker that does what the test says.

    :ivar orders: that it was given.
    """

    pid = 4711

    def __init__(self, number: int, on_ready: Callable[[Any], None], on_end: Callable[[Any, int], None]) -> None:
        self.number = number
        self.is_ready = False
        self.unanswered = 0
        self.orders: list[Order] = []
        self.killed = False
        self._on_ready = on_ready
        self._on_end = on_end

    def start(self, reactor: Any, board: int, sockets: Any, keep: Any) -> None: ...

    def order(self, order: Order) -> None:
        self.orders.append(order)

    def ping(self) -> None:
        self.unanswered += 1

    def reload(self) -> Deferred[None]:
        return Deferred()

    def kill(self) -> None:
        self.killed = True

    # What the test says

    def ready(self) -> None:
        self.is_ready = True
        self._on_ready(self)

    def end(self, status: int = 1) -> None:
        self._on_end(self, status)
        self.is_ready = False


@implementer(ITaken)
class Taken(MemoryStorage):
    """Takes its time to settle what a worker has left."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.settled: Deferred[None] = Deferred()

    def keeper(self) -> int:
        return -1

    def settle(self, process: int) -> Deferred[None]:
        return self.settled


class SupervisorTests(DaemonCase):
    modules = "docker_registry.workers"

    def setUp(self) -> None:
        super().setUp()
        self.hands: list[Hand] = []
        self.process = RecordedProcess(self.reactor)
        self.supervisor = self.begin()
        self.addCleanup(self.finish)

    def begin(self, storage: MemoryStorage | None = None) -> Supervisor:
        storage = storage or MemoryStorage(self.reactor)
        self.table = Table(COLUMNS.width, memoryview(bytearray(3 * COLUMNS.width * 8)).cast("q"))
        board = self.board = Board.make(2)
        self.addCleanup(os.close, board.fd)
        supervisor = Supervisor(
            self.reactor,
            make=self.make,
            board=board,
            workers=2,
            table=self.table,
            storage=storage,
            registry=Registry(storage, Direct(), self.reactor, Settings(), self.reactor.seconds),
            endpoints=[],
            pool=ThreadPool(0, 1),
            process=self.process,
            notifier=Notifier({"NOTIFY_SOCKET": self.systemd.getsockname()}),
            grace=30.0,
            place="nowhere",
        )
        supervisor.startService()
        return supervisor

    def make(self, number: int, on_ready: Callable[[Any], None], on_end: Callable[[Any, int], None]) -> Hand:
        self.hands.append(Hand(number, on_ready, on_end))
        return self.hands[-1]

    def finish(self) -> None:
        stopped = self.supervisor.stopService()
        for hand in self.hands[-2:]:
            if not stopped.called:
                hand.end(0)
        self.reactor.pump([0.0, 30.0, 30.0, 30.0])
        self.successResultOf(stopped)

    def lines(self, level: Any = LogLevel.error) -> list[str]:
        return super().lines(level)

    def serving(self) -> tuple[Hand, Hand]:
        first, second = self.hands
        first.ready()
        second.ready()
        self.told()
        return first, second

    def answer(self) -> None:
        for hand in self.hands:
            hand.unanswered = 0

    # Starting

    def test_ready_when_all_are(self) -> None:
        self.hands[1].ready()
        self.assertEqual(self.told(), [])
        self.hands[0].ready()
        self.assertEqual(self.told(), ["READY=1"])
        self.assertIn("listening on  with 2 workers, storing nowhere", self.lines(LogLevel.info))

    def test_never_ready(self) -> None:
        self.hands[0].ready()
        for _ in range(int(START / TICK) + 1):
            self.answer()
            self.reactor.advance(TICK)
        self.assertEqual([hand.killed for hand in self.hands], [False, True])
        self.hands[1].end(-9)
        self.reactor.advance(PAUSES[0])
        self.assertEqual([hand.number for hand in self.hands], [1, 2, 2])

    def test_gives_up(self) -> None:
        """When each has ended so often, and none was ready."""
        for times in range(1, TRIES + 1):
            self.hands[-2].end(3)
            self.assertIsNone(self.process.status)
            self.hands[-1].end(3)
            self.assertEqual(self.process.status, 1 if times == TRIES else None)
            self.reactor.advance(max(PAUSES))
        self.assertIn("the workers end again and again, the last one with status 3: see above", self.lines())

    def test_one_that_was_ready_counts_anew(self) -> None:
        """What failed before it is long ago."""
        for _ in range(2):
            for _ in range(TRIES - 1):
                self.hands[-2].end(3)
                self.hands[-1].end(3)
                self.reactor.advance(max(PAUSES))
            for hand in self.hands[-2:]:
                hand.ready()
                hand.end(3)
            self.reactor.advance(max(PAUSES))
        self.assertIsNone(self.process.status)

    def test_no_restart_would_mend_it(self) -> None:
        self.hands[0].end(78)
        self.assertEqual(self.process.status, 78)
        self.assertEqual(self.lines()[-1], "no worker can serve as configured: see above")

    def test_goes_on_with_one(self) -> None:
        """As long as another one serves, the one that cannot is tried again, ever later."""
        self.hands[0].ready()
        for pause in (*PAUSES, PAUSES[-1]):
            self.hands[-1].end(78)
            count = len(self.hands)
            if pause:
                self.reactor.advance(pause - 0.01)
                self.assertEqual(len(self.hands), count)
            self.reactor.advance(0.02)
            self.assertEqual(len(self.hands), count + 1)
        self.assertIsNone(self.process.status)

    # Watching

    def test_replaced_at_once(self) -> None:
        """After a life that was long enough."""
        first, _ = self.serving()
        for _ in range(int(STABLE / TICK) + 1):
            self.answer()
            self.reactor.advance(TICK)
        for _ in range(2):
            first.end(-11)
            self.assertIn("worker 1, process 4711, was killed by signal 11", self.lines())
            self.reactor.advance(0)
            first = self.hands[-1]
            first.ready()
            for _ in range(int(STABLE / TICK) + 1):
                self.answer()
                self.reactor.advance(TICK)
        self.assertEqual([hand.number for hand in self.hands], [1, 2, 1, 1])

    def test_what_has_ended_is_seen_no_more(self) -> None:
        """Neither by who asks for the workers, nor by the other one when it looks who has fewer connections."""
        first, _ = self.serving()
        other = Board(self.board.fd, 2)
        other.connected(5)
        Board(self.board.fd, 1).connected(9)
        self.table.of(1)[PID.first] = first.pid
        self.assertFalse(other.is_busier())
        first.end(-9)
        self.assertTrue(other.is_busier())
        self.assertEqual(self.table.of(1)[PID.first], 0)

    def test_what_it_was_in_the_middle_of_is_over(self) -> None:
        """What it has counted stays, and so does all of the others, before another process has its row."""
        first, _ = self.serving()
        running = (IN_FLIGHT.at(3), IN_FLIGHT.first + IN_FLIGHT.size - 1, CONNECTIONS.first, PENDING.first)
        counted = (REQUESTS.at(0, 0, 0), DURATION.at(0, 0), REACTOR_LAG.first)
        for row in (1, 2):
            for column in running + counted:
                self.table.of(row)[column] = 7
        first.end(-9)
        self.assertEqual([self.table.of(1)[column] for column in running + counted], [0] * 4 + [7] * 3)
        self.assertEqual([self.table.of(2)[column] for column in running + counted], [7] * 7)

    def test_what_it_left_is_settled_first(self) -> None:
        """What it was making is durable before another one counts in its row."""
        self.finish()
        self.hands.clear()
        storage = Taken(self.reactor)
        self.supervisor = self.begin(storage)
        first, _ = self.serving()
        Board(self.board.fd, 1).making.begin("a/b")
        first.end(-9)
        self.reactor.advance(10)
        self.assertEqual((len(self.hands), self.board.is_making(1)), (2, True))
        storage.settled.callback(None)
        self.reactor.advance(0)
        self.assertEqual((len(self.hands), self.board.is_making(1)), (3, False))

    def test_watchdog(self) -> None:
        first, second = self.serving()
        self.reactor.advance(TICK)
        self.assertEqual(self.told(), ["WATCHDOG=1"])
        second.unanswered = 0
        self.reactor.advance(TICK)
        self.assertEqual(self.told(), [], "one has not answered")
        self.assertFalse(first.killed)
        second.unanswered = 0
        self.reactor.advance(TICK)
        self.assertEqual((self.told(), first.killed, second.killed), ([], True, False))
        first.end(-9)
        self.reactor.advance(0)
        second.unanswered = 0
        self.reactor.advance(TICK)
        self.assertEqual(self.told(), ["WATCHDOG=1"], "the next one is starting")

    # Reloading and stopping

    def test_reload_waits_for_workers(self) -> None:
        self.serving()
        self.supervisor.ask_to_reload()
        self.assertEqual(self.told(), ["RELOADING=1"])
        self.reactor.advance(10)
        self.assertEqual(self.told(), ["READY=1"])
        self.assertIn("not every worker has read again what it should within 10 s", self.lines())

    def test_reload_before_it_is_ready(self) -> None:
        """It does when it is."""
        self.supervisor.ask_to_reload()
        self.assertEqual(self.told(), [])
        for hand in self.hands:
            hand.ready()
        self.assertEqual(self.told(), ["READY=1", "RELOADING=1"])

    def test_stops_workers_first(self) -> None:
        first, second = self.serving()
        stopped = self.supervisor.stopService()
        self.assertEqual(self.told(), ["STOPPING=1"])
        self.assertEqual((first.orders, second.orders), ([Order.STOP], [Order.STOP]))
        first.end(0)
        self.reactor.advance(1)
        self.assertNoResult(stopped)
        self.supervisor.hurry()
        self.assertEqual(second.orders, [Order.STOP, Order.HURRY])
        second.end(0)
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(len(self.hands), 2, "nobody takes their place")
        self.assertEqual(self.lines(), [])
        self.supervisor = self.begin()

    def test_worker_that_does_not_end(self) -> None:
        first, second = self.serving()
        stopped = self.supervisor.stopService()
        first.end(0)
        self.reactor.advance(60)
        self.assertEqual((first.killed, second.killed), (False, True))
        second.end(-9)
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.supervisor = self.begin()

    def test_stops_between_two_tries(self) -> None:
        self.hands[0].end()
        self.hands[1].end()
        stopped = self.supervisor.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(len(self.hands), 2)
        self.supervisor = self.begin()


class HandTests(SynchronousTestCase):
    """A worker as the parent sees it, without the process."""

    def test_end(self) -> None:
        """Whoever is told of the end still sees whether the worker was ready; who waits for it to reload goes on."""
        seen: list[object] = []
        hand = RealHand(
            Charge(1, b"", "c.yml", "x", (), {}), -1, lambda hand: seen.append("ready"),
            lambda hand, status: seen.append((hand.is_ready, status)), lambda fault: None,
        )
        orders: list[Order] = []
        self.patch(hand, "order", orders.append)
        self.successResultOf(hand.reload())
        self.assertEqual(orders, [Order.RELOAD], "it does when it is ready, whoever waits for that")
        hand.childDataReceived(REPORTS, b"rea")
        hand.childDataReceived(REPORTS, b"dy\npo")
        hand.unanswered = 2
        hand.childDataReceived(REPORTS, b"ng\n")
        self.assertEqual((seen, hand.unanswered), (["ready"], 0))
        reloading = hand.reload()
        self.assertNoResult(reloading)
        hand.processEnded(Failure(ProcessTerminated(signal=9)))
        self.successResultOf(reloading)
        self.assertEqual((seen[1:], hand.is_ready), ([(True, -9)], False))
        self.successResultOf(hand.reload())
        hand.order(Order.STOP)
        hand.kill()
