"""Blobs in a Glance that keeps to limits of Keystone's: what does not fit, and what comes of it (F12)."""

from __future__ import annotations

from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.digest import Digest
from docker_registry.errors import NotFound, StorageFull, StoreUnavailable
from docker_registry.storage import layout
from docker_registry.storage.glance.errors import Refused, Uploading, meaning
from docker_registry.storage.local import LocalStorage
from docker_registry.test.glance_case import GlanceStorageCase, reactor
from docker_registry.test.servers.limits import UNLIMITED, limited, limits
from docker_registry.test.servers.projects import Project
from docker_registry.test.storage_contract import content

MIB = 1 << 20
LARGEST = 4 * MIB
LAYER = content(1_300_000)


class QuotaTests(GlanceStorageCase):
    """In a project of the test's own, through the proxy to a Glance that keeps to limits.

    :ivar number: makes what is written next other than what was.
    """

    async def setUp(self) -> None:              # type: ignore[override]
        await deferToThread(self.prepare)
        await super().setUp()
        self.number = 0

    def prepare(self) -> None:
        self.project = Project()
        self.project.environ["OS_GLANCE_URL"] = limited(LARGEST)

    def servers(self) -> dict[str, str]:
        return self.project.environ

    async def limit(self, **limits_: int) -> None:
        await deferToThread(limits().set, self.project, **limits_)

    def new(self, size: int = 10) -> bytes:
        self.number += 1
        return b"%d" % self.number + bytes(size)

    async def again(self) -> None:
        """The store as a daemon starts it anew."""
        await self.close(self.storage)
        self.alternate = LocalStorage(self.folder, self.runner, reactor, sync=False)
        self.storage = await self.make(check=True)

    async def are_there(self, count: int) -> list[tuple[str, str]]:
        """Status and key of all that are there, as soon as there are ``count``."""
        while True:
            found = await deferToThread(lambda: list(self.project.images()))
            if len(found) <= count:
                return sorted((each["status"], each["docker_registry_key"]) for each in found)

    async def put(self, whole: bytes) -> str:
        """As a manifest is."""
        key = layout.blob(Digest.of(whole))
        await self.storage.put(key, whole)
        return key

    async def refused(self, size: int, reason: str) -> bytes:
        """What is written is refused, whichever way, and not diverted; what was written first is returned."""
        first = whole = self.new(size)
        for write in (self.commit, self.direct, self.put):
            self.assertIn(reason, await self.fails(write(whole), StorageFull))
            await self.fails(self.storage.stat(layout.blob(Digest.of(whole))), NotFound)
            whole = self.new(size)
        self.assertFalse(self.storage.diversion.is_on)
        return first

    async def test_bytes(self) -> None:
        """Much more than is left too: Glance answers, and cuts the connection, before it has read all of it. A store
        that starts with no room can be read, and its probe goes."""
        key = await self.commit(LAYER)
        await self.limit(image_size_total=1)
        large = await self.refused(3 * MIB, "Resource image_size_total is over limit of 1 due to current usage 1 and")
        self.assertEqual(await self.are_there(1), [("active", key)])
        await self.again()
        self.assertEqual(await self.content(key), LAYER)
        await self.limit(image_size_total=50)
        self.assertEqual(await self.content(await self.commit(large)), large)
        await self.refused(LARGEST, "too large. Raise image_size_cap of Glance")
        self.assertEqual({status for status, _ in await self.are_there(2)}, {"active"})

    async def test_count(self) -> None:
        """With no room for another image the store starts, and after an outage Glance is found to work: what is there
        can be pulled. No probe stays behind."""
        key = await self.commit(LAYER)
        await self.limit(image_count_total=1)
        await self.refused(10, "Resource image_count_total is over limit of 1 due to current usage 1 and delta 1")
        with capturedLogs() as events:
            await self.again()
        (said,) = [event["log_format"].format(**event) for event in events if event.get("alert")]
        self.assertRegex(said, "^Glance takes nothing now, and what is there can be pulled: .* image_count_total is")
        self.storage.diversion.failed(StoreUnavailable("a test"))
        await self.storage.diversion.over()
        self.assertEqual(await self.content(key), LAYER)
        self.assertEqual(await self.are_there(1), [("active", key)])
        await self.limit(image_count_total=2)
        again = self.new()
        self.assertEqual(await self.content(await self.commit(again)), again)

    async def test_too_many_at_a_time(self) -> None:
        """That passes: what does not come in goes to the alternate store, and nobody takes Glance for failing."""
        await self.limit(image_count_uploading=0)
        whole = self.new(MIB)
        key = await self.commit(whole)
        self.assertTrue(await self.is_diverted(key))
        self.assertFalse(self.storage.diversion.is_on)
        await self.limit(image_count_uploading=UNLIMITED)
        await self.storage.moving.round()
        self.assertFalse(await self.is_diverted(key))
        self.assertEqual(await self.content(key), whole)
        self.assertEqual({status for status, _ in await self.are_there(1)}, {"active"})


class WordsTests(SynchronousTestCase):
    """What Glance 33 says, by what it comes to."""

    def test_meanings(self) -> None:
        for said, kind in (
            ("Image exceeds the storage quota: The size of the data 4194304 will exceed the limit.", StorageFull),
            ("Image storage media is full: There is not enough disk space on the image storage media.", StorageFull),
            ("The incoming image is too large: The provided image is too large.", StorageFull),
            ("Resource image_size_total is over limit of 5 due to current usage 6 and delta 0", StorageFull),
            ("Resource image_count_uploading is over limit of 2 due to current usage 3 and delta 0", Uploading),
            ("The limit has been exceeded on the number of allowed image properties. Attempted: 3", Refused),
        ):
            self.assertIs(type(meaning(413, said, "", "image x")), kind, said)
