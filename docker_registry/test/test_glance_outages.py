"""Glance stopped and killed before, in the middle of and after each step of a push, and brought back (F12).

The real process, and a registry over it that is asked over HTTP: what was acknowledged is there, or "try again later".
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from docker_registry.digest import Digest
from docker_registry.errors import NotFound, OutageKnown, StoreUnavailable
from docker_registry.storage import layout, retries
from docker_registry.storage.flows import Flow
from docker_registry.storage.glance import diversion, storage
from docker_registry.storage.http import Http, Patience
from docker_registry.storage.s3.settings import Place, Settings
from docker_registry.storage.s3.storage import S3Storage
from docker_registry.test.clients.pushing import Repository
from docker_registry.test.glance_case import GlanceStorageCase, port_of, reactor, shelf_of
from docker_registry.test.hasty import Hasty
from docker_registry.test.served import OCI_MANIFEST, Serving, digest_of, manifest_of
from docker_registry.test.servers.process import RealServer
from docker_registry.test.servers.stores import glance_folder, swift, swift_folder
from docker_registry.test.storage_contract import content

ONE, TWO = content(700_000), content(900_001)


class OutageCase(GlanceStorageCase, Serving):
    """:ivar glance: its real process.
    :ivar silent: a pattern for the methods of requests that it will not answer.
    :ivar repository: of a registry over it; called in a thread.
    """

    silent = ""

    async def setUp(self) -> None:                              # type: ignore[override]
        self.patch(diversion, "FIRST", 0.2)
        self.patch(diversion, "LONGEST", 0.4)
        self.patch(retries, "TRIES", 2)
        await super().setUp()
        folder = glance_folder()
        self.glance = RealServer(folder, "glance.wsgi", port_of(self.environ["OS_GLANCE_URL"]))
        self.keystone_server = RealServer(folder, "keystone.wsgi", port_of(self.environ["OS_AUTH_URL"]))
        for server in (self.glance, self.keystone_server):
            self.addCleanup(deferToThread, server.mend)
        self.repository = await self.serve(self.storage)

    def http(self) -> Http:
        return self.closed(Hasty(lambda method, url: bool(re.fullmatch(self.silent, method))))

    def unstarted(self, check: bool = False, **given: str) -> storage.GlanceStorage:
        """Without proxies, so that nobody stands between us and the process."""
        shelf, close = shelf_of(
            self.environ, reactor, self.runner, http=self.http(), retries=self.retries(), **given
        )
        return storage.GlanceStorage(shelf, self.alternate, self.runner, reactor, close, check=check)

    def stop(self) -> None:
        """Glance takes connections, and answers nothing."""
        self.silent = ".*"
        self.glance.stop()

    async def back(self) -> None:
        """Glance serves, and everything that was diverted has been moved."""
        await deferToThread(self.glance.mend)
        self.silent = ""
        await self.storage.diversion.over()
        await self.storage.moving.round()
        self.assertEqual(await self.storage.waiting(), 0)

    async def call(self, method: str, below: str, *more: Any) -> Any:
        return await deferToThread(self.repository.call, method, below, *more)


class Push:
    """One image, step by step: a layer in two chunks, a configuration whose digest comes first, the manifest.

    :ivar acknowledged: what can be asked for now, with its bytes.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.name = uuid.uuid4().hex
        self.layer, self.other = ONE + self.name.encode(), TWO + self.name.encode()
        self.manifest = manifest_of(self.layer, self.other)
        self.acknowledged: dict[str, bytes] = {}
        self._session: Any = None
        self.steps: list[Callable[[], None]] = [
            self.begin, self.first, self.second, self.end, self.direct, self.config, self.tag
        ]

    def begin(self) -> None:
        self._session = self._repository.begin()

    def first(self) -> None:
        self._session = self._repository.patch(self._session, 0, self.layer[:300_000])

    def second(self) -> None:
        self._session = self._repository.patch(self._session, 300_000, self.layer[300_000:])

    def end(self) -> None:
        self._repository.put(self._session, digest_of(self.layer)).expect(201)
        self.acknowledged[f"blobs/{digest_of(self.layer)}"] = self.layer

    def direct(self) -> None:
        self._repository.push_put(digest_of(self.other), self.other).expect(201)
        self.acknowledged[f"blobs/{digest_of(self.other)}"] = self.other

    def config(self) -> None:
        self._repository.push_post(digest_of(b"{}"), b"{}").expect(201)
        self.acknowledged[f"blobs/{digest_of(b'{}')}"] = b"{}"

    def tag(self) -> None:
        tag = f"manifests/{self.name}"
        self._repository.call("PUT", tag, self.manifest, ("Content-Type", OCI_MANIFEST)).expect(201)
        self.acknowledged[f"manifests/{digest_of(self.manifest)}"] = self.manifest
        self.acknowledged[tag] = self.manifest

    def pull(self, *statuses: int) -> None:
        """All that was acknowledged: 200 with the right bytes, or another of ``statuses``; never 404 (B1, B2, B3)."""
        for below, whole in self.acknowledged.items():
            answer = self._repository.call("GET", below, None, ("Accept", OCI_MANIFEST)).expect(200, *statuses)
            if answer.status == 200 and answer.body != whole:
                raise AssertionError(f"other bytes of {below}")
            self._repository.call("HEAD", below, None, ("Accept", OCI_MANIFEST)).expect(200, *statuses)


