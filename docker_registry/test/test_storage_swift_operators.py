"""A Swift whose operator has set it otherwise, and whose proxies do not agree what time it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from docker_registry.errors import NotFound, StorageFull
from docker_registry.storage.swift.errors import Overtaken
from docker_registry.test.servers.faults import FaultProxy
from docker_registry.test.servers.proxies import MOST, another
from docker_registry.test.storage_contract import content
from docker_registry.test.swift_case import reactor
from docker_registry.test.test_storage_swift_writing import SwiftWritingCase


class OperatorCase(SwiftWritingCase):
    """:ivar storage: over the other proxy; it has memory for segments of one size only.
    :ivar usual: over the one that everybody has.
    """

    segment_size = 64 << 10

    def setUp(self) -> None:
        super().setUp()
        self.usual = self.storage
        self.proxy = FaultProxy(reactor, another()).start()
        self.addCleanup(self.proxy.stop)
        self.settings = replace(self.settings, memory=4 * self.segment_size)
        self.storage = self.make()


class LimitTests(OperatorCase):
    async def test_fewer_segments_in_a_list(self) -> None:
        """It is asked once how many there may be."""
        whole = content((2 * MOST + 1) * self.segment_size)
        for begin in (self.direct, self.session):
            await begin("b", whole)
            self.assertEqual(await self.content("b"), whole)
            self.assertEqual(len([name for name in self.segments() if "/list-" in name]), 3)
            await self.storage.delete("b")
            await self.nothing_is_left()
        self.assertEqual(len(self.proxy.seen("GET", "^/info$")), 1)

    async def test_nobody_says(self) -> None:
        """Then there are as many as usual, and more are refused here."""
        whole = content((MOST + 1) * self.segment_size)
        answers: list[dict[str, Any]] = [
            {"status": 404}, {"status": 200, "body": b"{}"}, {"status": 503}, {"refuse": True},
        ]
        for said in answers:
            rule = self.proxy.add(target="^/info$", **said)
            await self.direct("b", whole[: MOST * self.segment_size], self.make())
            await self.fails(self.direct("b", whole, self.make()), StorageFull)
            self.assertEqual(rule.met, 2, said)
            self.proxy.rules.clear()


    async def test_asked_too_often(self) -> None:
        """That says nothing of how many there may be: it is asked again."""
        whole = content((MOST + 1) * self.segment_size)
        rule = self.proxy.add(target="^/info$", times=1, status=498)
        await self.fails(self.direct("b", whole), StorageFull)
        await self.direct("b", whole)
        self.assertEqual((rule.met, await self.content("b")), (1, whole))


class ClockTests(OperatorCase):
    async def test_what_is_there_is_newer(self) -> None:
        """Swift says 202 and keeps what it has: that is no success."""
        await self.usual.put("k", b"first")
        for work in (self.storage.put("k", b"second"), self.storage.touch("k"), self.storage.delete("k")):
            error = await self.fails(work, Overtaken)
            self.assertIn("the clocks of Swift's proxies differ", str(error))
        self.assertEqual(await self.storage.get("k"), b"first")

    async def test_its_deletion_is_newer(self) -> None:
        await self.usual.put("k", b"first")
        await self.usual.delete("k")
        for write in (self.direct, self.session):
            for whole in (b"second", content(2 * self.segment_size)):
                await self.fails(write("k", whole), Overtaken)
        await self.fails(self.storage.get("k"), NotFound)
