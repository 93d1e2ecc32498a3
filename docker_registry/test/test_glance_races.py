"""Content that moves between Glance and the alternate store while somebody reads it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from docker_registry.deferreds import deferred
from docker_registry.digest import Digest
from docker_registry.storage import layout
from docker_registry.storage.glance import leftovers
from docker_registry.storage.glance import shelf as shelves
from docker_registry.storage.glance.shelf import Shelf
from docker_registry.storage.glance.storage import GlanceStorage
from docker_registry.storage.interface import Stat
from docker_registry.storage.memory import MemoryStorage
from docker_registry.test.glance_case import GlanceCase, reactor

CONTENT = b"a blob"
KEY = layout.blob(Digest.of(CONTENT))


class Interrupted(MemoryStorage):
    """:ivar between: done once before the content itself is asked for."""

    between: Callable[[], Deferred[Any]] | None = None

    async def _interrupt(self, key: str) -> None:
        if key == KEY and self.between is not None:
            between, self.between = self.between, None
            await between()

    @deferred
    async def stat(self, key: str) -> Stat:
        await self._interrupt(key)
        return await super().stat(key)

    @deferred
    async def get(self, key: str) -> bytes:
        await self._interrupt(key)
        return await super().get(key)

    @deferred
    async def open(self, key: str, offset: int = 0) -> Any:
        await self._interrupt(key)
        return await super().open(key, offset)


class RaceTests(GlanceCase):
    async def setUp(self) -> None:                              # type: ignore[override]
        super().setUp()
        self.alternate = Interrupted(Clock())
        self.shelf = Shelf(self.images(), self.retries(), reactor)

        async def close() -> None:
            """`GlanceCase` closes connections."""

        self.storage = GlanceStorage(self.shelf, self.alternate, self.runner, reactor, close, check=False)
        await self.storage.start()
        self.addCleanup(self.storage.close)
        self.addCleanup(self.storage.delete_tree, "docker")

    async def test_moved_while_it_is_read(self) -> None:
        """What was diverted is in Glance when its turn comes in the alternate store: there it is found."""
        for read in (self.storage.stat, self.storage.get, self.storage.open):
            await self.alternate.put(KEY, CONTENT)
            await self.storage.records.mark(KEY, time.time())
            self.alternate.between = lambda: Deferred.fromCoroutine(self.storage.moving.round())
            found: Any = await read(KEY)
            self.assertNotIn(KEY, self.alternate.objects)
            if read == self.storage.open:
                found.close()
            elif read == self.storage.stat:
                self.assertEqual(found.size, len(CONTENT))
            else:
                self.assertEqual(found, CONTENT)
            await self.storage.delete(KEY)

    async def test_leftovers(self) -> None:
        """An image that held something is not asked about every time; one that holds nothing any more is found."""
        await self.storage.put(KEY, CONTENT)
        later = time.time() + 60
        self.assertEqual(await self.storage.leftovers(later), [])
        asked: list[str] = []
        self.patch(self.storage.records, "find", asked.append)
        for _ in range(leftovers.ROUNDS - 1):
            self.assertEqual(await self.storage.leftovers(later), [])
        self.assertEqual(asked, [])
        self.storage.records.__dict__.pop("find")
        await self.alternate.delete(layout.glance_image(KEY))
        (found,) = await self.storage.leftovers(later)
        self.assertEqual(found.key, KEY)
        await self.storage.remove_leftover(found)
        self.assertEqual(await self.storage.leftovers(later), [])

    async def test_remembers_few(self) -> None:
        """Of images that were made as of those that were looked at."""
        self.patch(shelves, "MOST_SURE", 2)
        for number in range(4):
            content = b"%d" % number
            await self.storage.put(layout.blob(Digest.of(content)), content)
        self.assertLessEqual(len(self.shelf._sure), 2)
