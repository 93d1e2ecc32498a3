"""A process that is gone after each step of a push or a deletion, and records that are lost: what a purge makes of it.

Nothing that was acknowledged is lost, and nothing that is whole goes unless somebody gave it up. What came to nothing
goes.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

from docker_registry.deferreds import deferred
from docker_registry.digest import Digest
from docker_registry.errors import NotFound, Transient
from docker_registry.storage import layout
from docker_registry.storage.glance.images import Images
from docker_registry.storage.glance.shelf import Shelf
from docker_registry.storage.glance.storage import GlanceStorage
from docker_registry.storage.memory import MemoryStorage
from docker_registry.test.glance_case import GlanceCase, reactor
from docker_registry.test.servers.projects import Project

CONTENT = b"a blob" * 20_000
KEY = layout.blob(Digest.of(CONTENT))
MORE = [b"%d" % number for number in range(4)]
UNKNOWN = "images that storage_alternate does not know"


@dataclass
class Life:
    """Of a process: after its last step nothing that it does has any effect, and nobody answers it.

    :ivar steps: what changed something, in Glance or in the alternate store.
    """

    last: int | None = None
    is_over: bool = False
    steps: list[str] = field(default_factory=list)

    async def step(self, what: str) -> None:
        if self.is_over or len(self.steps) == self.last:
            self.is_over = True
            await Deferred()
        self.steps.append(what)


class MortalStore(MemoryStorage):
    def __init__(self, life: Life, before: MemoryStorage | None = None) -> None:
        super().__init__(Clock())
        self._life = life
        if before is not None:
            self.objects = dict(before.objects)

    @deferred
    async def put(self, key: str, content: bytes) -> None:
        await self._life.step(f"put {key}")
        await super().put(key, content)

    @deferred
    async def delete(self, key: str) -> None:
        await self.stat(key)
        await self._life.step(f"delete {key}")
        await super().delete(key)

    @deferred
    async def delete_tree(self, prefix: str) -> None:
        await self._life.step(f"delete {prefix}")
        await super().delete_tree(prefix)


@dataclass
class Process:
    life: Life
    alternate: MortalStore
    shelf: Shelf
    storage: GlanceStorage

    async def end(self) -> None:
        """With nothing left in the reactor."""
        self.storage._spares.stop()
        for _ in range(2):                          # and the note of what could not be removed
            for each in list(self.shelf._discarding):
                each.cancel()
        await self.storage.close()


Work = Callable[[GlanceStorage], Awaitable[None]]


async def nothing(storage: GlanceStorage) -> None:
    """The store is empty."""


async def small(storage: GlanceStorage) -> None:
    await storage.put(KEY, CONTENT)


async def digest_first(storage: GlanceStorage) -> None:
    writer = await storage.create_direct("upload", KEY, len(CONTENT))
    await writer.write([CONTENT])
    await writer.commit(KEY)


async def digest_last(storage: GlanceStorage) -> None:
    writer = await storage.create("upload")
    await writer.write([CONTENT])
    await writer.sync()
    await writer.close()
    writer = await storage.resume("upload", len(CONTENT))
    await writer.commit(KEY)


async def other_bytes(storage: GlanceStorage) -> None:
    await storage.put(KEY, CONTENT[::-1])


async def deletion(storage: GlanceStorage) -> None:
    await storage.delete(KEY)


async def deletion_of_all(storage: GlanceStorage) -> None:
    await storage.delete_tree("docker")


class CrashTests(GlanceCase):
    async def setUp(self) -> None:                              # type: ignore[override]
        super().setUp()
        self.project = await deferToThread(Project)
        self.environ = self.project.environ

    async def process(self, before: MemoryStorage | None = None) -> Process:
        life = Life()
        alternate = MortalStore(life, before)
        images = self.images(url=self.environ["OS_GLANCE_URL"])
        for name in ("create", "upload", "patch", "delete"):
            self._let_die(images, name, life)
        shelf = Shelf(images, self.retries(), reactor)

        async def close() -> None:
            """`GlanceCase` closes connections."""

        storage = GlanceStorage(shelf, alternate, self.runner, reactor, close, check=False)
        await storage.start()
        process = Process(life, alternate, shelf, storage)
        self.addCleanup(process.end)
        return process

    def _let_die(self, images: Images, name: str, life: Life) -> None:
        method = getattr(images, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            await life.step(name)
            return await method(*args, **kwargs)

        setattr(images, name, call)

    async def dying(self, prepare: Work, work: Work, last: int) -> tuple[Process, bool]:
        """A process that is gone after so many steps of ``work``, and whether that was acknowledged."""
        process = await self.process()
        await prepare(process.storage)
        life = process.life
        life.steps.clear()
        life.last = last
        working = Deferred.fromCoroutine(_coroutine(work, process.storage))
        failed: list[Any] = []
        working.addErrback(failed.append)
        await self.until(lambda: working.called or life.is_over)
        is_acknowledged = working.called
        self.assertEqual(failed, [])
        await self.until(lambda: life.is_over or not process.shelf._discarding)
        working.cancel()
        return process, is_acknowledged

    async def settled(self, process: Process) -> None:
        """Nothing is being removed any more."""
        await self.until(lambda: not process.shelf._discarding)

    async def until(self, true: Callable[[], object]) -> None:
        while not true():
            await deferLater(reactor, 0.005)

    async def purge(self, process: Process) -> bool:
        """What the daemon does each hour; whether it told of images that it knows nothing of."""
        later = time.time() + 60
        with capturedLogs() as events:
            for each in await process.storage.leftovers(later):
                await process.storage.remove_leftover(each)
        self.assertEqual(await process.storage.leftovers(later), [])
        return UNKNOWN in [each.get("alert") for each in events]

    async def there(self, process: Process) -> set[str]:
        """The images of this store."""
        return {each.id for each in (await process.shelf.page("")).images}

    async def recover(self, process: Process) -> None:
        for each in await process.storage.recovery.lost():
            self.assertEqual(await process.storage.recovery.recover(each, lambda read: read), "")

    async def each_step(
        self, prepare: Work, work: Work, check: Callable[[Process, str, bool, bool], Awaitable[None]]
    ) -> None:
        """:param check: of the next process, after a purge: what the last step was, whether the work was
            acknowledged, and whether there are images that it knows nothing of."""
        for last in count():
            process, is_acknowledged = await self.dying(prepare, work, last)
            after = await self.process(process.alternate)
            is_told = await self.purge(after)
            await check(after, process.life.steps[-1] if last else "", is_acknowledged, is_told)
            self.assertEqual(await after.storage.records.given_up(), set(), process.life.steps)
            is_over = not process.life.is_over
            await process.end()
            await after.storage.delete_tree("docker")
            await self.settled(after)
            self.assertEqual(await self.there(after), set())
            await after.end()
            if is_over:
                self.assertTrue(is_acknowledged)
                self.assertGreater(last, 2)
                return

    async def held(self, process: Process) -> set[str]:
        found = await process.storage.records.find(KEY)
        return set() if found is None else {found[0].image}

    async def test_pushes(self) -> None:
        """What is whole and was not acknowledged yet is kept as well: nobody can tell. It is found again."""
        for work, whole in ((small, "upload"), (digest_first, "upload"), (digest_last, "patch")):

            async def check(
                after: Process, step: str, is_acknowledged: bool, is_told: bool, whole: str = whole
            ) -> None:
                self.assertEqual(is_told, step == whole)
                if is_told:
                    self.assertEqual(len(await self.there(after)), 1)
                    await self.recover(after)
                    self.assertFalse(await self.purge(after))
                self.assertEqual(await self.there(after), await self.held(after))
                if is_acknowledged or await self.held(after):
                    self.assertEqual(await after.storage.get(KEY), CONTENT)

            await self.each_step(nothing, work, check)

    async def test_deletions(self) -> None:
        """The content is there, or the image goes."""
        for work in (deletion, deletion_of_all):

            async def check(after: Process, step: str, is_acknowledged: bool, is_told: bool) -> None:
                self.assertFalse(is_told)
                self.assertEqual(await self.there(after), await self.held(after))
                if await self.held(after):
                    self.assertFalse(is_acknowledged)
                    self.assertEqual(await after.storage.get(KEY), CONTENT)

            await self.each_step(small, work, check)

    async def test_replaced(self) -> None:
        """Of two images that say that they hold it one is left: that which the record leads to."""

        async def check(after: Process, step: str, is_acknowledged: bool, is_told: bool) -> None:
            self.assertFalse(is_told)
            self.assertEqual(await self.there(after), await self.held(after))
            found = await after.storage.get(KEY)
            self.assertIn(found, (CONTENT, CONTENT[::-1]))
            if is_acknowledged:
                self.assertEqual(found, CONTENT[::-1])

        await self.each_step(small, other_bytes, check)

    async def filled(self) -> tuple[Process, dict[str, bytes]]:
        process = await self.process()
        keys = {layout.blob(Digest.of(each)): each for each in MORE}
        for key, each in keys.items():
            await process.storage.put(key, each)
        self.addCleanup(process.storage.delete_tree, "docker")
        return process, keys

    async def is_as_before(self, process: Process, keys: dict[str, bytes]) -> None:
        process.shelf._sure.clear()
        for key, whole in keys.items():
            self.assertEqual(await process.storage.get(key), whole)

    async def test_some_records_are_lost(self) -> None:
        """As when a part of the directory is: none of their images goes, and all are found again."""
        process, keys = await self.filled()
        there = await self.there(process)
        for key in list(keys)[::2]:
            await process.alternate.delete(layout.glance_image(key))
        self.assertTrue(await self.purge(process))
        self.assertEqual(await self.there(process), there)
        await self.recover(process)
        self.assertFalse(await self.purge(process))
        await self.is_as_before(process, keys)

    async def test_an_older_backup(self) -> None:
        """It knows nothing of what was pushed since, which stays; of what was deleted since it knows too much, which
        is no reason to keep or to remove anything; and of what was replaced it knows another image."""
        process, keys = await self.filled()
        deleted, replaced, *_ = keys
        backup = dict(process.alternate.objects)
        await process.storage.delete(deleted)
        found = await process.storage.records.find(replaced)
        assert found is not None
        await process.shelf.remove(found[0].image)
        await process.storage.put(replaced, keys[replaced])         # its image was lost: there is a new one
        await process.storage.put(KEY, CONTENT)
        await self.settled(process)
        there = await self.there(process)
        process.alternate.objects = backup
        process.storage._lookout._held.clear()
        self.assertTrue(await self.purge(process))
        self.assertEqual(await self.there(process), there)
        await self.recover(process)
        self.assertFalse(await self.purge(process))
        self.assertEqual(await self.there(process), there)
        del keys[deleted]
        await self.is_as_before(process, {**keys, KEY: CONTENT})
        with self.assertRaises(NotFound):
            await process.storage.get(deleted)

    async def image_of(self, process: Process, key: str) -> str:
        found = await process.storage.records.find(key)
        assert found is not None
        return found[0].image

    async def goes(self, process: Process, *images: str) -> None:
        """What was noted is not found again, and goes with the next purge."""
        self.assertEqual(await process.storage.records.given_up(), set(images))
        self.assertEqual(await process.storage.recovery.lost(), [])
        there = await self.there(process)
        self.assertFalse(await self.purge(process))
        self.assertEqual(await self.there(process), there - set(images))
        self.assertEqual(await process.storage.records.given_up(), set())

    async def test_glance_fails_when_it_is_to_go(self) -> None:
        """What was deleted, and what was replaced."""
        process, keys = await self.filled()
        deleted, replaced, *_ = keys
        images = [await self.image_of(process, key) for key in (deleted, replaced)]
        calls = process.shelf._images.__dict__
        delete = calls["delete"]

        async def fail(*_: Any, **__: Any) -> None:
            raise Transient("busy")

        calls["delete"] = fail
        await process.storage.delete(deleted)
        await process.storage.put(replaced, b"other")
        await self.settled(process)
        calls["delete"] = delete
        await self.goes(process, *images)

    async def test_the_end_comes_when_it_is_to_go(self) -> None:
        process, keys = await self.filled()
        key = next(iter(keys))
        image = await self.image_of(process, key)

        async def hang(*_: Any, **__: Any) -> None:
            await Deferred()

        process.shelf._images.__dict__["delete"] = hang
        await process.storage.put(key, b"other")
        await process.storage.close()
        after = await self.process(process.alternate)
        self.addCleanup(after.storage.delete_tree, "docker")
        await self.goes(after, image)

    async def test_a_note_of_what_has_a_record(self) -> None:
        """A deletion that ended before its record went: the record counts, and the note goes when it is old."""
        process, keys = await self.filled()
        there = await self.there(process)
        key = next(iter(keys))
        image = await self.image_of(process, key)
        await process.storage.records.give_up(image)
        self.assertEqual(await process.storage.leftovers(-1.0), [])
        self.assertEqual(await process.storage.records.given_up(), {image})
        self.assertFalse(await self.purge(process))
        self.assertEqual(await process.storage.records.given_up(), set())
        self.assertEqual(await self.there(process), there)
        await self.is_as_before(process, keys)


async def _coroutine(work: Work, storage: GlanceStorage) -> None:
    await work(storage)
