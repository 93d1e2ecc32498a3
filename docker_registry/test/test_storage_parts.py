"""Bytes cut into parts, several of them on their way: what is sent when, and that all memory is given back."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.errors import StorageFailed
from docker_registry.storage.flows import Octets
from docker_registry.storage.objects.budget import Budget
from docker_registry.storage.objects.parts import AT_ONCE, Parts

SIZE = 100


class PartsTests(SynchronousTestCase):
    """:ivar arrived: what the store has, by number.
    :ivar waiting: parts on their way, by number; fired when they arrive.
    """

    def setUp(self) -> None:
        self.arrived: dict[int, bytes] = {}
        self.waiting: dict[int, Deferred[None]] = {}
        self.cancelled: list[int] = []
        self.budget = Budget(100 * SIZE, Clock(), "memory")
        self.addCleanup(self.budget.close)
        self.parts = Parts(self.budget, lambda number: SIZE, None, self.send)

    async def send(self, number: int, parts: Sequence[Octets]) -> None:
        waiting = self.waiting[number] = Deferred()
        try:
            await waiting
        except CancelledError:
            self.cancelled.append(number)
            raise
        self.arrived[number] = b"".join(parts)

    def answer(self, *numbers: int) -> None:
        for number in numbers:
            self.waiting.pop(number).callback(None)

    def write(self, *pieces: bytes) -> Deferred[None]:
        return Deferred.fromCoroutine(self.parts.write(pieces))

    def give_up(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.parts.stop()))
        self.assertEqual(self.budget.left, self.budget.total)

    def test_last_one_stays(self) -> None:
        """Until there is something behind it, or nothing comes any more."""
        self.successResultOf(self.write(b"a" * 30, b"a" * 70))
        self.assertEqual((self.parts.count, b"".join(self.parts.rest)), (0, b"a" * SIZE))
        self.successResultOf(self.write(b"b"))
        self.assertEqual((self.parts.count, b"".join(self.parts.rest)), (1, b"b"))
        ended = Deferred.fromCoroutine(self.parts.end())
        self.answer(1)
        self.assertNoResult(ended)
        self.answer(0)
        self.successResultOf(ended)
        self.assertEqual(self.arrived, {0: b"a" * SIZE, 1: b"b"})
        self.assertEqual(self.budget.left, self.budget.total)

    def test_shed(self) -> None:
        """What is left is sent in smaller ones, but for what is little."""
        self.successResultOf(self.write(b"a" * SIZE, b"b" * 70))
        shed = Deferred.fromCoroutine(self.parts.shed(30, 15))
        self.answer(0, 1, 2)
        self.successResultOf(shed)
        self.assertEqual(self.arrived, {0: b"a" * SIZE, 1: b"b" * 30, 2: b"b" * 30})
        self.assertEqual((self.parts.count, b"".join(self.parts.rest)), (3, b"b" * 10))
        self.give_up()

    def test_at_once(self) -> None:
        """Whoever writes waits until one has arrived."""
        writing = self.write(b"a" * (SIZE * (AT_ONCE + 2)))
        self.assertNoResult(writing)
        self.assertEqual(sorted(self.waiting), list(range(AT_ONCE)))
        self.answer(2)
        self.successResultOf(writing)
        self.assertEqual(self.parts.count, AT_ONCE + 1)
        self.give_up()

    def test_one_fails(self) -> None:
        """Whoever goes on hears of it, whatever he does."""
        self.successResultOf(self.write(b"a" * SIZE, b"b"))
        self.waiting.pop(0).errback(StorageFailed("no"))
        for work in (self.parts.write([b"b"]), self.parts.shed(30, 15), self.parts.settled(), self.parts.end()):
            self.failureResultOf(Deferred.fromCoroutine(work), StorageFailed)
        self.give_up()

    def test_given_up(self) -> None:
        self.successResultOf(self.write(b"a" * SIZE, b"b" * SIZE, b"c"))
        self.give_up()
        self.assertEqual((sorted(self.cancelled), self.arrived), ([0, 1], {}))