class EveryStepTests(OutageCase):
    async def push_with_harm(self, harm: Callable[[], None], at: int) -> None:
        push = Push(self.repository)
        for number, step in enumerate(push.steps):
            if number == at:
                await deferToThread(harm)
            await deferToThread(step)
        if at == len(push.steps):
            await deferToThread(harm)
        await deferToThread(push.pull, 503)
        await self.back()
        await deferToThread(push.pull)
        for below, whole in push.acknowledged.items():
            key = layout.blob(Digest.parse(digest_of(whole)))
            self.assertFalse(await self.is_diverted(key), below)

    async def test_stopped(self) -> None:
        """It takes connections and does not answer: before each step that it could matter to, and after the last."""
        for at in (0, 2, 3, 4, 5, 7):
            await self.push_with_harm(self.stop, at)

    async def test_killed(self) -> None:
        """Nobody is there: before what writes to Glance, and after all."""
        for at in (4, 7):
            await self.push_with_harm(self.glance.kill, at)

    async def test_keystone_killed(self) -> None:
        """A token that holds is enough; without one Glance may as well be down."""
        push = Push(self.repository)
        await self.commit(b"with a token that Glance has seen")
        await deferToThread(self.keystone_server.kill)
        await deferToThread(lambda: [step() for step in push.steps])
        self.assertFalse(self.storage.diversion.is_on)
        self.storage._shelf._images._service._access = None
        other = Push(self.repository)
        await deferToThread(lambda: [step() for step in other.steps])
        self.assertTrue(self.storage.diversion.is_on)
        await deferToThread(push.pull, 503)
        await deferToThread(other.pull, 503)
        await deferToThread(self.keystone_server.mend)
        await self.back()
        for each in (push, other):
            await deferToThread(each.pull)

    async def test_what_nobody_has(self) -> None:
        """Is told from what only Glance has: so pushes go on while it fails."""
        push = Push(self.repository)
        await deferToThread(lambda: [step() for step in push.steps])
        await deferToThread(self.glance.kill)
        answer = await self.call("GET", f"blobs/{digest_of(push.layer)}")
        answer.error(503, "UNAVAILABLE")
        self.assertEqual(answer["Retry-After"], "30")
        (await self.call("HEAD", f"blobs/{digest_of(push.layer)}")).expect(200)
        (await self.call("HEAD", f"blobs/{digest_of(b'nothing')}")).expect(404)
        status = (await deferToThread(self.plain, "GET", "/_status")).expect(200).json
        self.assertEqual((status["failures"], status["diverting"], status["to_be_moved"]), ({}, True, 0))
        # A layer that is there already is not sent again, and an image that has it is taken.
        manifest = manifest_of(push.layer, b"new")
        (await deferToThread(self.repository.push_put, digest_of(b"new"), b"new")).expect(201)
        (await self.call("PUT", "manifests/two", manifest, ("Content-Type", OCI_MANIFEST))).expect(201)
        status = (await deferToThread(self.plain, "GET", "/_status")).json
        self.assertEqual((status["diverting"], status["to_be_moved"]), (True, 2))
        await self.back()
        self.assertEqual((await self.call("GET", f"blobs/{digest_of(push.layer)}")).body, push.layer)
        self.assertEqual((await self.call("GET", "manifests/two", None, ("Accept", OCI_MANIFEST))).body, manifest)
        status = (await deferToThread(self.plain, "GET", "/_status")).json
        self.assertEqual((status["diverting"], status["since"], status["to_be_moved"]), (False, None, 0))


