"""Every file of a store, damaged in turn: what is asked for is whole or unknown, and a new push heals it (B8, C7)."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from docker_registry.digest import Digest
from docker_registry.errors import BlobUnknown, ManifestBlobUnknown, ManifestUnknown, StorageFailed
from docker_registry.names import Tag
from docker_registry.registry.documents import OCI_MANIFEST
from docker_registry.registry.registry import Registry
from docker_registry.registry.uploads import Chunk
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.root import QUARANTINE
from docker_registry.storage.system import System
from docker_registry.test.registry_case import LATEST, OTHER, REPOSITORY, Direct, Parts, RegistryCase, index

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
        subject = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(self.content)), "size": len(self.content)}
        self.signature = self.image(subject=subject)

    def start(self, root: Path, system: System | None = None) -> tuple[LocalStorage, Registry]:
        storage = LocalStorage(root, Direct(), self.clock, sync=False, system=system, cached=system is None)
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
        self.now(registry.manifests.put(REPOSITORY, Digest.of(self.signature), self.signature, None))

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
        references = (LATEST, self.content), (ALL, self.index), (Digest.of(self.signature), self.signature)
        for reference, content in references:
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
        referrer = self.now(registry.referrers.find(REPOSITORY, Digest.of(self.content)).next())
        self.assertIn(referrer and referrer.digest, (Digest.of(self.signature), None), label)

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
                kept = len(list((root / QUARANTINE).iterdir()))
                self.assertEqual(kept, file.name == "data" and name != "gone", label)
                self.found(registry.manifests.put(REPOSITORY, ALL, self.index, None), ManifestBlobUnknown)
                self.push_all(registry)
                for reference, content in ((LATEST, self.content), (ALL, self.index)):
                    self.assertEqual(self.now(registry.manifests.get(REPOSITORY, reference)).content, content, label)
                self.now(registry.manifests.delete(REPOSITORY, Digest.of(self.content)))
                self.successResultOf(storage.close())

    def test_disk_that_fails(self) -> None:
        """What cannot be read is no reason to say that it is not there: caches and clients would believe it (C6)."""
        failing: set[str] = set()

        def before(call: str, subject: str) -> None:
            if call == "open" and any(each in subject for each in failing):
                raise OSError(errno.EIO, "Input/output error")

        storage, registry = self.start(Path(self.mktemp()), System(before))
        self.push_all(registry)
        upload = self.now(registry.uploads.start(REPOSITORY))
        layer, content = Digest.of(LAYER), Digest.of(self.content)
        for broken in ("/link", "/data", ".state"):
            failing.add(broken)
            for name, work in {
                "blob": registry.blobs.size(REPOSITORY, layer),
                "open blob": registry.blobs.open(REPOSITORY, layer),
                "mount": registry.blobs.mount(OTHER, layer, REPOSITORY),
                "tag": registry.manifests.get(REPOSITORY, LATEST),
                "manifest": self.open_again(storage).manifests.get(REPOSITORY, content),
                "push": registry.manifests.put(REPOSITORY, LATEST, self.content, None),
                "referrers": self.open_again(storage).referrers.find(REPOSITORY, content).next(),
                "upload": registry.uploads.offset(REPOSITORY, upload),
                "delete": registry.manifests.delete(REPOSITORY, content),
            }.items():
                if broken in NEEDED[name]:
                    self.fails(work, StorageFailed)
                else:
                    work.close()
            failing.clear()
        self.check(registry, "healed")
        self.successResultOf(storage.close())

    def open_again(self, storage: LocalStorage) -> Registry:
        """Without what is remembered."""
        return Registry(storage, Direct(), self.clock, self.settings, self.clock.seconds)


NEEDED = {
    "blob": ("/link", "/data"),
    "open blob": ("/link", "/data"),
    "mount": ("/link", "/data"),
    "tag": ("/link",),
    "manifest": ("/link", "/data"),
    "push": ("/link", "/data"),
    "referrers": ("/link", "/data"),
    "upload": (".state",),
    "delete": ("/link",),
}
"""What of the store must be read for an answer."""
