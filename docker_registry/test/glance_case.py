"""A real Glance and a real Keystone, each behind a proxy that does harm where a test wants it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater
from twisted.python.threadpool import ThreadPool

from docker_registry.deferreds import outcomes
from docker_registry.digest import Digest
from docker_registry.storage import layout
from docker_registry.storage.clouds import cloud
from docker_registry.storage.glance.images import Images, new_id
from docker_registry.storage.glance.shelf import Shelf
from docker_registry.storage.glance.storage import GlanceStorage
from docker_registry.storage.http import Http
from docker_registry.storage.keystone import Keystone, Wanted
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.retries import Retries
from docker_registry.storage.tokens import Service
from docker_registry.test.hasty import Hasty, hanging
from docker_registry.test.reactor_case import ReactorCase
from docker_registry.test.servers.faults import FaultProxy
from docker_registry.test.servers.stores import glance
from docker_registry.threads import Runner, Threads

reactor: Any = _reactor


def port_of(url: str) -> int:
    return urlsplit(url).port or 0


def shelf_of(
    environ: dict[str, str], reactor: Any, runner: Runner, *, url: str = "", http: Http | None = None,
    retries: Retries | None = None, **given: str,
) -> tuple[Shelf, Callable[[], Awaitable[None]]]:
    """Images of a project, and what gives up the connections to them.

    :param url: of Glance, if it is not the catalogue's.
    :param given: options of the login that are not as ``environ`` says.
    """
    http = http or Http(reactor)
    retries = retries or Retries(reactor)
    keystone = Keystone(http, cloud(given, environ, []).login, Wanted("image", url=url), retries)
    images = Images(Service(http, keystone, reactor, tells=False), retries, runner, http.patience)
    return Shelf(images, retries, reactor), http.close


class GlanceCase(ReactorCase):
    """:ivar environ: what leads to the servers themselves.
    :ivar proxy: before Glance.
    :ivar keystone: before Keystone.
    """

    def setUp(self) -> None:
        self.environ = self.servers()
        pool = ThreadPool(0, 8)
        pool.start()
        self.addCleanup(pool.stop)
        self.runner = Threads(reactor, pool)
        self.proxy = self.before(self.environ["OS_GLANCE_URL"])
        self.keystone = self.before(self.environ["OS_AUTH_URL"])

    def servers(self) -> dict[str, str]:
        """The variables of a login."""
        return glance()

    def before(self, url: str) -> FaultProxy:
        proxy = FaultProxy(reactor, port_of(url)).start()
        self.addCleanup(proxy.stop)
        return proxy

    @property
    def given(self) -> dict[str, str]:
        """Options of a login, through the proxy."""
        return {"auth_url": f"http://127.0.0.1:{self.keystone.port}/v3"}

    @property
    def url(self) -> str:
        """Of Glance, through the proxy."""
        return f"http://127.0.0.1:{self.proxy.port}"

    def retries(self) -> Retries:
        """Without pauses."""
        return Retries(reactor, lambda low, high: 0.0)

    def http(self) -> Http:
        """Hasty with what is going to hang."""
        return self.closed(Hasty(hanging(self.proxy, self.keystone)))

    def closed(self, http: Http) -> Http:
        """``http``, until the test ends."""
        self.addCleanup(self.close_http, http)
        return http

    def images(self, url: str = "", **given: str) -> Images:
        """:param url: of Glance, if it is not to be asked through the proxy.
        :param given: other options of the login.
        """
        http = self.http()
        login = cloud({**self.given, **given}, self.environ, []).login
        wanted = Wanted("image", url=url or self.url)
        service = Service(http, Keystone(http, login, wanted, self.retries()), reactor)
        return Images(service, self.retries(), self.runner, http.patience)

    async def close_http(self, http: Http) -> None:
        await deferLater(reactor, 0)            # whoever received the last bytes is still in the middle of it
        await http.close()

    async def fails(self, work: Awaitable[Any], error: type[Exception]) -> str:
        """The text of that error."""
        return str(await super().fails(work, error))

    def new_image(self, images: Images) -> str:
        """An id whose image is deleted when the test ends."""
        image = new_id()
        self.addCleanup(self._delete, images, image)
        return image

    async def _delete(self, images: Images, image: str) -> None:
        self.proxy.rules.clear()
        await images.delete(image)


class GlanceStorageCase(GlanceCase):
    """:ivar alternate: a directory; put another store there before `make`.
    :ivar storage: over it and Glance, through the proxies.
    """

    async def setUp(self) -> None:              # type: ignore[override]
        super().setUp()
        self.folder = Path(self.mktemp())
        self.alternate: Any = LocalStorage(self.folder, self.runner, reactor, sync=False)
        self.storage = await self.make()

    async def make(self, check: bool = False, **given: str) -> GlanceStorage:
        storage = self.unstarted(check, **given)
        await storage.start()
        self.addCleanup(self.close, storage)
        return storage

    def unstarted(self, check: bool = False, **given: str) -> GlanceStorage:
        """It does not wait between two tries, and not for long for an answer that does not come."""
        given = {**self.given, "url": self.url, **given}
        shelf, close = shelf_of(
            self.environ, reactor, self.runner, http=self.http(), retries=self.retries(), **given
        )
        return GlanceStorage(shelf, self.alternate, self.runner, reactor, close, check=check)

    async def close(self, storage: GlanceStorage) -> None:
        await deferLater(reactor, 0)            # whoever received the last bytes is still in the middle of it
        await storage.close()

    async def commit(self, whole: bytes, storage: GlanceStorage | None = None) -> str:
        """Written as a client does that names the digest at the end; the key."""
        store = storage or self.storage
        writer = await store.create("images/_uploads/x")
        for at in range(0, len(whole), 300_000):
            await writer.write([whole[at : at + 300_000]])
        key = layout.blob(Digest.of(whole))
        await writer.commit(key)
        return key

    async def direct(self, whole: bytes) -> str:
        """Written as a client does that names it first; the key."""
        key = layout.blob(Digest.of(whole))
        writer = await self.storage.create_direct("images/_uploads/y", key, len(whole))
        for at in range(0, len(whole), 300_000):
            await writer.write([whole[at : at + 300_000]])
        await writer.commit(key)
        return key

    async def content(self, key: str, storage: GlanceStorage | None = None) -> bytes:
        reader = await (storage or self.storage).open(key)
        parts = []
        while part := await reader.read(100_000):
            parts.append(part)
        reader.close()
        return b"".join(parts)

    async def image_of(self, key: str) -> str:
        """Which holds what is at ``key``."""
        found = await self.storage.records.find(key)
        assert found is not None
        return found[0].image

    async def is_diverted(self, key: str) -> bool:
        """Whether it lies in the alternate store, and is marked."""
        (found,) = await outcomes(self.alternate.stat(key))
        marks = [mark.key async for mark in self.storage.records.marks()]
        assert isinstance(found, Exception) == (key not in marks), (found, marks)
        return key in marks

    async def until(self, true: Callable[[], object]) -> None:
        """Wait for something that is about to happen."""
        while not true():
            await deferLater(reactor, 0.02)
