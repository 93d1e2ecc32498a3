"""Content that moves between Glance and the alternate store while somebody reads it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from docker_registry.deferreds import deferred
from docker_registry.digest import Digest
from docker_registry.errors import StorageFull
from docker_registry.storage import layout
from docker_registry.storage.glance import leftovers
from docker_registry.storage.glance import shelf as shelves
from docker_registry.storage.glance.records import Record
from docker_registry.storage.glance.shelf import KEY as KEY_PROPERTY
from docker_registry.storage.glance.shelf import STORE, Shelf
from docker_registry.storage.glance.storage import GlanceStorage
from docker_registry.storage.interface import Stat
from docker_registry.storage.memory import MemoryStorage
from docker_registry.test.glance_case import GlanceCase, reactor

CONTENT = b"a blob"
KEY = layout.blob(Digest.of(CONTENT))
OTHER = layout.blob(Digest.of(b"another"))


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
        self.clock = Clock()
        self.alternate = Interrupted(self.clock)
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
        await self.storage.put(OTHER, b"another")
        await self.storage.put(KEY, CONTENT)
        later = time.time() + 60
        self.assertEqual(await self.storage.leftovers(later), [])
        asked: list[str] = []
        self.patch(self.storage.records, "find", asked.append)
        for _ in range(leftovers.ROUNDS - 1):
            self.assertEqual(await self.storage.leftovers(later), [])
        self.assertEqual(asked, [])
        self.storage.records.__dict__.pop("find")
        self.patch(self.shelf, "discard", lambda image, is_noted: None)
        await self.storage.delete(KEY)
        (found,) = await self.storage.leftovers(later)
        self.assertEqual(found.key, KEY)
        await self.storage.remove_leftover(found)
        self.assertEqual(await self.storage.leftovers(later), [])
        self.assertEqual(await self.storage.records.given_up(), set())

    async def test_recorded_after_it_was_listed(self) -> None:
        """What is listed while its push is in the middle is not removed when that has come to its end."""
        await self.storage.put(OTHER, b"another")
        await self.storage.put(KEY, CONTENT)
        record = await self.alternate.get(layout.glance_image(KEY))
        await self.storage.records.remove(KEY)
        (found,) = await self.storage.leftovers(time.time() + 60)
        await self.alternate.put(layout.glance_image(KEY), record)
        await self.storage.remove_leftover(found)
        self.assertEqual(await self.storage.get(KEY), CONTENT)

    async def test_put_again(self) -> None:
        """What is there and whole stays the same image; what is not there any more, or is another, is put anew."""
        await self.storage.put(KEY, CONTENT)
        first, _ = self.known(await self.storage.records.find(KEY))
        await self.storage.put(KEY, CONTENT)
        self.assertEqual(self.known(await self.storage.records.find(KEY))[0], first)
        await self.images().delete(first.image)
        await self.storage.put(KEY, CONTENT)
        second, _ = self.known(await self.storage.records.find(KEY))
        self.assertNotEqual(second.image, first.image)
        self.assertEqual(await self.storage.get(KEY), CONTENT)
        await self.storage.put(KEY, CONTENT[::-1])
        third, _ = self.known(await self.storage.records.find(KEY))
        self.assertNotEqual(third.image, second.image)
        self.assertEqual(await self.storage.get(KEY), CONTENT[::-1])

    def known(self, found: tuple[Record, float] | None) -> tuple[Record, float]:
        assert found is not None
        return found

    async def test_put_again_while_it_is_deleted(self) -> None:
        """What is there is deleted when it has just been found to be whole: then it is sent again."""
        await self.storage.put(KEY, CONTENT)
        verify = self.shelf.verify

        async def deleted(key: str, record: Record, anew: bool = False) -> None:
            await verify(key, record, anew=anew)
            self.shelf.verify = verify              # type: ignore[method-assign]
            await self.storage.delete(KEY)

        self.shelf.verify = deleted                 # type: ignore[method-assign]
        await self.storage.put(KEY, CONTENT)
        self.assertEqual(self.shelf.verify, verify)
        record = await self.storage.records.find(KEY)
        assert record is not None
        await self.shelf.verify(KEY, record[0], anew=True)
        self.assertEqual(await self.storage.get(KEY), CONTENT)
        self.assertNotIn(record[0].image, await self.storage.records.given_up())

    async def test_leftovers_of_others(self) -> None:
        """Nobody else's image is one, whatever a list says; nor is one whose record cannot be read."""
        images = self.images()
        await images.create(self.new_image(images), {KEY_PROPERTY: KEY, STORE: "another"})
        await images.create(self.new_image(images), {})
        page = images.page
        self.patch(self.shelf, "page", lambda marker: page({}, marker))
        await self.storage.put(KEY, CONTENT)
        await self.alternate.put(layout.glance_image(KEY), b"{")
        self.assertEqual(await self.storage.leftovers(time.time() + 60), [])

    async def test_remembers_few(self) -> None:
        """Of images that were made as of those that were looked at."""
        self.patch(shelves, "MOST_SURE", 2)
        for number in range(4):
            content = b"%d" % number
            await self.storage.put(layout.blob(Digest.of(content)), content)
        self.assertLessEqual(len(self.shelf._sure), 2)

    # Whatever fails in between, what was there or was sent can still be had.

    def no_more(self, method: str) -> None:
        """One of the records' methods fails, as their store is full."""

        async def fail(*_: Any) -> None:
            raise StorageFull("the alternate store is full")

        self.patch(self.storage.records, method, fail)

    def works_again(self, method: str) -> None:
        self.storage.records.__dict__.pop(method)

    async def test_record_goes_before_the_image(self) -> None:
        await self.storage.put(KEY, CONTENT)
        self.no_more("remove")
        await self.fails(self.storage.delete(KEY), StorageFull)
        self.shelf._sure.clear()
        self.assertEqual(await self.storage.get(KEY), CONTENT)

    async def test_record_comes_before_the_rest_goes(self) -> None:
        """Of what was diverted, and of an upload."""
        await self.alternate.put(KEY, CONTENT)
        await self.storage.records.mark(KEY, time.time())
        self.no_more("put")
        await self.fails(self.storage.moving.round(), StorageFull)
        self.assertEqual(self.alternate.objects[KEY].content, CONTENT)
        self.assertEqual(await self.storage.get(KEY), CONTENT)
        writer = await self.storage.create("upload")
        await writer.write([CONTENT])
        await self.fails(writer.commit(KEY), StorageFull)
        self.works_again("put")
        writer = await self.storage.resume("upload", len(CONTENT))
        await writer.commit(KEY)
        self.assertEqual(await self.storage.get(KEY), CONTENT)
        self.assertFalse(await self.storage.records.is_marked(KEY))

    async def test_no_mark(self) -> None:
        """What cannot be marked is not acknowledged: nobody would move it."""
        self.storage.diversion.reason = "down"
        self.no_more("mark")
        await self.fails(self.storage.put(KEY, CONTENT), StorageFull)
        writer = await self.storage.create("upload")
        await writer.write([CONTENT])
        await self.fails(writer.commit(KEY), StorageFull)
        self.storage.diversion.reason = ""

    async def test_written_again_while_it_is_moved(self) -> None:
        """It stays marked, and is moved when it is its turn again."""
        await self.alternate.put(KEY, CONTENT)
        await self.storage.records.mark(KEY, time.time())
        put = self.shelf.put

        async def interrupted(key: str, load: Any) -> Record:
            record = await put(key, load)
            self.clock.advance(1)
            await self.alternate.put(KEY, CONTENT)
            await self.storage.records.mark(KEY, time.time())
            return record

        self.patch(self.shelf, "put", interrupted)
        self.assertEqual(await self.storage.moving.round(), 0)
        self.assertIn(KEY, self.alternate.objects)
        self.assertTrue(await self.storage.records.is_marked(KEY))
        self.patch(self.shelf, "put", put)
        self.assertEqual(await self.storage.moving.round(), 1)
        self.assertNotIn(KEY, self.alternate.objects)

    async def test_image_went_before_it_is_moved(self) -> None:
        """A record of before is no reason to remove what was diverted, though its image was seen a moment ago."""
        await self.storage.put(KEY, CONTENT)
        found = await self.storage.records.find(KEY)
        assert found is not None
        await self.alternate.put(KEY, CONTENT)
        await self.storage.records.mark(KEY, time.time())
        await self.images().delete(found[0].image)
        self.assertEqual(await self.storage.moving.round(), 1)
        self.assertNotIn(KEY, self.alternate.objects)
        self.assertEqual(await self.storage.get(KEY), CONTENT)

    async def test_other_bytes_than_were_pushed(self) -> None:
        """They stay where they are, with the mark: nothing of them gets to Glance."""
        await self.alternate.put(KEY, b"others")
        await self.storage.records.mark(KEY, time.time())
        self.assertEqual(await self.storage.moving.round(), 0)
        self.assertEqual(self.alternate.objects[KEY].content, b"others")
        self.assertTrue(await self.storage.records.is_marked(KEY))
        self.assertIsNone(await self.storage.records.find(KEY))

    async def test_mark_of_before(self) -> None:
        """Goes only if it is the one that there is."""
        for _ in range(2):
            await self.storage.records.mark(KEY, time.time())
            (mark,) = [each async for each in self.storage.records.marks()]
            await self.storage.records.mark(KEY, time.time())
            await self.storage.records.unmark(mark)
            self.assertTrue(await self.storage.records.is_marked(KEY))
        (mark,) = [each async for each in self.storage.records.marks()]
        await self.storage.records.unmark(mark)
        self.assertFalse(await self.storage.records.is_marked(KEY))
