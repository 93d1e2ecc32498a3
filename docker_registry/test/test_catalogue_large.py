"""100 000 tags in 2 000 repositories: a page costs the store nothing, and they are read beside everything else."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, succeed

from docker_registry.digest import Digest
from docker_registry.names import Repository
from docker_registry.registry.descriptions import KEY
from docker_registry.registry.documents import OCI_INDEX
from docker_registry.storage import layout
from docker_registry.storage.interface import Entry, Stat
from docker_registry.storage.memory import MemoryStorage
from docker_registry.test.catalogue_case import CatalogueCase

REPOSITORIES, TAGS = 2000, 50

NAMES = [f"app{number:04}" for number in range(REPOSITORIES)]
TAG_NAMES = sorted(["latest", *(f"1.{number}" for number in range(TAGS - 1))])
INDEX = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": {KEY: "said"}}).encode()


class Large(MemoryStorage):
    """A store that has so many repositories without keeping them: each of them with the same tags of the same index.

    :ivar calls: how often it was asked, and for what.
    """

    def __init__(self, clock: Any) -> None:
        super().__init__(clock)
        self.calls: Counter[str] = Counter()
        self._link = str(Digest.of(INDEX)).encode()
        self._stat = Stat(len(self._link), clock.seconds())

    def list(self, prefix: str, after: str = "", limit: int = 1000) -> Deferred[list[Entry]]:
        self.calls["list"] += 1
        below = prefix.removeprefix(layout.REPOSITORIES).strip("/").split("/")
        names: list[str] = []
        if prefix == layout.REPOSITORIES:
            names = NAMES
        elif prefix.startswith(layout.REPOSITORIES) and len(below) > 1 and below[0] in NAMES:
            names = {"_manifests": ["revisions", "tags"], "_manifests/tags": TAG_NAMES}.get("/".join(below[1:]), [])
        return succeed([Entry(name, True) for name in names if name > after][:limit])

    def stat(self, key: str) -> Deferred[Stat]:
        self.calls["stat"] += 1
        return succeed(self._stat) if self._is_link(key) else super().stat(key)

    def get(self, key: str) -> Deferred[bytes]:
        self.calls["get"] += 1
        if self._is_link(key):
            return succeed(self._link)
        return succeed(INDEX) if key == layout.blob(Digest.of(INDEX)) else super().get(key)

    def _is_link(self, key: str) -> bool:
        return key.endswith("/current/link")


class LargeTests(CatalogueCase):
    timeout = 120

    def setUp(self) -> None:
        super().setUp()
        self.large = Large(self.clock)

    def test_pages(self) -> None:
        """None of them asks the store, and each is as long as it may be."""
        registry = self.open(self.large)
        registry.start()
        self.addCleanup(registry.stop)
        self.assertFalse(registry.catalogue.is_complete, "it has let others have their turn")
        self.assertLess(self.large.calls["stat"], 2 * TAGS)
        self.wait(registry)
        self.large.calls.clear()
        found = self.now(registry.catalogue.page("app1234", 100))
        self.assertEqual([each.name for each in found], NAMES[1235:1335])
        result = self.now(registry.catalogue.search("SAID", 7, 100))
        self.assertEqual((result.total, [each.name for each in result.entries]), (REPOSITORIES, NAMES[600:700]))
        record = self.now(registry.catalogue.repository(Repository("app1999")))
        assert record is not None
        self.assertEqual((record.tags, record.description), (TAGS, "said"))
        self.assertEqual(self.large.calls, Counter())
