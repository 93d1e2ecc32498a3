"""What a process left in a container that ended at each step of its work (F5)."""

from __future__ import annotations

from typing import Any
from unittest import mock

from docker_registry.errors import NotFound, StorageError, Transient
from docker_registry.test.storage_contract import content
from docker_registry.test.test_storage_swift_writing import LATER, SwiftWritingCase

SMALL = content(100_000)
"""Two segments."""


class LeftoverTests(SwiftWritingCase):
    segment_size = 64 << 10

    async def stopped(self, work: Any, step: int) -> bool:
        """Let ``work`` make so many calls, and no more; whether it wanted more."""
        storage = self.make()
        client = storage.container.client
        ask, made = client.ask, [0]

        async def counted(*args: Any, **kwargs: Any) -> Any:
            if made[0] == step:
                raise Transient("the process has ended")
            made[0] += 1
            return await ask(*args, **kwargs)

        with mock.patch.object(client, "ask", counted):
            try:
                await work(storage)
            except StorageError:
                return True
        return made[0] == step

    async def check(self, work: Any, *wholes: bytes, before: Any = None, step: int = 0) -> None:
        """After every step ``b`` is one of ``wholes``, and so after what was left is removed.

        :param before: what is done without being stopped.
        :param step: the first one at which it is.
        """
        while True:
            if before is not None:
                await before(self.storage)
            if not await self.stopped(work, step):
                break
            found = await self.found()
            self.assertIn(found, wholes, step)
            for leftover in await self.storage.leftovers(LATER):
                await self.storage.remove_leftover(leftover)
            self.assertEqual(await self.storage.leftovers(LATER), [])
            self.assertEqual(await self.found(), found)
            await self.storage.delete_tree("u")
            await self.storage.delete_tree("b")
            await self.nothing_is_left()
            step += 1
        self.assertGreater(step, 5)

    async def found(self) -> bytes:
        try:
            return await self.content("b")
        except NotFound:
            return b""

    async def push(self, storage: Any) -> None:
        await self.direct("b", SMALL, storage)

    async def test_direct(self) -> None:
        await self.check(self.push, b"", SMALL)

    async def test_session(self) -> None:
        async def work(storage: Any) -> None:
            writer = await storage.create("u/data")
            await self.write(writer, SMALL[:70_000])
            await writer.sync()
            await writer.close()
            writer = await storage.resume("u/data", 70_000)
            await self.write(writer, SMALL[70_000:])
            await writer.commit("b")

        await self.check(work, b"", SMALL)

    async def test_overwriting(self) -> None:
        async def work(storage: Any) -> None:
            await self.direct("b", SMALL[::-1], storage)

        await self.check(work, SMALL, SMALL[::-1], before=self.push, step=3)

    async def test_deleting(self) -> None:
        async def work(storage: Any) -> None:
            await storage.delete("b")

        await self.check(work, SMALL, b"", before=self.push)

    async def test_a_record_that_cannot_be_read(self) -> None:
        """Nobody knows what it leads to: that stays, and does not keep anything else from being found."""
        writer = await self.storage.create("u/data")
        await self.write(writer, SMALL)
        await writer.sync()
        await writer.close()
        await self.storage.container.put(f"{self.settings.prefix}u/data", [b"no list"], "5 3")
        kept = self.segments()
        upload = self.storage.large.upload(f"{self.settings.prefix}b")
        await upload.begin()
        await upload.part(0, [b"x"])
        [leftover] = await self.storage.leftovers(LATER)
        self.assertEqual(leftover.key, "b")
        await self.storage.remove_leftover(leftover)
        self.assertEqual((self.segments(), len(kept)), (kept, 2))
        await self.storage.delete_tree("u")
        [leftover] = await self.storage.leftovers(LATER)
        await self.storage.remove_leftover(leftover)
        await self.nothing_is_left()
