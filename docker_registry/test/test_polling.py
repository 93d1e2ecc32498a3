"""Waits that are spent looking, and those that are not; and what is done at the end of a turn."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.polling import DOUBT, MOST, PROVED, TOGETHER, Events, Poller, Turn, take_turns

EVENT = [(7, 1)]


class Scripted:
    """A poller to which something happens ``gap`` nanoseconds after each time that it was told of."""

    def __init__(self) -> None:
        self.time = 0
        self.gap = MOST // 2
        self.due = 0
        self.slept: list[float] = []
        self.looks = 0

    def now(self) -> int:
        return self.time

    def poll(self, timeout: float, maxevents: int) -> Events:
        assert maxevents == 9
        if timeout == 0:
            self.looks += 1
            self.time += 1000
        else:
            self.slept.append(timeout)
            until = self.due if timeout < 0 else min(self.due, self.time + int(timeout * 1e9))
            self.time = max(self.time, until)
        if self.time < self.due:
            return []
        self.due = self.time + self.gap
        return EVENT

    def fileno(self) -> int:
        return 3

    register = modify = unregister = close = fileno


class PollerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.inner = Scripted()
        self.alone = True
        self.turn = Turn()
        self.poller = Poller(self.inner, lambda: self.alone, self.turn, self.inner.now)

    def wait(self, times: int = 1, timeout: float = -1) -> Events:
        for _ in range(times):
            found = self.poller.poll(timeout, 9)
        return found

    def test_sleeps_until_short_waits_have_proved_themselves(self) -> None:
        self.wait(PROVED)
        self.assertEqual((self.inner.slept, self.inner.looks), ([-1] * PROVED, 0))

    def test_looks_when_waits_are_short(self) -> None:
        self.wait(PROVED)
        self.assertEqual(self.wait(100), EVENT)
        self.assertEqual(len(self.inner.slept), PROVED)
        self.assertGreater(self.inner.looks, 100)

    def test_waits_that_are_long_are_slept(self) -> None:
        self.inner.gap = MOST * 2
        self.wait(100)
        self.assertEqual((len(self.inner.slept), self.inner.looks), (100, 0))

    def test_sleeps_when_it_looked_in_vain(self) -> None:
        self.wait(PROVED)
        self.inner.due = self.inner.time + 10 * MOST
        self.assertEqual(self.wait(), EVENT)
        self.assertEqual(len(self.inner.slept), PROVED + 1)
        self.assertLessEqual(self.inner.looks * 1000, MOST + 2000)

    def test_looks_less_often_when_it_is_in_vain(self) -> None:
        """Where each wait that it would look through is a long one, it does so once in `PROVED` + `DOUBT` waits."""
        rounds = 100
        for _ in range(rounds):
            self.inner.due = self.inner.time
            self.wait(PROVED)
            self.inner.due = self.inner.time + 10 * MOST
            self.wait()
        in_vain = rounds * PROVED // (PROVED + DOUBT) + 1
        self.assertLessEqual(self.inner.looks * 1000, in_vain * (MOST + 2000))
        self.assertGreater(self.inner.looks, 0)

    def test_a_long_wait_begins_the_proof_anew(self) -> None:
        self.wait(PROVED - 1)
        self.inner.due = self.inner.time + 10 * MOST
        self.wait(PROVED)
        self.assertEqual(self.inner.looks, 0)

    def test_timers_are_not_late(self) -> None:
        """What is due sooner than a look may take is slept for."""
        self.wait(PROVED)
        self.inner.due = self.inner.time + 10 * MOST
        self.assertEqual(self.wait(timeout=MOST / 2e9), [])
        self.assertEqual((self.inner.slept[-1], self.inner.looks), (MOST / 2e9, 0))

    def test_timers_say_nothing_of_clients(self) -> None:
        self.inner.due = 1 << 60
        self.wait(2 * PROVED, timeout=1e-6)
        self.inner.due = self.inner.time
        self.wait(PROVED)
        self.assertEqual(self.inner.looks, 0)

    def test_sleeps_while_threads_work(self) -> None:
        self.wait(PROVED)
        self.alone = False
        self.wait(10)
        self.assertEqual((len(self.inner.slept), self.inner.looks), (PROVED + 10, 0))


class TurnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.turn = Turn()
        self.done: list[int] = []

    def at_end(self, *numbers: int) -> None:
        for number in numbers:
            self.turn.at_end(lambda number=number: self.done.append(number))  # type: ignore[misc]

    def test_ends_before_the_next_wait(self) -> None:
        inner = Scripted()
        seen: list[list[int]] = []
        inner.poll = lambda timeout, maxevents: seen.append(list(self.done)) or EVENT  # type: ignore
        poller = Poller(inner, lambda: True, self.turn, inner.now)
        poller.poll(-1, 9)
        self.at_end(1, 2)
        self.assertEqual(self.done, [])
        poller.poll(-1, 9)
        self.assertEqual(seen, [[], [1, 2]])

    def test_is_shared_by_several(self) -> None:
        for found, expected in ((EVENT, False), (EVENT * 2, True), ([], False)):
            inner = Scripted()
            inner.poll = lambda timeout, maxevents, found=found: found  # type: ignore
            Poller(inner, lambda: True, self.turn, inner.now).poll(-1, 9)
            self.assertIs(self.turn.is_shared, expected)

    def test_does_not_wait_for_all_when_they_are_many(self) -> None:
        self.at_end(*range(TOGETHER - 1))
        self.assertEqual(self.done, [])
        self.at_end(TOGETHER)
        self.assertEqual(len(self.done), TOGETHER)

    def test_one_that_fails_leaves_the_others(self) -> None:
        self.turn.at_end(lambda: 1 // 0)
        self.at_end(1)
        self.assertRaises(ZeroDivisionError, self.turn.end)
        self.turn.end()
        self.assertEqual(self.done, [1])


class ReactorTests(SynchronousTestCase):
    """The reactor that Twisted has, which knows no other way in."""

    def setUp(self) -> None:
        self.reactor: Any = EPollReactor()
        self.addCleanup(self.reactor._poller.close)

    def test_talks_on(self) -> None:
        """A client that takes turns with it is answered, and its waits count."""
        self.patch(os, "sched_getaffinity", lambda pid: {0, 1})
        take_turns(self.reactor, lambda: True, Turn())
        self.assertIsInstance(self.reactor._poller, Poller)
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        theirs.setblocking(False)
        ours.setblocking(False)

        class Echo(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(data)              # type: ignore[union-attr]

        self.reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Factory.forProtocol(Echo))
        ours.close()
        for number in range(3 * PROVED):
            theirs.send(b"%d" % number)
            self.reactor.runUntilCurrent()
            self.reactor.doIteration(5)
            self.reactor.doIteration(0)
            self.assertEqual(theirs.recv(10), b"%d" % number)
        self.assertGreaterEqual(self.reactor._poller._short, PROVED)
        for selectable in self.reactor.removeAll():
            selectable.connectionLost(Failure(ConnectionDone()))

    def test_sleeps_where_there_is_one_processor(self) -> None:
        self.patch(os, "sched_getaffinity", lambda pid: {0})
        take_turns(self.reactor, lambda: True, Turn())
        self.assertFalse(self.reactor._poller._is_alone())

    def test_leaves_other_reactors_alone(self) -> None:
        clock = Clock()
        take_turns(clock, lambda: True, Turn())
        self.assertFalse(hasattr(clock, "_poller"))
