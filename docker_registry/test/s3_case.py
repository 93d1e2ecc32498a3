"""A bucket behind a proxy that sees every request, and does harm where a test wants it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Any

from docker_registry.storage.retries import Retries
from docker_registry.storage.s3.settings import Place, Settings
from docker_registry.storage.s3.storage import S3Storage
from docker_registry.test.object_case import MIB, SHORT, ObjectCase, reactor
from docker_registry.test.servers.stores import Store, moto

__all__ = ["MIB", "PART", "SHORT", "S3FaultCase", "reactor", "settings"]

PART = 5 * MIB


def settings(store: Store, **more: Any) -> Settings:
    """Of a prefix that nobody has used."""
    return Settings(
        Place(store.bucket, endpoint=more.pop("endpoint", store.endpoint)),
        **{"prefix": f"{uuid.uuid4().hex}/", "part_size": PART, **more},
        access_key=store.access_key, secret_key=store.secret_key,
    )


class S3FaultCase(ObjectCase):
    """:ivar store: what is behind the proxy."""

    store: Callable[[], Store] = staticmethod(moto)
    storage: S3Storage

    def setUp(self) -> None:
        store = type(self).store()
        self.begin(store.port)
        self.settings = settings(store, endpoint=f"http://127.0.0.1:{self.proxy.port}")
        self.storage = self.make()

    def make(self, **options: Any) -> S3Storage:
        """Another one over the same prefix; it does not wait between two tries."""
        changed = options.pop("settings", self.settings)
        retries = Retries(reactor, lambda low, high: 0.0)
        storage = S3Storage(changed, self.runner, reactor, **{"retries": retries, **options})
        self.addCleanup(self.close, storage)
        return storage

    def patch_environ(self, name: str, value: str | None) -> None:
        """:param value: ``None`` if there is to be none."""
        before = os.environ.get(name)
        self.addCleanup(lambda: os.environ.pop(name, None) if before is None else os.environ.update({name: before}))
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

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
