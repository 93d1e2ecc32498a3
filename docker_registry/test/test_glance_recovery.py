"""Records of a real Glance's images are lost, and made again."""

from __future__ import annotations

from typing import Any

from twisted.internet.threads import deferToThread
from zope.interface.verify import verifyObject

from docker_registry.digest import Digest
from docker_registry.errors import NotFound, StoreUnavailable
from docker_registry.storage import layout
from docker_registry.storage.glance.shelf import KEY, STORE
from docker_registry.storage.glance.storage import GlanceStorage
from docker_registry.storage.interface import IRecovers, IRecovery
from docker_registry.test.clients.old_glance import FORMATS
from docker_registry.test.glance_case import GlanceStorageCase
from docker_registry.test.servers.projects import Project, foreign
from docker_registry.test.storage_contract import content

LAYER, SMALL = content(1_300_000), b"{}"


class RecoveryTests(GlanceStorageCase):
    """:ivar project: of the test's own, which has no images."""

    async def setUp(self) -> None:                              # type: ignore[override]
        self.project = await deferToThread(Project)
        await super().setUp()
        self.keys = {await self.commit(whole): whole for whole in (LAYER, SMALL)}
        long = layout.blob(Digest.of(SMALL, "sha512"))
        await self.storage.put(long, SMALL)
        self.keys[long] = SMALL
        self.known = {key: await self.storage.records.find(key) for key in self.keys}

    def unstarted(self, check: bool = False, **given: str) -> GlanceStorage:
        self.environ = self.project.environ
        return super().unstarted(check, **given)

    async def made(self, data: bytes | None, key: str, store: str = "") -> str:
        """An image that somebody else put there."""
        properties = {**FORMATS, KEY: key, STORE: store or self.storage._shelf.store}
        id: str = await deferToThread(self.project.image, data, **properties)
        return id

    async def lose(self, prefix: str = layout.glance_images("")) -> None:
        await self.alternate.delete_tree(prefix)
        self.storage._shelf._sure.clear()

    async def recover(self) -> list[str]:
        """Why some are left."""
        recovery = self.storage.recovery
        seen: list[int] = []
        lost = await recovery.lost()
        reasons = [await recovery.recover(each, seen.append) for each in lost]
        self.assertEqual(sum(seen), sum(each.size for each in lost))
        return [each for each in reasons if each]

    async def is_as_before(self) -> None:
        for key, whole in self.keys.items():
            self.assertEqual(await self.content(key), whole)
            (found, _), (before, _) = await self.storage.records.find(key) or ("", 0), self.known[key] or ("", 1)
            self.assertEqual(found, before)

    async def test_interfaces(self) -> None:
        verifyObject(IRecovers, self.storage)
        verifyObject(IRecovery, self.storage.recovery)

    async def test_nothing_is_lost(self) -> None:
        self.assertEqual(await self.storage.recovery.lost(), [])

    async def test_all_records(self) -> None:
        await self.lose()
        for key in self.keys:
            await self.fails(self.storage.open(key), NotFound)
        self.assertEqual({each.key for each in await self.storage.recovery.lost()}, set(self.keys))
        self.assertEqual(await self.recover(), [])
        await self.is_as_before()
        self.assertEqual(await self.storage.recovery.lost(), [])

    async def test_one_that_cannot_be_read_and_one_that_leads_nowhere(self) -> None:
        """As after a crash of the file system; and from a backup that is older than the image."""
        first, second, _ = self.keys
        await self.alternate.put(layout.glance_image(first), b"{")
        await self.commit(LAYER + b"other")
        other = await self.image_of(layout.blob(Digest.of(LAYER + b"other")))
        found = await self.storage.records.find(second)
        assert found is not None
        await self.storage.records.put(second, self.record_of(found[0], other))
        await self.images().delete(other)
        self.storage._shelf._sure.clear()
        lost = {each.key for each in await self.storage.recovery.lost()}
        self.assertEqual(lost, {first, second})
        self.assertEqual(await self.recover(), [])
        await self.is_as_before()

    def record_of(self, record: Any, image: str) -> Any:
        return type(record)(image, record.size, record.algorithm, record.hash, record.checksum)

    async def test_what_proves_nothing(self) -> None:
        """Other bytes than the key says, none, half of a push, another registry's, another project's."""
        await self.lose()
        key = layout.blob(Digest.of(b"wanted"))
        wrong = await self.made(b"other", key)
        for data, where, store in ((None, key, ""), (b"wanted", key, "0" * 32), (b"wanted", "images/x/json", ""),
                                   (b"wanted", "docker/registry/v2/blobs/sha256/ab/abc/data", "")):
            await self.made(data, where, store)
        stranger = await deferToThread(foreign)
        properties = {**FORMATS, KEY: key, STORE: self.storage._shelf.store, "visibility": "public"}
        public = await deferToThread(lambda: stranger.image(b"wanted", **properties))
        self.addCleanup(lambda: deferToThread(stranger.ask, "DELETE", f"/{public}"))
        self.assertEqual(await self.recover(), [f"image {wrong} has other bytes"])
        await self.fails(self.storage.stat(key), NotFound)
        await self.is_as_before()
        await self.made(b"wanted", key)                         # and one that does
        self.assertEqual(await self.recover(), [f"image {wrong} has other bytes"])
        self.assertEqual(await self.content(key), b"wanted")

    async def test_taken_out_of_service(self) -> None:
        """It stays out."""
        key = next(iter(self.keys))
        await self.storage.quarantine(key)
        self.assertEqual(await self.storage.recovery.lost(), [])

    async def test_another_store(self) -> None:
        """All was lost, and the registry was started since."""
        before = self.storage._shelf.store
        await self.lose(layout.GLANCE)
        await self.storage.close()
        self.storage = await self.make()
        recovery = self.storage.recovery
        self.assertNotEqual(recovery.store, before)
        self.assertEqual((await recovery.stores(), await recovery.lost()), ({before: 3}, []))
        await recovery.adopt(before)
        self.assertEqual(await self.recover(), [])
        await self.is_as_before()
        await self.storage.close()
        self.storage = await self.make()
        self.assertEqual(self.storage._shelf.store, before)

    async def test_glance_fails(self) -> None:
        """In the middle: it is said, and what was done is done."""
        await self.lose()
        first, *others = await self.storage.recovery.lost()
        self.assertEqual(await self.storage.recovery.recover(first, lambda count: count), "")
        rule = self.proxy.add(status=503)
        for work in (self.storage.recovery.lost(), self.storage.recovery.recover(others[0], lambda count: count)):
            await self.fails(work, StoreUnavailable)
        rule.times = 0
        self.assertEqual({each.key for each in await self.storage.recovery.lost()}, {each.key for each in others})
        self.assertEqual(await self.recover(), [])
        await self.is_as_before()