class MiddleTests(OutageCase):
    """In the middle of one blob."""

    async def both_ways(self, harm: Callable[[], None]) -> None:
        whole = content(1_200_000) + uuid.uuid4().hex.encode()
        key = layout.blob(Digest.of(whole))
        self.silent = "PUT"                     # the one that is on its way when it happens
        writer = await self.storage.create_direct("u", key, len(whole))
        await writer.write([whole[:400_000]])
        await deferToThread(harm)
        await writer.write([whole[400_000:800_000]])
        await writer.write([whole[800_000:]])
        await writer.commit(key)
        self.assertTrue(await self.is_diverted(key))
        self.assertEqual(await self.content(key), whole)
        await self.back()
        self.assertFalse(await self.is_diverted(key))
        self.assertEqual(await self.content(key), whole)

    async def test_while_it_comes(self) -> None:
        await self.both_ways(self.stop)
        await self.both_ways(self.glance.kill)

    async def test_while_it_is_committed(self) -> None:
        """Killed when half of the bytes were sent: the image stays `saving` for good, and is found by its age."""
        whole = content(20 << 20) + uuid.uuid4().hex.encode()
        images = self.storage._shelf._images
        upload = images.upload
        begun: list[str] = []

        async def fatal(image: str, body: Any, size: int | None = None) -> None:
            async def read() -> Any:
                counted.append(await body.read())
                if len(counted) == 10 and not begun[1:]:
                    while (await images.show(image)).status != "saving":
                        await deferLater(reactor, 0.02)
                    await deferToThread(self.glance.kill)
                return counted[-1]

            counted: list[Any] = []
            begun.append(image)
            await upload(image, Flow(read, size), size)

        self.patch(images, "upload", fatal)
        key = await self.commit(whole)
        self.assertTrue(await self.is_diverted(key))
        self.patch(images, "upload", upload)
        await self.back()
        self.assertFalse(await self.is_diverted(key))
        self.assertEqual(await self.content(key), whole)
        self.assertEqual((await images.show(begun[0])).status, "saving")
        (left,) = [each for each in await self.storage.leftovers(2e9) if each.id == f"image {begun[0]}"]
        await self.storage.remove_leftover(left)
        await self.fails(images.show(begun[0]), NotFound)

    async def test_while_it_is_moved(self) -> None:
        """It stays where it is until all of it was compared."""
        await deferToThread(self.glance.kill)
        whole = content(3 << 20) + uuid.uuid4().hex.encode()
        key = await self.commit(whole)
        await deferToThread(self.glance.mend)
        await self.storage.diversion.over()
        images = self.storage._shelf._images
        show = images.show

        async def fatal(image: str) -> Any:
            await deferToThread(self.glance.kill)
            return await show(image)

        self.patch(images, "show", fatal)
        await self.fails(self.storage.moving.round(), StoreUnavailable)
        self.assertTrue(await self.is_diverted(key))
        self.assertEqual(await self.content(key), whole)
        self.patch(images, "show", show)
        await self.back()
        self.assertFalse(await self.is_diverted(key))
        self.assertEqual(await self.content(key), whole)

    async def test_while_it_is_read(self) -> None:
        """What has begun ends early, and never looks whole; what was diverted is read on."""
        whole = content(8 << 20)
        key = await self.commit(whole)
        self.assertFalse(await self.is_diverted(key))
        reader = await self.storage.open(key)
        self.assertEqual(await reader.read(10), whole[:10])
        await deferToThread(self.glance.kill)
        got = whole[:10]
        with self.assertRaisesRegex(OutageKnown, "cannot be reached"):
            while part := await reader.read(1 << 20):
                got += part
        self.assertLess(len(got), len(whole))
        self.assertTrue(whole.startswith(got))
        reader.close()


class AlternateTests(OutageCase):
    """The alternate store is one on the network, and fails too."""

    async def setUp(self) -> None:                              # type: ignore[override]
        self.store = swift()
        await super().setUp()
        self.proxy_server = RealServer(swift_folder(), "proxy-server", self.store.port)
        self.addCleanup(deferToThread, self.proxy_server.mend)

    async def make(self, check: bool = False, **given: str) -> storage.GlanceStorage:
        place = Place(self.store.bucket, endpoint=self.store.endpoint)
        settings = Settings(place, prefix=f"{uuid.uuid4().hex}/", access_key=self.store.access_key,
                            secret_key=self.store.secret_key, part_size=5 << 20)
        self.alternate = S3Storage(settings, self.runner, reactor, retries=self.retries())
        return await super().make(check, **given)

    async def test_both(self) -> None:
        """What nobody can know is 503, and nothing that was acknowledged is lost."""
        push = Push(self.repository)
        await deferToThread(lambda: [step() for step in push.steps[:5]])
        await deferToThread(self.glance.kill)
        await deferToThread(lambda: [step() for step in push.steps[5:]])
        await deferToThread(push.pull, 503)
        for harm in (self.proxy_server.stop, self.proxy_server.kill):
            await deferToThread(harm)
            self.alternate._http.patience = Patience(first_byte=2, idle=2)
            (await self.call("GET", f"blobs/{digest_of(push.layer)}")).error(503, "UNAVAILABLE")
            (await self.call("GET", f"blobs/{digest_of(b'nothing')}")).error(503, "UNAVAILABLE")
            (await deferToThread(self.repository.push_post, digest_of(b"1"), b"1")).error(503, "UNAVAILABLE")
            await deferToThread(self.proxy_server.mend)
            self.alternate._http.patience = Patience()
            await deferToThread(push.pull, 503)
        await self.back()
        await deferToThread(push.pull)

    async def test_alternate_alone(self) -> None:
        """It fails, and Glance works: nothing is acknowledged, and it is not Glance that fails."""
        push = Push(self.repository)
        await deferToThread(lambda: [step() for step in push.steps[:4]])
        await deferToThread(self.proxy_server.kill)
        (await deferToThread(self.repository.push_post, digest_of(b"1"), b"1")).error(503, "UNAVAILABLE")
        (await self.call("GET", f"blobs/{digest_of(push.layer)}")).error(503, "UNAVAILABLE")
        self.assertFalse(self.storage.diversion.is_on)
        await deferToThread(self.proxy_server.mend)
        await deferToThread(lambda: [step() for step in push.steps[4:]])
        await deferToThread(push.pull)
        self.assertIsInstance(self.folder, Path)
