"""Large objects of a container, read segment by segment."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import deferLater

from docker_registry.errors import StorageFailed
from docker_registry.storage.objects import reader
from docker_registry.storage.objects.reader import PiecesReader
from docker_registry.storage.swift import storage
from docker_registry.storage.swift.container import Segment
from docker_registry.test.storage_contract import content
from docker_registry.test.swift_case import MIB, SEGMENT, SwiftFaultCase, reactor

WHOLE = content(5 * MIB)
LIST = "GET b multipart-manifest"


class SegmentsTests(SwiftFaultCase):
    async def setUp(self) -> None:                          # type: ignore[override]
        super().setUp()
        self.patch(storage, "APART", MIB)
        await self.make_object(WHOLE)

    async def make_object(self, whole: bytes) -> None:
        writer = await self.storage.create_direct("u", "b", len(whole))
        await writer.write([whole])
        await writer.commit("b")
        await self.storage.large.tidied()
        self.calls()

    async def from_offset(self, offset: int) -> bytes:
        opened: Any = await self.storage.open("b", offset)
        self.assertEqual(opened.size, len(WHOLE))
        parts = []
        while part := await opened.read(MIB):
            parts.append(part)
        opened.close()
        return b"".join(parts)

    def segment(self, number: int) -> str:
        """The whole key."""
        [name] = [each for each in self.store.names(self.settings.prefix) if each.endswith(f"/{number:06}")]
        return f"{self.settings.prefix}{name}"

    async def all_is_free(self) -> None:
        await deferLater(reactor, 0)            # whoever received the last bytes is still in the middle of it
        streams = self.storage._http._streams
        self.assertEqual(streams.tokens, streams.limit)

    async def test_segment_by_segment(self) -> None:
        """The proxy of the store is asked for each; each is asked for by what the list says that it has."""
        self.assertEqual(await self.content("b"), WHOLE)
        asked = [each for each in self.proxy.asked if "/.segments/" in each.target]
        self.assertEqual([len(each.headers["if-match"]) for each in asked], [34] * 3)
        self.assertEqual(self.calls(), ["GET b", LIST, *(f"GET .segments/GROUP/{number:06}" for number in range(3))])
        await self.all_is_free()

    async def test_from_an_offset(self) -> None:
        """What is before it is not asked for."""
        for offset, first in (
            (1, 0), (SEGMENT - 1, 0), (SEGMENT, 1), (SEGMENT + 1, 1), (2 * SEGMENT, 2), (2 * SEGMENT + 1, None),
        ):
            self.assertEqual(await self.from_offset(offset), WHOLE[offset:], offset)
            segments = [call for call in self.calls() if ".segments/" in call]
            expected = [] if first is None else [f"GET .segments/GROUP/{number:06}" for number in range(first, 3)]
            self.assertEqual(segments, expected, offset)    # less than APART is left: the proxy puts them together
        await self.all_is_free()

    async def test_lists_of_lists(self) -> None:
        self.takes(2)
        await self.storage.delete("b")
        await self.make_object(WHOLE)
        self.assertEqual(await self.content("b"), WHOLE)
        self.assertEqual(
            self.calls(), ["GET b", LIST, *(f"GET .segments/GROUP/list-{number:06}" for number in range(2))]
        )

    async def test_cut_off(self) -> None:
        """Each is gone on with where it was cut off."""
        self.proxy.add(method="GET", target=r"\.segments/", times=2, cut=500_000)
        self.assertEqual(await self.content("b"), WHOLE)
        await self.all_is_free()

    async def test_not_there_ahead_of_time(self) -> None:
        """Whether it is there counts when it is its turn."""
        self.proxy.add(method="GET", target=r"\.segments/.*/000001", times=1, status=404)
        self.assertEqual(await self.content("b"), WHOLE)
        await self.all_is_free()

    async def test_changed(self) -> None:
        """A segment that has other bytes is not read, and neither is one that has gone."""
        opened = await self.storage.open("b")
        await self.storage.container.put(self.segment(2), [b"x" * MIB])
        found = b""
        with self.assertRaises(StorageFailed):
            while part := await opened.read(MIB):
                found += part
        self.assertEqual(found, WHOLE[: 2 * SEGMENT])
        opened.close()
        await self.storage.container.delete(self.segment(0))
        opened = PiecesReader(self.storage.container, await self.pieces(), b"", 0.0, 0)
        await self.fails(opened.read(MIB), StorageFailed)
        opened.close()
        await self.all_is_free()

    async def pieces(self) -> Any:
        key = f"{self.settings.prefix}b"
        return await self.storage.large.pieces(key, await self.storage.container.head(key))

    async def test_of_another_length(self) -> None:
        opened = await self.storage.open("b")
        self.proxy.add(
            method="GET", target=r"\.segments/.*/000001", status=200, body=b"x",
            headers={"Last-Modified": "Wed, 25 Nov 2026 10:00:00 GMT"},
        )
        with self.assertRaises(StorageFailed):
            while await opened.read(MIB):
                pass
        opened.close()
        await self.all_is_free()

    async def test_list_that_is_another(self) -> None:
        """What it says now is not what the object was that is being opened: the store has the last word."""
        key = f"{self.settings.prefix}b"
        head = await self.storage.container.head(key)
        segments = await self.storage.container.segments(key)
        await self.storage.container.put_large(key, segments[::-1], head.group)
        self.assertEqual(await self.storage.large.pieces(key, head), [])
        self.assertEqual(len(await self.pieces()), 3)

    async def test_segments_of_others(self) -> None:
        """They are left to the store."""
        key = f"{self.settings.prefix}b"
        other = f"{self.settings.prefix}other"
        await self.storage.container.put(other, [WHOLE])
        group = (await self.storage.container.head(key)).group
        await self.storage.container.put_large(key, [Segment(self.storage.large.path(other), len(WHOLE))], group)
        self.assertEqual(await self.pieces(), [])
        self.calls()
        self.assertEqual(await self.content("b"), WHOLE)
        self.assertEqual(self.calls(), ["GET b", LIST])

    async def test_not_too_early(self) -> None:
        """A client that stops holds one of the store's connections, and not two."""
        self.patch(reader, "AHEAD", MIB)
        opened: Any = await self.storage.open("b")
        found = await opened.read(MIB // 2)
        self.assertIsNone(opened._next)
        while opened._next is None:
            found += await opened.read(MIB // 2)
        self.assertTrue(MIB <= len(found) < SEGMENT)
        while part := await opened.read(MIB):
            found += part
        self.assertEqual(found, WHOLE)
        opened.close()
        await self.all_is_free()

    async def test_closed(self) -> None:
        """Also while the next one is on its way, or has come."""
        rule = self.proxy.add(method="GET", target=r"\.segments/.*/000001", times=1, hang=True)
        opened = await self.storage.open("b")
        self.assertEqual(await opened.read(10), WHOLE[:10])
        while not rule.met:
            await deferLater(reactor, 0)
        opened.close()
        opened.close()
        await self.all_is_free()
        again: Any = await self.storage.open("b")
        await again.read(10)
        while not again._next.called:
            await deferLater(reactor, 0)
        again.close()
        await self.all_is_free()
