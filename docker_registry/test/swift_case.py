"""A container of Swift behind a proxy that sees every request, and does harm where a test wants it."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from docker_registry.storage.http import Http
from docker_registry.storage.retries import Retries
from docker_registry.storage.swift import large
from docker_registry.storage.swift.login import V1, V1Login
from docker_registry.storage.swift.settings import Settings
from docker_registry.storage.swift.storage import SwiftStorage
from docker_registry.test.object_case import MIB, ObjectCase, reactor
from docker_registry.test.servers.stores import Container, container

__all__ = ["MIB", "SEGMENT", "SwiftFaultCase", "reactor", "settings"]

SEGMENT = 2 * MIB


def settings(store: Container, **more: Any) -> Settings:
    """Of a prefix that nobody has used."""
    return Settings(store.name, **{"prefix": f"{uuid.uuid4().hex}/", "segment_size": SEGMENT, **more})


class SwiftFaultCase(ObjectCase):
    """:ivar store: what is behind the proxy."""

    storage: SwiftStorage
    segment_size = SEGMENT

    def setUp(self) -> None:
        self.store = container()
        self.begin(self.store.port)
        self.settings = settings(self.store, segment_size=self.segment_size)
        self.storage = self.make()

    def make(self, http: Http | None = None, **options: Any) -> SwiftStorage:
        """Another one over the same prefix."""
        settings = options.pop("settings", self.settings)
        retries = options.setdefault("retries", Retries(reactor, lambda low, high: 0.0))
        http, port = http or Http(reactor), self.proxy.port
        login = V1Login(self.store.at(self.store.auth_url, port), self.store.user, options.pop("key", self.store.key))
        log_in = V1(http, login, retries, self.store.at(self.store.url, port))
        storage = SwiftStorage(settings, log_in, http, self.runner, reactor, **options)
        self.addCleanup(self.close, storage)
        return storage

    def takes(self, most: int) -> None:
        """Have the store say that it takes so many segments in one list."""
        self.patch(large, "FEW", most)
        self.proxy.add(target="^/info$", status=200, body=json.dumps({"slo": {"max_manifest_segments": most}}).encode())

    def calls(self) -> list[str]:
        """What was asked since the last call of this, each as method, key below the prefix, and names of the query."""
        asked, self.proxy.asked[:] = list(self.proxy.asked), []
        found = []
        for each in asked:
            path, _, query = each.target.partition("?")
            if path.startswith("/auth/"):
                continue
            key = path.partition(self.settings.prefix)[2]
            key = re.sub(r"[0-9a-f]{32}-[0-9a-f]+", "GROUP", key)
            names = [field.partition("=")[0] for field in query.split("&") if field]
            found.append(" ".join([each.method, key, *names]).replace("  ", " "))
        return found
