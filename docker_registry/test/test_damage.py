"""Every file of a store, damaged in turn: what is asked for is whole or unknown, and a new push heals it (B8, C7)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from docker_registry.digest import Digest
from docker_registry.errors import BlobUnknown, ManifestBlobUnknown, ManifestUnknown
from docker_registry.names import Tag
from docker_registry.registry.registry import Registry
from docker_registry.registry.uploads import Chunk
from docker_registry.storage.local import LocalStorage
from docker_registry.test.registry_case import LATEST, REPOSITORY, Direct, Parts, RegistryCase, index

LAYER = b"layer" * 1000
ALL = Tag("all")


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def turn_to_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut to nothing": lambda path: os.truncate(path, 0),
    "cut by a byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "longer by a byte": grow,
    "gone": Path.unlink,
    "a directory": turn_to_directory,
}


class DamageTests(RegistryCase):
    def setUp(self) -> None:
        super().setUp()
        self.content = self.image(LAYER)
        self.index = index(self.content)

    def start(self, root: Path) -> tuple[LocalStorage, Registry]:
        storage = LocalStorage(root, Direct(), self.clock, sync=False)
        self.successResultOf(storage.start())
        return storage, Registry(storage, Direct(), self.clock, self.settings, self.clock.seconds)

    def push_all(self, registry: Registry) -> None:
        """As clients do: what is there is not sent again."""
        for blob in (LAYER, b"{}"):
            digest = Digest.of(blob)
            if self.found(registry.blobs.size(REPOSITORY, digest), BlobUnknown) is None:
                self.now(registry.uploads.take(REPOSITORY, digest, Parts(blob), Chunk()))
        self.now(registry.manifests.put(REPOSITORY, LATEST, self.content, None))
        self.now(registry.manifests.put(REPOSITORY, ALL, self.index, None))

    def found(self, work: Any, *unknown: type[Exception]) -> Any:
        """What ``work`` comes to, ``None`` if that is not known."""
        outcome: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(outcome.append)
        (result,) = outcome
        if not isinstance(result, Failure):
            return result
        result.trap(*unknown)
        return None

    def check(self, registry: Registry, label: str) -> None:
        for reference, content in ((LATEST, self.content), (ALL, self.index)):
            for each in (reference, Digest.of(content)):
                manifest = self.found(registry.manifests.get(REPOSITORY, each), ManifestUnknown)
                self.assertIn(manifest and manifest.content, (content, None), label)
        for blob in (LAYER, b"{}"):
            reader = self.found(registry.blobs.open(REPOSITORY, Digest.of(blob)), BlobUnknown)
            if reader is not None:
                self.assertEqual(self.successResultOf(reader.read(10_000)), blob, label)
                reader.close()
        self.now(registry.tags.page(REPOSITORY, "", 10))
        self.now(registry.catalogue.page("", 10))
        self.now(registry.referrers.page(REPOSITORY, Digest.of(self.content), "", 10))

    def test_every_file(self) -> None:
        sound = Path(self.mktemp())
        storage, registry = self.start(sound)
        self.push_all(registry)
        self.successResultOf(storage.close())
        files = [path.relative_to(sound) for path in sorted(sound.rglob("docker/**/*")) if path.is_file()]
        self.assertGreater(len(files), 10)
        for file in files:
            for name, damage in DAMAGES.items():
                label = f"{file} {name}"
                root = Path(self.mktemp())
                shutil.copytree(sound, root)        # with the attributes of its files
                damage(root / file)
                storage, registry = self.start(root)
                self.check(registry, label)
                self.found(registry.manifests.put(REPOSITORY, ALL, self.index, None), ManifestBlobUnknown)
                self.push_all(registry)
                for reference, content in ((LATEST, self.content), (ALL, self.index)):
                    self.assertEqual(self.now(registry.manifests.get(REPOSITORY, reference)).content, content, label)
                self.now(registry.manifests.delete(REPOSITORY, Digest.of(self.content)))
                self.successResultOf(storage.close())
