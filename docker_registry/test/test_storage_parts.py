"""Bytes cut into parts, several of them on their way: which are sent when, and that all memory is given back."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.errors import StorageFailed
from docker_registry.storage.flows import Octets
from docker_registry.storage.objects import filling
from docker_registry.storage.objects.budget import Budget
from docker_registry.storage.objects.filling import Filling
from docker_registry.storage.objects.parts import AT_ONCE, Parts

SIZE = 100


class Store:
    """Has the parts that arrived: those that are whole when they are told to, the others as their bytes come.

    :ivar early: numbers of the parts that were begun before they were whole.
    """

    streams = True

    def __init__(self) -> None:
        self.parts: dict[int, bytes] = {}
        self.counts: list[tuple[int, int]] = []
        self.early: list[int] = []
        self.cancelled: list[int] = []
        self.waiting: dict[int, Deferred[None]] = {}

    def counted(self, number: int, size: int) -> None:
        self.counts.append((number, size))

    async def send(self, number: int, parts: Sequence[Octets]) -> None:
        waiting = self.waiting[number] = Deferred()
        try:
            await waiting
        except CancelledError:
            self.cancelled.append(number)
            raise
        self.parts[number] = b"".join(parts)

    async def stream(self, number: int, filling: Filling) -> None:
        self.early.append(number)
        got = b""
        try:
            while part := await filling.beyond(len(got)):
                got += part
                filling.taken(len(got))
            self.waiting[number] = Deferred()
            await self.waiting[number]
        except CancelledError:
            self.cancelled.append(number)
            raise
        self.parts[number] = got

    def answer(self, *numbers: int) -> None:
        for number in numbers:
            self.waiting.pop(number).callback(None)


class PartsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = Store()
        self.budget = Budget(100 * SIZE, Clock(), "memory")
        self.addCleanup(self.budget.close)

    def parts(self, length: int | None = None) -> Parts:
        return Parts(self.budget, lambda number: SIZE, length, self.store)

    def write(self, parts: Parts, *pieces: bytes) -> Deferred[None]:
        return Deferred.fromCoroutine(parts.write(pieces))

    def given_back(self) -> None:
        self.assertEqual(self.budget.left, self.budget.total)

    def test_while_they_come(self) -> None:
        """The first part is whole when it is sent; it might have been the only one."""
        parts = self.parts()
        self.successResultOf(self.write(parts, b"a" * SIZE, b"b" * 10))
        self.assertEqual((self.store.early, parts.count), ([1], 1))
        self.successResultOf(self.write(parts, b"b" * (SIZE - 10)))
        self.assertEqual((parts.count, parts.rest), (2, []))
        self.store.answer(0, 1)
        ended = Deferred.fromCoroutine(parts.end())
        self.successResultOf(ended)
        self.assertEqual(self.store.parts, {0: b"a" * SIZE, 1: b"b" * SIZE})
        self.assertEqual(self.store.counts, [(0, SIZE), (1, SIZE)])
        self.given_back()

    def test_last_one_stays(self) -> None:
        """Where the store takes whole ones only: until there is something behind it, or nothing comes any more."""
        self.store.streams = False
        parts = self.parts()
        self.successResultOf(self.write(parts, b"a" * 30, b"a" * 70))
        self.assertEqual((parts.count, b"".join(parts.rest)), (0, b"a" * SIZE))
        self.successResultOf(self.write(parts, b"b" * SIZE, b"c"))
        self.assertEqual((parts.count, b"".join(parts.rest)), (2, b"c"))
        ended = Deferred.fromCoroutine(parts.end())
        self.store.answer(1, 2)
        self.assertNoResult(ended)
        self.store.answer(0)
        self.successResultOf(ended)
        self.assertEqual(self.store.early, [])
        self.assertEqual(self.store.parts, {0: b"a" * SIZE, 1: b"b" * SIZE, 2: b"c"})
        self.given_back()

    def test_fewer_come(self) -> None:
        """What was on its way is given up, and sent as the part that it is."""
        parts = self.parts()
        self.successResultOf(self.write(parts, b"a" * SIZE, b"b" * 70))
        shed = Deferred.fromCoroutine(parts.shed(30, 15))
        self.assertEqual(self.store.cancelled, [1])
        self.store.answer(0, 1, 2)
        self.successResultOf(shed)
        self.assertEqual(self.store.counts, [(0, SIZE), (1, 30), (2, 30)])
        self.assertEqual(self.store.parts, {0: b"a" * SIZE, 1: b"b" * 30, 2: b"b" * 30})
        self.assertEqual(b"".join(parts.rest), b"b" * 10)
        self.successResultOf(Deferred.fromCoroutine(parts.stop()))
        self.given_back()

    def test_ends_with_fewer(self) -> None:
        parts = self.parts()
        self.successResultOf(self.write(parts, b"a" * SIZE, b"b" * 70))
        ended = Deferred.fromCoroutine(parts.end())
        self.assertEqual((self.store.cancelled, self.store.counts), ([1], [(0, SIZE), (1, 70)]))
        self.store.answer(0, 1)
        self.successResultOf(ended)
        self.assertEqual(self.store.parts[1], b"b" * 70)
        self.given_back()

    def test_settled_with_a_rest(self) -> None:
        """What becomes part of something else is not waited for."""
        parts = self.parts()
        self.successResultOf(self.write(parts, b"a" * SIZE, b"b" * 70))
        settled = Deferred.fromCoroutine(parts.settled())
        self.store.answer(0)
        self.successResultOf(settled)
        self.assertEqual((self.store.cancelled, b"".join(parts.rest)), ([1], b"b" * 70))
        self.successResultOf(Deferred.fromCoroutine(parts.stop()))
        self.given_back()

    def test_known_to_be_short(self) -> None:
        """Of what is known to end earlier nothing is sent that is not whole."""
        parts = self.parts(SIZE + 50)
        self.successResultOf(self.write(parts, b"a" * SIZE, b"b" * 50))
        self.assertEqual((self.store.early, self.store.counts), ([], [(0, SIZE)]))
        self.successResultOf(Deferred.fromCoroutine(parts.stop()))

    def test_fails_meanwhile(self) -> None:
        """Whoever writes hears of it, at once or with what he writes next, whether that part was whole or not."""
        self.patch(filling, "AHEAD", 20)
        for count, waits in ((10, False), (50, True), (SIZE, False)):
            parts, held = self.parts(), Deferred[None]()

            async def stream(number: int, filling: Filling, held: Deferred[None] = held) -> None:
                await held

            self.store.stream = stream                      # type: ignore[method-assign]
            writing = self.write(parts, b"a" * SIZE, b"b" * count, b"b")
            self.assertEqual(writing.called, not waits)
            held.errback(StorageFailed("no"))
            if waits:
                self.failureResultOf(writing, StorageFailed)
            self.failureResultOf(self.write(parts, b"b"), StorageFailed)
            self.failureResultOf(Deferred.fromCoroutine(parts.end()), StorageFailed)
            self.successResultOf(Deferred.fromCoroutine(parts.stop()))
            self.given_back()

    def test_one_fails(self) -> None:
        """Whoever goes on hears of it, whatever he does."""
        parts = self.parts()
        self.successResultOf(self.write(parts, b"a" * SIZE, b"b"))
        self.store.waiting.pop(0).errback(StorageFailed("no"))
        for work in (parts.write([b"b"]), parts.shed(30, 15), parts.settled(), parts.end()):
            self.failureResultOf(Deferred.fromCoroutine(work), StorageFailed)
        self.successResultOf(Deferred.fromCoroutine(parts.stop()))
        self.given_back()

    def test_given_up(self) -> None:
        parts = self.parts()
        self.successResultOf(self.write(parts, b"a" * SIZE, b"b" * 10))
        self.successResultOf(Deferred.fromCoroutine(parts.stop()))
        self.assertEqual((sorted(self.store.cancelled), self.store.parts), ([0, 1], {}))
        self.given_back()

    def test_ahead_of_the_store(self) -> None:
        """Who writes waits when the store does not take what came, until it does, or wants all of it first."""
        self.patch(filling, "AHEAD", 20)
        for go_on in ("taken", "whole"):
            parts, held = self.parts(), Deferred[None]()

            async def stream(
                number: int, filling: Filling, held: Deferred[None] = held, go_on: str = go_on
            ) -> None:
                await held
                if go_on == "whole":
                    await filling.whole()
                else:
                    filling.taken(10)
                    await Deferred()

            self.store.stream = stream                      # type: ignore[method-assign]
            self.successResultOf(self.write(parts, b"a" * SIZE, b"b" * 20))
            writing = self.write(parts, b"b" * 10)
            self.assertNoResult(writing)
            held.callback(None)
            self.successResultOf(writing)
            self.successResultOf(Deferred.fromCoroutine(parts.stop()))
            self.given_back()

    def test_at_once(self) -> None:
        """Whoever writes waits until one has arrived, whether it was sent early or not."""
        parts = self.parts()
        writing = self.write(parts, b"a" * (SIZE * (AT_ONCE + 2)))
        self.assertNoResult(writing)
        self.assertEqual(self.store.early, list(range(1, AT_ONCE)))
        self.assertEqual(sorted(self.store.waiting), list(range(AT_ONCE)))
        self.store.answer(2)
        self.successResultOf(writing)
        self.assertEqual(parts.count, AT_ONCE + 1)
        self.successResultOf(Deferred.fromCoroutine(parts.stop()))
        self.given_back()
