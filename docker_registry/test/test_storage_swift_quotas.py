"""A container of the real Swift with a quota: what does not fit, and how there comes to be room again."""

from __future__ import annotations

import uuid
from dataclasses import replace

from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

from docker_registry.errors import NotFound, StorageFull
from docker_registry.test.storage_contract import content
from docker_registry.test.swift_case import MIB, settings
from docker_registry.test.test_storage_swift_writing import FIVE, SwiftWritingCase

THREE = content(3 * MIB)


class QuotaTests(SwiftWritingCase):
    """In a container of the test's own."""

    def setUp(self) -> None:
        super().setUp()
        name = f"quota-{uuid.uuid4().hex}"
        self.store = replace(self.store, name=name)
        self.assertEqual(self.store.ask("PUT", f"/{name}")[0], 201)
        self.settings = settings(self.store)
        self.storage = self.make()

    async def give(self, size: int) -> None:
        """Have the container take so many bytes in all."""
        status, _, _ = await deferToThread(
            self.store.ask, "POST", f"/{self.store.name}", X_Container_Meta_Quota_Bytes=str(size)
        )
        self.assertEqual(status, 204)

    async def test_no_room(self) -> None:
        await self.direct("b", FIVE)
        await self.storage.put("k", b"small")
        await self.give(MIB)
        for write in (self.direct("c", THREE), self.session("c", THREE), self.storage.put("c", b"x")):
            error = await self.fails(write, StorageFull)
            self.assertIn("a quota is used up, or the disks are full (413)", str(error))
        await self.fails(self.storage.stat("c"), NotFound)
        storage = self.make()
        with capturedLogs() as events:
            await storage.start()
        self.assertEqual(self.mailed(events), {"storage full"})
        self.assertEqual(await self.content("b", storage), FIVE)
        await storage.delete("b")               # what is large is noted before, if there is room
        await storage.delete("k")
        self.assertEqual(self.left(), [])
        await self.give(10 * MIB)
        await self.direct("c", THREE, storage)
        self.assertEqual(await self.content("c"), THREE)
