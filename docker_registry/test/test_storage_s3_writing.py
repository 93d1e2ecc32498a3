"""The ways in which a blob gets into a bucket, call for call."""

from __future__ import annotations

import hashlib
import re
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.deferreds import outcomes, together
from docker_registry.errors import Damaged, NotFound, StorageFailed, StoreUnavailable
from docker_registry.storage.objects import budget, parts
from docker_registry.storage.objects.budget import KEPT, PATIENCE, Budget, Buffer
from docker_registry.storage.objects.parts import LARGEST, PARTS, sizes
from docker_registry.storage.s3 import copying
from docker_registry.test.s3_case import MIB, PART, S3FaultCase
from docker_registry.test.servers.stores import swift
from docker_registry.test.storage_contract import content

TWELVE = content(12 * MIB)


def pieces(whole: bytes, step: int = MIB) -> list[bytes]:
    return [whole[at : at + step] for at in range(0, len(whole), step)]


class WritingTests(S3FaultCase):
    async def write(self, writer: Any, whole: bytes) -> None:
        digester = hashlib.sha256()
        for piece in pieces(whole):
            await writer.write([piece[:1000], piece[1000:]], [digester])
        self.assertEqual(digester.digest(), hashlib.sha256(whole).digest())
        self.assertEqual(writer.offset, len(whole))

    def writes(self) -> list[str]:
        """The calls, those that were made at the same time in one order; what is random in them left out."""
        return sorted(re.sub(r"/[0-9a-f]{12}-", "/RUN-", call) for call in self.calls())

    async def test_direct_and_small(self) -> None:
        writer = await self.storage.create_direct("u/data", "b", 100)
        await self.write(writer, TWELVE[:100])
        await writer.commit("b")
        self.assertEqual(self.calls(), ["PUT b"])
        self.assertEqual(await self.content("b"), TWELVE[:100])

    async def test_claims(self) -> None:
        await self.claimed()
        self.proxy.add(method="PUT", status=501, times=1)   # of a store that has never heard of it
        await self.storage.claim("other", b"1")
        self.assertEqual(await self.storage.get("other"), b"1")

    async def test_direct_of_one_part(self) -> None:
        """Exactly: it needs no upload in parts."""
        writer = await self.storage.create_direct("u/data", "b", PART)
        await self.write(writer, TWELVE[:PART])
        await writer.commit("b")
        self.assertEqual(self.calls(), ["PUT b"])
        self.assertEqual((await self.storage.stat("b")).size, PART)

    async def test_direct_and_large(self) -> None:
        """Each byte is sent once, and nothing is copied, whether the length is known or not."""
        for length in (len(TWELVE), None):
            writer = await self.storage.create_direct("u/data", "b", length)
            await self.write(writer, TWELVE)
            await self.fails(self.storage.get("b"), NotFound)
            self.assertEqual(await writer.sync(), 0)
            await writer.commit("b")
            part = "PUT b partNumber uploadId"
            self.assertEqual(self.writes(), ["GET b", "POST b uploadId", "POST b uploads", part, part, part])
            self.assertEqual(await self.content("b"), TWELVE)
            await self.storage.delete("b")
            self.calls()

    async def test_direct_to_another_key(self) -> None:
        writer = await self.storage.create_direct("u/data", "b", 10)
        await self.write(writer, TWELVE[:10])
        await self.fails(writer.commit("c"), StorageFailed)

    async def test_direct_in_larger_parts(self) -> None:
        """Where there will be many, and memory is free when the first one begins; all are equal."""
        whole = content(47 * MIB)
        for many, taken, sent in ((2, 0, [20, 20, 7]), (2, 5, [5] * 9 + [2]), (3, 0, [5] * 9 + [2])):
            self.patch(parts, "MANY", many)
            held = await self.storage.budget.take(self.settings.memory * taken // 8)
            self.proxy.asked.clear()
            writer = await self.storage.create_direct("u/data", "b", len(whole))
            for piece in pieces(whole, 3 * MIB):
                await writer.write([piece])
            await writer.commit("b")
            asked = [each for each in self.proxy.asked if "partNumber" in each.target]
            lengths = sorted((int(each.headers["content-length"]) for each in asked), reverse=True)
            self.assertEqual(lengths, [size * MIB for size in sent])
            self.assertEqual(await self.content("b"), whole)
            held.drop()

    async def test_direct_given_up(self) -> None:
        """No half is left, in the store or in memory."""
        for end in ("abandon", "close"):
            writer = await self.storage.create_direct("u/data", "b", len(TWELVE))
            await self.write(writer, TWELVE)
            await getattr(writer, end)()
            self.assertIn("DELETE b uploadId", self.calls())
            self.assertEqual(await self.storage.leftovers(1e12), [])
            self.assertEqual(self.storage.budget.left, self.settings.memory)

    async def test_session(self) -> None:
        """Sent once, joined by the store, and what is in between is gone."""
        writer = await self.storage.create("u/data")
        await self.write(writer, TWELVE)
        await writer.commit("b")
        self.assertEqual(
            self.writes(),
            sorted([
                "PUT u/data", "PUT u/data/RUN-000000", "PUT u/data/RUN-000001", "POST b uploads",
                "PUT b partNumber uploadId copy", "PUT b partNumber uploadId copy", "PUT b partNumber uploadId",
                "POST b uploadId", "GET encoding-type list-type max-keys prefix", "POST delete",
            ]),
        )
        self.assertEqual(await self.content("b"), TWELVE)
        self.assertEqual(await self.storage.list("u"), [])
        self.assertEqual(self.storage.budget.left, self.settings.memory)

    async def test_session_of_a_small_blob(self) -> None:
        writer = await self.storage.create("u/data")
        await self.write(writer, TWELVE[:100])
        await writer.commit("b")
        self.assertEqual(self.calls(), ["PUT b", "DELETE u/data"])

    async def test_session_goes_on_elsewhere(self) -> None:
        """Another daemon sees what is there, reads it, and ends it; what was written beyond the last sync is not."""
        writer = await self.storage.create("u/data")
        await self.write(writer, TWELVE[: 7 * MIB])
        self.assertEqual(await writer.sync(), 7 * MIB)
        await writer.write([TWELVE[7 * MIB :]])
        await writer.close()
        other = self.make()
        stat = await other.stat("u/data")
        self.assertEqual((stat.size, stat.mark), (7 * MIB, writer.mark))
        self.assertEqual(await self.content("u/data", other), TWELVE[: 7 * MIB])
        again = await other.resume("u/data", 7 * MIB)
        self.assertEqual((again.offset, again.mark), (7 * MIB, writer.mark))
        for piece in pieces(TWELVE[7 * MIB :]):
            await again.write([piece])
        self.assertEqual(await again.sync(), 12 * MIB)
        self.assertNotEqual(again.mark, writer.mark)
        await again.commit("b")
        self.assertEqual(await self.content("b"), TWELVE)
        self.assertEqual(await self.storage.list("u"), [])

    async def test_session_is_cut_anywhere(self) -> None:
        for offset in (0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1):
            writer = await self.storage.create("u/data")
            await self.write(writer, TWELVE)
            await writer.sync()
            await writer.close()
            again = await self.storage.resume("u/data", offset)
            self.assertEqual(again.offset, offset)
            await again.write([b"end"])
            await again.commit("b")
            self.assertEqual(await self.content("b"), TWELVE[:offset] + b"end", offset)
        await self.fails(self.storage.resume("u/data", 0), NotFound)

    async def test_session_in_many_runs(self) -> None:
        """What is behind the last piece waits until there is enough: pieces have one size."""
        writer = await self.storage.create("u/data")
        for piece in pieces(TWELVE, 3 * MIB):
            await writer.write([piece])
            await writer.sync()
            await writer.close()
            writer = await self.make().resume("u/data", writer.offset)
        await writer.commit("b")
        self.assertEqual(await self.content("b"), TWELVE)

    async def test_session_with_parts_of_another_size(self) -> None:
        """The option was changed between two starts."""
        sizes = iter([7 * MIB, PART, 6 * MIB])
        whole, at = content(20 * MIB), 0
        writer = None
        for step in (6 * MIB, 7 * MIB, 7 * MIB):
            storage = self.make(settings=replace(self.settings, part_size=next(sizes)))
            writer = await (storage.resume("u/data", at) if at else storage.create("u/data"))
            for piece in pieces(whole[at : at + step]):
                await writer.write([piece])
            at = await writer.sync()
            if at < len(whole):
                await writer.close()
            self.assertEqual(await self.content("u/data"), whole[:at])
        assert writer is not None
        await writer.commit("b")
        self.assertEqual(await self.content("b"), whole)

    async def test_two_daemons_write_to_one_session(self) -> None:
        """Each publishes what it wrote, whoever synced last; the mark tells whose it is."""
        one, two = await self.storage.create("u/data"), await self.make().create("u/data")
        a, b = b"a" * len(TWELVE), b"b" * len(TWELVE)
        for piece, other in zip(pieces(a), pieces(b), strict=True):
            await together(one.write([piece]), two.write([other]))
        await one.sync()
        await two.sync()
        self.assertEqual((await self.storage.stat("u/data")).mark, two.mark)
        self.assertNotEqual(one.mark, two.mark)
        self.assertEqual(await self.content("u/data"), b)
        await one.commit("a")
        self.assertEqual(await self.content("a"), a)

    async def test_damaged_session(self) -> None:
        await self.storage.bucket.put(f"{self.settings.prefix}u", [b"abc", b"no list"], "5 3")
        await self.fails(self.storage.resume("u", 3), Damaged)

    async def test_more_pieces_than_parts(self) -> None:
        """They are joined in groups first."""
        self.patch(copying, "PARTS", 4)
        self.patch(copying, "COPIED", 2 * PART)
        whole = content(27 * MIB)
        writer = await self.storage.create("u/data")
        await self.write(writer, whole)
        await writer.commit("b")
        self.assertEqual(await self.content("b"), whole)
        self.assertEqual(await self.storage.list("u"), [])

    async def test_larger_pieces(self) -> None:
        """Where memory is free, behind a whole number of them; an object is made of equal parts all the same."""
        whole = content(47 * MIB)
        writer = await self.storage.create("u/data")
        await self.write_on(writer, whole[: 40 * MIB])
        taken = await self.storage.budget.take(self.settings.memory * 5 // 8)
        await self.write_on(writer, whole[40 * MIB :])
        taken.drop()
        await writer.sync()
        await writer.close()
        session, _ = await self.storage._session(f"{self.settings.prefix}u/data")
        self.assertEqual([piece.size // MIB for piece in session.pieces()], [5, 5, 5, 5, 20, 5])
        again = await self.make().resume("u/data", len(whole))
        self.calls()
        await again.commit("b")
        self.assertEqual(len([call for call in self.calls() if re.fullmatch("PUT b .*copy", call)]), 3)
        self.assertEqual(await self.content("b"), whole)
        self.assertEqual(await self.storage.list("u"), [])
        self.assertEqual(self.storage.budget.left, self.settings.memory)

    async def test_goes_on_in_the_middle_of_a_larger_piece(self) -> None:
        """What is behind the last piece is less than a smaller one: it is stored, and read again."""
        whole = content(42 * MIB)
        for end, count in ((40 * MIB, 8), (13 * MIB, 2)):
            writer = await self.storage.create("u/data")
            await self.write_on(writer, whole[:end])
            await writer.sync()
            await writer.close()
            session, _ = await self.storage._session(f"{self.settings.prefix}u/data")
            self.assertEqual([piece.size // MIB for piece in session.pieces()], [5] * count)
            for at in (end, 33 * MIB if end > 33 * MIB else 7 * MIB):
                again = await self.make().resume("u/data", at)
                await self.write_on(again, whole[at:])
                await again.sync()
                self.assertEqual(await self.content("u/data"), whole)
            await again.commit("b")
            self.assertEqual(await self.content("b"), whole)

    async def write_on(self, writer: Any, part: bytes) -> None:
        for piece in pieces(part):
            await writer.write([piece])

    async def test_larger_than_one_copy(self) -> None:
        self.patch(copying, "COPIED", 6 * MIB)
        self.patch(copying, "RANGE", 5 * MIB)
        writer = await self.storage.create_direct("u/data", "b", None)
        await self.write(writer, TWELVE)
        await writer.commit("b")
        await self.storage.touch("b")
        self.assertEqual(await self.content("b"), TWELVE)
        await self.storage.quarantine("b")
        await self.fails(self.storage.stat("b"), NotFound)


class SwiftWritingTests(WritingTests):
    """On a store that keeps parts as objects of their own, and looks at each."""

    store = staticmethod(swift)


class MemoryTests(S3FaultCase):
    async def test_many_share_it(self) -> None:
        """All of them come to their end, and together they never hold more than there is."""
        changed = self.make(settings=type(self.settings)(
            self.settings.place, self.settings.prefix, self.settings.access_key, self.settings.secret_key,
            part_size=PART, memory=2 * PART,
        ))
        lowest = [2 * PART]
        take = changed.budget.take

        async def watched(count: int) -> Buffer:
            buffer = await take(count)
            lowest[0] = min(lowest[0], changed.budget.left)
            return buffer

        self.patch(changed.budget, "take", watched)

        async def push(number: int) -> None:
            writer = await changed.create_direct(f"u/{number}", f"b/{number}", len(TWELVE))
            for piece in pieces(TWELVE, 4 * MIB):
                await writer.write([piece])
            await writer.commit(f"b/{number}")

        await together(*(Deferred.fromCoroutine(push(number)) for number in range(6)))
        self.assertEqual((lowest, changed.budget.left), ([0], 2 * PART))
        for number in range(6):
            self.assertEqual((await changed.stat(f"b/{number}")).size, len(TWELVE))


class BudgetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.budget = Budget(100, self.clock, "an_option")

    def take(self, count: int) -> Deferred[Buffer]:
        return Deferred.fromCoroutine(self.budget.take(count))

    def test_in_order(self) -> None:
        """Nobody overtakes who wants more."""
        taken = self.successResultOf(self.take(80))
        large, small = self.take(50), self.take(10)
        self.assertNoResult(small)
        taken.drop()
        taken.drop()
        self.successResultOf(large)
        self.successResultOf(small)
        self.assertEqual(self.budget.left, 40)

    def test_more_than_there_is(self) -> None:
        """Of a part that is larger than the memory: nobody waits for it."""
        failure = self.failureResultOf(self.take(101), StorageFailed)
        self.assertIn("raise an_option", str(failure.value))

    def test_full(self) -> None:
        buffer = self.successResultOf(self.take(10))
        self.assertEqual([buffer.add(memoryview(part)) for part in (b"1234567", b"890abc", b"x")], [7, 3, 0])
        self.assertEqual(bytes(buffer.content), b"1234567890")

    def test_gives_the_memory_back(self) -> None:
        """All of it, whoever still looks: no heap with holes."""
        budget = Budget(64 * MIB, self.clock, "an_option")
        buffers = [self.successResultOf(Deferred.fromCoroutine(budget.take(8 * MIB))) for _ in range(8)]
        beside = []
        for buffer in buffers * 100:
            beside.append(b"x" * 20_000)            # what others keep meanwhile
            for _ in range(3):
                buffer.add(memoryview(b"y" * 28_000))
        before = resident()
        views = [buffer.content for buffer in buffers[::2]]     # as of a transfer that failed
        for buffer in buffers:
            buffer.drop()
        self.clock.advance(KEPT)
        self.assertGreater(before - resident(), 63 * MIB)
        self.assertEqual(len(views), 4)

    def test_is_used_again(self) -> None:
        """But not what somebody still looks at, as of a transfer that failed."""
        first, second, third = (self.successResultOf(self.take(10)) for _ in range(3))
        for buffer in (first, second):
            buffer.add(memoryview(b"1234567890"))
        memory, view = first._map, second.content
        first.drop()
        second.drop()
        self.assertEqual(list(self.budget._spare), [memory])
        other, again = self.successResultOf(self.take(20)), self.successResultOf(self.take(10))
        self.assertIs(again._map, memory)
        self.assertIsNot(other._map, memory)
        self.assertEqual((bytes(again.content), bytes(first.content), len(view)), (b"", b"", 10))
        for buffer in (third, other, again):
            buffer.drop()
        self.assertEqual((len(self.budget._spare), self.budget.left), (3, 100))

    def test_is_kept_for_the_next_one(self) -> None:
        """For a while; then the system has all of it."""
        first = self.successResultOf(self.take(10))
        memory = first._map
        first.drop()
        self.clock.advance(KEPT - 1)
        second = self.successResultOf(self.take(10))
        self.assertIs(second._map, memory)
        self.clock.advance(KEPT)
        second.drop()
        self.clock.advance(KEPT - 1)
        self.assertEqual(list(self.budget._spare), [memory])
        self.clock.advance(1)
        self.assertEqual((list(self.budget._spare), memory.closed), ([], True))

    def test_closed(self) -> None:
        """A store that nobody uses any more keeps nothing, and has no timer."""
        kept, late = self.successResultOf(self.take(10)), self.successResultOf(self.take(20))
        kept.drop()
        self.budget.close()
        late.drop()
        self.assertEqual((len(self.budget._spare), self.clock.getDelayedCalls()), (0, []))

    def test_spare_is_not_more_than_nobody_has(self) -> None:
        buffers = [self.successResultOf(self.take(count)) for count in (30, 40, 20)]
        buffers[0].drop()
        buffers[1].drop()
        self.assertEqual(sum(map(len, self.budget._spare)), 70)
        self.successResultOf(self.take(60))
        self.assertEqual((len(self.budget._spare), self.budget.left), (0, 20))

    def test_spare_is_not_more_than_so_much(self) -> None:
        self.patch(budget, "SPARE", 15)
        few = Budget(100, self.clock, "an_option")
        for buffer in [self.successResultOf(Deferred.fromCoroutine(few.take(count))) for count in (20, 10, 10)]:
            buffer.drop()
        self.assertEqual((sum(map(len, few._spare)), few.left), (10, 100))

    def test_not_for_ever(self) -> None:
        self.take(80)
        waiting, behind = self.take(50), self.take(20)
        self.clock.advance(PATIENCE)
        failure = self.failureResultOf(waiting, StoreUnavailable)
        self.assertIn("raise an_option", str(failure.value))
        self.successResultOf(behind)
        self.assertEqual(self.budget.left, 0)

    def test_cancelled(self) -> None:
        self.take(80)
        waiting, behind = self.take(50), self.take(20)
        waiting.cancel()
        self.successResultOf(outcomes_of(waiting))
        self.successResultOf(behind)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def outcomes_of(waiting: Deferred[Any]) -> Deferred[Any]:
    return Deferred.fromCoroutine(outcomes(waiting))


class SizeTests(SynchronousTestCase):
    def test_known_length(self) -> None:
        """Equal parts, as large as they have to be."""
        for length in (1, 80 << 30, (80 << 30) + 1, 5 * 10**12):
            size = sizes(8 * MIB, length)
            self.assertEqual(size(0), size(9999))
            self.assertGreaterEqual(size(0) * PARTS, length)
            self.assertEqual(size(0) % MIB, 0)
        self.assertEqual(sizes(8 * MIB, 80 << 20)(0), 8 * MIB)
        self.assertLessEqual(sizes(8 * MIB, 5 * 10**12)(0), LARGEST)

    def test_little_memory(self) -> None:
        """They grow to what fits into it, and are no smaller than they have to be."""
        self.assertEqual(sizes(8 * MIB, None, 40 * MIB)(9999), 40 * MIB)
        self.assertEqual(sizes(8 * MIB, None, 4 * MIB)(9999), 8 * MIB)

    def test_unknown_length(self) -> None:
        """They grow, and 10 000 of them make 5 TB."""
        size = sizes(8 * MIB, None)
        self.assertEqual((size(0), size(124), size(125), size(9999)), (8 * MIB, 8 * MIB, 16 * MIB, LARGEST))
        self.assertGreaterEqual(sum(map(size, range(PARTS))), 5 * 10**12)
