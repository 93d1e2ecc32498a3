"""The catalogue of a bucket that several machines write to."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from docker_registry.digest import Digest
from docker_registry.names import Repository
from docker_registry.registry import rounds
from docker_registry.registry.catalogue import Mark
from docker_registry.registry.descriptions import KEY
from docker_registry.registry.documents import OCI_MANIFEST
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.registry.uploads import Chunk
from docker_registry.test.registry_case import LATEST, Parts
from docker_registry.test.s3_case import S3FaultCase, reactor


class CatalogueTests(S3FaultCase):
    def open(self, refresh: float = 0.0) -> Registry:
        """One of the machines."""
        cache = Path(self.mktemp()).absolute()
        settings = Settings(catalogue_refresh=refresh)
        registry = Registry(self.make(), self.runner, reactor, settings, time.time, cache=cache)
        self.addCleanup(registry.close)
        self.addCleanup(registry.stop)
        return registry

    def next_round(self, registry: Registry) -> Deferred[None]:
        """Fires when the store has been read to its end."""
        done: Deferred[None] = Deferred()
        vouch = registry.catalogue.vouch

        def vouched(mark: Mark) -> None:
            vouch(mark)
            registry.catalogue.vouch = vouch                    # type: ignore[method-assign]
            reactor.callLater(0, done.callback, None)

        registry.catalogue.vouch = vouched                      # type: ignore[method-assign]
        return done

    async def push(self, registry: Registry, name: str) -> None:
        repository, config = Repository(name), b"{}"
        digest = Digest.of(config)
        await registry.uploads.take(repository, digest, Parts(config), Chunk())
        described = {"mediaType": "application/octet-stream", "digest": str(digest), "size": len(config)}
        manifest: dict[str, Any] = {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": [],
            "annotations": {KEY: f"{name}, as others see it"},
        }
        await registry.manifests.put(repository, LATEST, json.dumps(manifest).encode(), None)

    async def names(self, registry: Registry) -> list[str]:
        return [each.name for each in await registry.catalogue.page("", 100)]

    async def found(self, registry: Registry) -> list[tuple[str, str]]:
        found = await registry.catalogue.search("OTHERS", 1, 10)
        return [(each.name, each.description) for each in found.entries]

    async def test_two_machines(self) -> None:
        """Each knows at once what it was told itself, and what the other was told after its next round. Between two of
        them listings and searches ask the bucket for nothing."""
        self.patch(rounds, "CHECK", 0.05)
        first, second = self.open(refresh=0.3), self.open()
        await self.push(first, "before")
        for each in (first, second):
            done = self.next_round(each)
            each.start(periodic=False)
            await done
        await self.push(second, "app")
        self.calls()
        self.assertEqual(await self.names(second), ["app", "before"])
        self.assertEqual(await self.found(second), [(name, f"{name}, as others see it") for name in ("app", "before")])
        await self.next_round(first)
        await self.next_round(first)
        self.assertEqual(await self.found(first), await self.found(second))
        await second.manifests.delete_all(Repository("before"))
        self.assertEqual(await self.names(second), ["app"])
        await self.next_round(first)
        await self.next_round(first)
        first.stop()
        second.stop()
        self.calls()
        self.assertEqual(await self.names(first), ["app"])
        self.assertEqual(await self.found(first), [("app", "app, as others see it")])
        self.assertEqual(self.calls(), [])

    async def test_the_bucket_fails(self) -> None:
        """The round that failed is tried again."""
        self.patch(rounds, "CHECK", 0.05)
        self.patch(rounds, "RETRY", 0.1)
        registry = self.open(refresh=0.2)
        await self.push(registry, "app")
        done = self.next_round(registry)
        registry.start(periodic=False)
        await done
        await self.push(registry, "later")
        rule = self.proxy.add(method="GET", target="list-type", status=403, body=b"", times=1)
        with capturedLogs() as events:
            await self.next_round(registry)
        self.assertEqual((rule.met, self.mailed(events)), (1, {"login refused"}))
        self.assertEqual(await self.names(registry), ["app", "later"])
