"""A bucket behind a proxy that sees every request, and does harm where a test wants it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase

from docker_registry.storage.http import Patience
from docker_registry.storage.retries import Retries
from docker_registry.storage.s3.settings import Place, Settings
from docker_registry.storage.s3.storage import S3Storage
from docker_registry.test.servers.faults import FaultProxy
from docker_registry.test.servers.stores import Store, moto
from docker_registry.threads import Threads

reactor: Any = _reactor

MIB = 1 << 20
PART = 5 * MIB
SHORT = Patience(connect=0.3, first_byte=0.3, idle=0.3)


def settings(store: Store, **more: Any) -> Settings:
    """Of a prefix that nobody has used."""
    return Settings(
        Place(store.bucket, endpoint=more.pop("endpoint", store.endpoint)),
        **{"prefix": f"{uuid.uuid4().hex}/", "part_size": PART, **more},
        access_key=store.access_key, secret_key=store.secret_key,
    )


class S3FaultCase(TestCase):
    """:ivar store: what is behind the proxy.
    :ivar proxy: between the store and `storage`.
    """

    timeout = 60
    store: Callable[[], Store] = staticmethod(moto)

    def setUp(self) -> None:
        pool = ThreadPool(0, 4)
        pool.start()
        self.addCleanup(pool.stop)
        self.runner = Threads(reactor, pool)
        store = type(self).store()
        self.proxy = FaultProxy(reactor, store.port).start()
        self.addCleanup(self.proxy.stop)
        self.settings = settings(store, endpoint=f"http://127.0.0.1:{self.proxy.port}")
        self.storage = self.make()

    def make(self, **options: Any) -> S3Storage:
        """Another one over the same prefix; it does not wait between two tries."""
        changed = options.pop("settings", self.settings)
        retries = Retries(reactor, lambda low, high: 0.0)
        storage = S3Storage(changed, self.runner, reactor, **{"retries": retries, **options})
        self.addCleanup(self.close, storage)
        return storage

    async def close(self, storage: S3Storage) -> None:
        await deferLater(reactor, 0)            # whoever received the last bytes is still in the middle of it
        await storage.close()

    async def fails(self, work: Deferred[Any] | Coroutine[Deferred[Any], Any, Any], error: type[Exception]) -> Any:
        """The error that ``work`` ends with."""
        try:
            await work
        except error as raised:
            return raised
        raise AssertionError(f"no {error.__name__}")

    async def content(self, key: str, storage: S3Storage | None = None) -> bytes:
        """Of an object, or of an upload that is not finished."""
        reader = await (storage or self.storage).open(key)
        parts = []
        while part := await reader.read(MIB):
            parts.append(part)
        reader.close()
        return b"".join(parts)

    def calls(self) -> list[str]:
        """What was asked since the last call of this, each as method, key below the prefix, and names of the query."""
        asked, self.proxy.asked[:] = list(self.proxy.asked), []
        found = []
        for each in asked:
            path, _, query = each.target.partition("?")
            key = path.partition(self.settings.prefix)[2]
            names = [field.partition("=")[0] for field in query.split("&") if field]
            if "x-amz-copy-source" in each.headers:
                names.append("copy")
            found.append(" ".join([each.method, key, *names]).replace("  ", " "))
        return found
