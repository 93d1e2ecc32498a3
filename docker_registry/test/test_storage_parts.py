"""Bytes cut into parts, several of them on their way: what is sent when, and that all memory is given back."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.errors import StorageFailed
from docker_registry.storage.flows import Octets
from docker_registry.storage.objects.budget import Budget
from docker_registry.storage.objects.filling import Filling
from docker_registry.storage.objects.parts import AT_ONCE, Parts, PieceSizes

SIZE = 100


class PartsCase(SynchronousTestCase):
    """:ivar arrived: what the store has, by number.
    :ivar early: numbers of the parts that were begun before they were whole.
    :ivar waiting: parts that the store has in hand, by number; fired when they arrive.
    """

    def setUp(self) -> None:
        self.arrived: dict[int, bytes] = {}
        self.early: list[int] = []
        self.waiting: dict[int, Deferred[None]] = {}
        self.cancelled: list[int] = []
        self.budget = Budget(100 * SIZE, Clock(), "memory")
        self.addCleanup(self.budget.close)
        self.parts = self.make()

    def make(self) -> Parts:
        return Parts(self.budget, lambda number: SIZE, None, self.send)

    async def send(self, number: int, parts: Sequence[Octets]) -> None:
        await self.answered(number)
        self.arrived[number] = b"".join(parts)

    async def answered(self, number: int) -> None:
        waiting = self.waiting[number] = Deferred()
        try:
            await waiting
        except CancelledError:
            self.cancelled.append(number)
            raise

    def answer(self, *numbers: int) -> None:
        for number in numbers:
            self.waiting.pop(number).callback(None)

    def write(self, *pieces: bytes) -> Deferred[None]:
        return Deferred.fromCoroutine(self.parts.write(pieces))

    def give_up(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.parts.stop()))
        self.assertEqual(self.budget.left, self.budget.total)


class SizeTests(SynchronousTestCase):
    def test_sent_while_they_come(self) -> None:
        """As large as the object's length and the memory that is left allow, and never smaller than they have to be."""
        budget = Budget(64 * SIZE, Clock(), "memory")
        sizes = PieceSizes(SIZE, budget, uneven=True)
        for length, size in ((1, 1), (7, 1), (8, 2), (15, 2), (16, 4), (32, 8), (1000, 8)):
            self.assertEqual(sizes.part(0, length * SIZE), size * SIZE)
        for taken, size in ((16, 8), (1, 4), (15, 4), (1, 2), (7, 2), (1, 1), (23, 1)):
            self.successResultOf(Deferred.fromCoroutine(budget.take(taken * SIZE)))
            self.assertEqual(sizes.part(0, 1000 * SIZE), size * SIZE)


class PartsTests(PartsCase):
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


class EarlyTests(PartsCase):
    """Parts that are sent while they come.

    :ivar length: of all of them.
    """

    length = 10 * SIZE

    def make(self) -> Parts:
        return Parts(self.budget, lambda number: SIZE, self.length, self.send, self.stream)

    async def stream(self, number: int, filling: Filling) -> None:
        self.early.append(number)
        got = b""
        try:
            while part := await filling.beyond(len(got)):
                got += part
        except CancelledError:
            self.cancelled.append(number)
            raise
        await self.answered(number)
        self.arrived[number] = got

    def of_length(self, length: int) -> None:
        self.length = length
        self.parts = self.make()

    def test_while_they_come(self) -> None:
        self.of_length(2 * SIZE)
        self.successResultOf(self.write(b"a" * SIZE, b"b" * 10))
        self.assertEqual((self.early, self.parts.count), ([0, 1], 1))
        self.successResultOf(self.write(b"b" * (SIZE - 10)))
        self.assertEqual((self.parts.count, self.parts.rest), (2, []))
        self.answer(0)
        ended = Deferred.fromCoroutine(self.parts.end())
        self.assertNoResult(ended)
        self.answer(1)
        self.successResultOf(ended)
        self.assertEqual(self.arrived, {0: b"a" * SIZE, 1: b"b" * SIZE})
        self.give_up()

    def test_those_that_may_not_be_full(self) -> None:
        """They are sent when they are whole, and so is the only one."""
        for length, early in ((SIZE + 50, [0]), (SIZE, [])):
            self.early = []
            self.of_length(length)
            self.successResultOf(self.write(b"a" * length))
            self.assertEqual((self.early, self.parts.count), (early, len(early)))
            self.give_up()

    def test_fewer_come(self) -> None:
        """What was on its way is given up, and sent as the part that it is."""
        self.of_length(2 * SIZE)
        self.successResultOf(self.write(b"a" * SIZE, b"b" * 70))
        ended = Deferred.fromCoroutine(self.parts.end())
        self.assertEqual((self.early, self.cancelled), ([0, 1], [1]))
        self.answer(0, 1)
        self.successResultOf(ended)
        self.assertEqual(self.arrived, {0: b"a" * SIZE, 1: b"b" * 70})
        self.give_up()

    def test_fails_meanwhile(self) -> None:
        """Whoever writes hears of it with what he writes next, or at the end, whether that part was whole or not."""
        for count in (10, SIZE):
            for further in (lambda: self.write(b"b"), lambda: Deferred.fromCoroutine(self.parts.end())):
                failing: Deferred[None] = Deferred()

                async def stream(number: int, filling: Filling, failing: Deferred[None] = failing) -> None:
                    await failing

                self.stream = stream                        # type: ignore[method-assign]
                self.parts = self.make()
                self.successResultOf(self.write(b"a" * count))
                failing.errback(StorageFailed("no"))
                self.failureResultOf(further(), StorageFailed)
                self.give_up()

    def test_given_up(self) -> None:
        self.successResultOf(self.write(b"a" * SIZE, b"b" * 10))
        self.give_up()
        self.assertEqual((sorted(self.cancelled), self.arrived), ([0, 1], {}))

    def test_ahead_of_the_store(self) -> None:
        """Who writes does not wait for a store that is slow with one part: it has others to take, on other disks."""
        self.successResultOf(self.write(b"a" * (SIZE * AT_ONCE)))
        self.assertEqual((self.early, self.arrived), ([*range(AT_ONCE)], {}))
        self.give_up()

    def test_wanted_whole(self) -> None:
        """By a store that did not come to its end with it before."""
        async def stream(number: int, filling: Filling) -> None:
            await filling.beyond(0)
            self.arrived[number] = bytes(await filling.whole())

        self.stream = stream                                # type: ignore[method-assign]
        self.parts = self.make()
        self.successResultOf(self.write(b"a" * 10, b"a" * (SIZE - 11)))
        self.assertEqual(self.arrived, {})
        self.successResultOf(self.write(b"b"))
        self.assertEqual(self.arrived, {0: b"a" * (SIZE - 1) + b"b"})
        self.give_up()

    def test_at_once(self) -> None:
        """Not more of them than others are."""
        writing = self.write(b"a" * (SIZE * (AT_ONCE + 2)))
        self.assertNoResult(writing)
        self.assertEqual((self.early, sorted(self.waiting)), ([*range(AT_ONCE)], [*range(AT_ONCE)]))
        self.answer(2)
        self.successResultOf(writing)
        self.assertEqual(self.parts.count, AT_ONCE + 1)
        self.give_up()
