"""A registry whose catalogue a test lets read the store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docker_registry.digest import Digest
from docker_registry.names import Repository, Tag
from docker_registry.registry.bridge import CONFIG
from docker_registry.registry.descriptions import KEY
from docker_registry.registry.documents import DOCKER_MANIFEST
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.test.registry_case import LATEST, Direct
from docker_registry.test.test_images import ImageCase


class CatalogueCase(ImageCase):
    """:ivar cache: where the catalogues of all registries of a test lie; ``None`` is in memory, each its own."""

    cache: Path | None = None

    def open(self, storage: Any = None, settings: Settings | None = None) -> Registry:
        storage, settings = storage or self.storage, settings or self.settings
        return Registry(storage, Direct(), self.clock, settings, self.clock.seconds, cache=self.cache)

    def complete(self, registry: Registry | None = None) -> Registry:
        """A registry that has started, and has read the store."""
        registry = registry or self.registry
        registry.start()
        self.addCleanup(registry.stop)
        self.wait(registry)
        return registry

    def wait(self, registry: Registry | None = None, seconds: int = 1000) -> None:
        """Until the catalogue is complete."""
        registry = registry or self.registry
        for _ in range(seconds):
            if registry.catalogue.is_complete:
                return
            self.clock.advance(1)
        self.fail("the catalogue is not complete")

    def names(self, registry: Registry | None = None) -> list[str]:
        found = self.now((registry or self.registry).catalogue.page("", 1000))
        return [each.name for each in found]

    def search(
        self, term: str, page: int = 1, count: int = 100, registry: Registry | None = None
    ) -> list[tuple[str, str]]:
        found = self.now((registry or self.registry).catalogue.search(term, page, count))
        return [(each.name, each.description) for each in found.entries]

    def put(
        self, name: str, description: str | None = None, tag: Tag = LATEST, label: str | None = None,
        registry: Registry | None = None,
    ) -> Digest:
        """Push an image that says something of itself."""
        repository = Repository.parse(name)
        config: dict[str, Any] = {"config": {"Labels": {KEY: label}}} if label is not None else {}
        manifest: dict[str, Any] = {
            "schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "layers": [self.describe(b"layer", repository)],
            "config": {**self.describe(json.dumps(config).encode(), repository), "mediaType": CONFIG},
        }
        if description is not None:
            manifest["annotations"] = {KEY: description}
        content = json.dumps(manifest).encode()
        pushing = (registry or self.registry).manifests.put(repository, tag, content, None)
        return self.now(pushing).digest
