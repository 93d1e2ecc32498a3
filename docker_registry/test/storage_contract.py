"""The tests that every store passes. Subclass with a ``make``."""

from __future__ import annotations

import hashlib
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from docker_registry.errors import Damaged, NotFound
from docker_registry.storage.interface import SMALL, Entry, IReader, IStorage, IWriter

KIB, MIB = 1 << 10, 1 << 20

SIZES = [
    0, 1, 2, 4 * KIB - 1, 4 * KIB, 4 * KIB + 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 128 * KIB - 1, 128 * KIB,
    128 * KIB + 1, 256 * KIB + 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 3,
]
"""Around every limit at which something is done in another way."""

KEYS = [
    "a", "a/b", "0", "a.b/c-d_e", "_layers/sha256/link", "/".join(["deep"] * 100), "a" * 200, "x/" + "b" * 255,
    "A/b", "a/B",
]


def content(size: int) -> bytes:
    """Bytes that differ from place to place."""
    block = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(256))
    return (block * (size // len(block) + 1))[:size]


class StorageContract:
    """``make`` returns a store that is started; ``get`` waits for a Deferred, as the test case can."""

    def make(self: Any) -> Any:
        raise NotImplementedError

    async def _all(self: Any, reader: Any, step: int = 300 * KIB) -> bytes:
        parts = []
        while part := await reader.read(step):
            parts.append(part)
        reader.close()
        return b"".join(parts)

    async def _write(self: Any, storage: Any, key: str, final: str, *parts: bytes) -> None:
        writer = await storage.create(key)
        for part in parts:
            await writer.write([part])
        await writer.commit(final)

    def check(self: Any, work: Any) -> Any:
        """Run a coroutine to its end."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def test_interfaces(self: Any) -> None:
        storage = self.make()
        verifyObject(IStorage, storage)

        async def work() -> None:
            await storage.put("a", b"x" * 300_000)
            await storage.put("b", b"x")
            for key in ("a", "b"):
                reader = await storage.open(key)
                verifyObject(IReader, reader)
                reader.close()
            verifyObject(IWriter, await storage.create("c"))

        self.check(work())

    def test_absent(self: Any) -> None:
        storage = self.make()
        for attempt in (
            storage.stat("a/none"), storage.get("none"), storage.open("none"), storage.delete("a/b/none"),
            storage.touch("none"), storage.resume("a/none", 0), storage.quarantine("none"),
        ):
            self.failureResultOf(attempt, NotFound)
        self.assertEqual(self.successResultOf(storage.list("none")), [])
        self.successResultOf(storage.delete_tree("a/none"))

    def test_below_an_object_is_nothing(self: Any) -> None:
        storage = self.make()
        self.successResultOf(storage.put("a", b"x"))
        self.failureResultOf(storage.get("a/b"), NotFound)
        self.assertEqual(self.successResultOf(storage.list("a/b")), [])

    def test_put_and_get(self: Any) -> None:
        storage = self.make()

        async def work() -> None:
            for size in SIZES:
                await storage.put(f"x/{size}", content(size))
                self.assertEqual(await storage.get(f"x/{size}"), content(size))
                self.assertEqual((await storage.stat(f"x/{size}")).size, size)

        self.check(work())

    def test_keys(self: Any) -> None:
        storage = self.make()

        async def work() -> None:
            for key in KEYS:
                await storage.put(f"k/{key}/o", key.encode())
            for key in KEYS:
                self.assertEqual(await storage.get(f"k/{key}/o"), key.encode())

        self.check(work())

    def test_larger_than_small(self: Any) -> None:
        storage = self.make()

        async def work() -> None:
            await self._write(storage, "u/data", "big", b"x" * (SMALL + 1))
            self.assertEqual((await storage.stat("big")).size, SMALL + 1)

        self.check(work())
        self.failureResultOf(storage.get("big"), Damaged)

    def test_stream(self: Any) -> None:
        storage = self.make()

        async def work() -> None:
            for size in SIZES:
                whole = content(size)
                half = size // 2
                await self._write(storage, f"u/{size}", f"b/{size}", whole[:half], b"", whole[half:])
                reader = await storage.open(f"b/{size}")
                self.assertEqual(reader.size, size)
                self.assertEqual(await self._all(reader), whole)

        self.check(work())

    def test_many_parts_in_one_call(self: Any) -> None:
        """More than a system call takes; and whoever wants to sees each."""
        storage = self.make()
        seen = hashlib.sha256()

        async def work() -> None:
            writer = await storage.create("u")
            parts = [b"%d," % number for number in range(5000)]
            await writer.write(parts, [seen])
            self.assertEqual(writer.offset, len(b"".join(parts)))
            await writer.commit("b")
            self.assertEqual(await storage.get("b"), b"".join(parts))
            self.assertEqual(seen.digest(), hashlib.sha256(b"".join(parts)).digest())

        self.check(work())

    def test_offsets(self: Any) -> None:
        """From the middle, the end, and beyond; and reading on at the end gives nothing again and again."""
        storage = self.make()

        async def work() -> None:
            for size in (0, 10, 128 * KIB, 300 * KIB):
                await storage.put("o", content(size))
                for offset in {0, 1, size // 2, max(size - 1, 0), size, size + 1, size + 10**9}:
                    reader = await storage.open("o", offset)
                    self.assertEqual(reader.size, size)
                    parts = b""
                    while part := await reader.read(100 * KIB):
                        parts += part
                    self.assertEqual(parts, content(size)[offset:], (size, offset))
                    self.assertEqual(await reader.read(1), b"")
                    reader.close()
                    reader.close()

        self.check(work())

    def test_at_once(self: Any) -> None:
        """Writers and readers of several objects, in turns."""
        storage = self.make()

        async def work() -> None:
            writers = [await storage.create(f"u/{number}") for number in range(10)]
            for round_ in range(5):
                for number, writer in enumerate(writers):
                    await writer.write([content(100 * KIB + number + round_)])
            for number, writer in enumerate(writers):
                await writer.commit(f"b/{number}")
            readers = [await storage.open(f"b/{number}") for number in range(10)]
            expected = [b"".join(content(100 * KIB + number + round_) for round_ in range(5)) for number in range(10)]
            found = [b""] * 10
            for _ in range(6):
                for number, reader in enumerate(readers):
                    found[number] += await reader.read(100 * KIB)
            for number, reader in enumerate(readers):
                found[number] += await self._all(reader)
            self.assertEqual(found, expected)

        self.check(work())

    def test_old_or_new(self: Any) -> None:
        """Who has an object open reads it to its end, whatever becomes of the key (D9)."""
        storage = self.make()

        async def work() -> None:
            for size in (10, 300 * KIB):
                for change in ("put", "commit", "delete", "delete_tree", "quarantine"):
                    await storage.put("t/o", content(size))
                    reader = await storage.open("t/o")
                    if change == "put":
                        await storage.put("t/o", b"new")
                    elif change == "commit":
                        await self._write(storage, "u", "t/o", b"new")
                    else:
                        await getattr(storage, change)("t" if change == "delete_tree" else "t/o")
                    self.assertEqual(await self._all(reader), content(size), change)
                    if change in ("put", "commit"):
                        self.assertEqual(await storage.get("t/o"), b"new")

        self.check(work())
        self.failureResultOf(storage.get("t/o"), NotFound)

    def test_uncommitted(self: Any) -> None:
        """Nobody sees it at its final key, and it can be abandoned, twice."""
        storage = self.make()

        async def work() -> Any:
            writer = await storage.create("u/1")
            await writer.write([b"abc"])
            return writer

        writer = self.check(work())
        self.failureResultOf(storage.get("b"), NotFound)
        for _ in range(2):
            self.successResultOf(writer.abandon())
        self.failureResultOf(storage.stat("u/1"), NotFound)
        self.failureResultOf(storage.resume("u/1", 0), NotFound)

    def test_commit_takes_the_key_away(self: Any) -> None:
        storage = self.make()
        self.check(self._write(storage, "u/1", "b", b"abc"))
        self.failureResultOf(storage.stat("u/1"), NotFound)
        self.failureResultOf(storage.resume("u/1", 0), NotFound)

    def test_resume(self: Any) -> None:
        """What lies beyond the offset is cut off; less than the offset is damage."""
        storage = self.make()

        async def work() -> None:
            for offset in (0, 1, 3, 6):
                writer = await storage.create("u/1")
                await writer.write([b"abcdef"])
                self.assertEqual(await writer.sync(), 6)
                await writer.close()
                await writer.close()
                writer = await storage.resume("u/1", offset)
                self.assertEqual(writer.offset, offset)
                await writer.write([b"XYZ"])
                self.assertEqual(await writer.sync(), offset + 3)
                await writer.commit("b")
                self.assertEqual(await storage.get("b"), b"abcdef"[:offset] + b"XYZ")

        self.check(work())

    def test_resume_beyond(self: Any) -> None:
        storage = self.make()

        async def work() -> None:
            writer = await storage.create("u/1")
            await writer.write([b"abc"])
            await writer.sync()
            await writer.close()

        self.check(work())
        self.failureResultOf(storage.resume("u/1", 4), Damaged)

    def test_create_begins_anew(self: Any) -> None:
        storage = self.make()

        async def work() -> None:
            writer = await storage.create("u/1")
            await writer.write([b"abcdef"])
            await writer.close()
            await self._write(storage, "u/1", "b", b"xy")
            self.assertEqual(await storage.get("b"), b"xy")

        self.check(work())

    def test_list(self: Any) -> None:
        """One level, in byte order, objects and prefixes, in pages of every size."""
        storage = self.make()
        names = sorted(["a", "A", "a-b", "a.b", "a_b", "0", "Z", "_x", "zz"])

        async def work() -> None:
            for name in names[::2]:
                await storage.put(f"l/{name}", b"")
            for name in names[1::2]:
                await storage.put(f"l/{name}/below/it", b"")
            expected = [Entry(name, number % 2 == 1) for number, name in enumerate(names)]
            self.assertEqual(await storage.list("l"), expected)
            for limit in (1, 2, 3, 100):
                found: list[Entry] = []
                while page := await storage.list("l", found[-1].name if found else "", limit):
                    self.assertLessEqual(len(page), limit)
                    found += page
                self.assertEqual(found, expected)
            self.assertEqual(await storage.list("l", after="Y"), [entry for entry in expected if entry.name > "Y"])
            self.assertIn(Entry("l", True), await storage.list(""))

        self.check(work())

    def test_list_while_it_changes(self: Any) -> None:
        """What is there all the time is never missed (D14)."""
        storage = self.make()

        async def work() -> None:
            for number in range(30):
                await storage.put(f"l/{number:02}", b"")
            found: list[str] = []
            while page := await storage.list("l", found[-1] if found else "", 4):
                found += [entry.name for entry in page]
                await storage.put(f"l/{page[0].name}-new", b"")
                await storage.delete(f"l/{page[0].name}")
            self.assertEqual([name for name in found if "new" not in name], [f"{number:02}" for number in range(30)])

        self.check(work())

    def test_delete(self: Any) -> None:
        storage = self.make()

        async def work() -> None:
            await storage.put("t/a", b"1")
            await storage.put("t/b/c", b"2")
            await storage.put("tt", b"3")
            await storage.delete("t/a")
            self.assertEqual([entry.name for entry in await storage.list("t")], ["b"])
            await storage.delete_tree("t")
            await storage.delete_tree("t")
            self.assertEqual(await storage.list("t"), [])
            self.assertEqual(await storage.get("tt"), b"3")
            await storage.delete_tree("tt")
            await storage.put("t/a", b"4")
            self.assertEqual(await storage.get("t/a"), b"4")

        self.check(work())
        self.failureResultOf(storage.get("tt"), NotFound)

    def test_touch(self: Any) -> None:
        storage = self.make()

        async def work() -> None:
            await storage.put("a", b"x")
            before = (await storage.stat("a")).modified
            self.clock.advance(5000)
            await storage.touch("a")
            self.assertEqual((await storage.stat("a")).modified, self.clock.seconds())
            self.assertNotEqual((await storage.stat("a")).modified, before)
            self.assertEqual(await storage.get("a"), b"x")

        self.check(work())

    def test_quarantine(self: Any) -> None:
        """Out of service, and not in any list; the key is free."""
        storage = self.make()

        async def work() -> None:
            await storage.put("a/b", b"bad")
            await storage.quarantine("a/b")
            self.assertEqual(await storage.list("a"), [])
            await storage.put("a/b", b"good")
            self.assertEqual(await storage.get("a/b"), b"good")

        self.check(work())
