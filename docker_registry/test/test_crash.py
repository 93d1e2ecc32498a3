"""A push, a tag that moves, a deletion: the process is killed, and the power cut, at each step (B1-B8, C1-C3)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.digest import Digest
from docker_registry.errors import BlobUnknown, ManifestUnknown, UploadUnknown
from docker_registry.names import Tag, UploadId
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.registry.uploads import Chunk
from docker_registry.storage import layout
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.root import QUARANTINE, TMP
from docker_registry.storage.system import System
from docker_registry.test.crash import DyingSystem, Killed
from docker_registry.test.registry_case import LATEST, REPOSITORY, Direct, Parts, RegistryCase

LAYERS = (b"first layer" * 1000, b"second layer" * 1000)
CONFIG = b"{}"


class Acknowledged:
    """What a client was told is done."""

    def __init__(self) -> None:
        self.blobs: set[bytes] = set()
        self.manifests: set[bytes] = set()
        self.tag: list[bytes | None] = [None]       # what it may be: after an attempt nobody answered, either
        self.sessions: dict[UploadId, tuple[bytes, int]] = {}
        self.closing: dict[UploadId, tuple[bytes, int]] = {}
        self.deleted: set[bytes] = set()


class CrashTests(SynchronousTestCase):
    timeout = 300

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(int(time.time()))
        self.base = Path(self.mktemp())
        self.base.mkdir(parents=True)
        first, second = (self.manifest(layers) for layers in (LAYERS, LAYERS[:1]))
        self.first, self.second = first, second

    def manifest(self, layers: tuple[bytes, ...]) -> bytes:
        """As `RegistryCase.image` makes it, over a registry of its own."""
        case = RegistryCase("image")
        case.setUp()
        return case.image(*layers)

    def start(self, root: Path, system: System) -> tuple[LocalStorage, Registry]:
        storage = LocalStorage(root, Direct(), self.clock, system=system)
        self.successResultOf(storage.start())
        return storage, Registry(storage, Direct(), self.clock, Settings(), self.clock.seconds)

    async def script(self, registry: Registry, done: Acknowledged) -> None:
        """As docker pushes, then as containerd does, then a tag that moves, then deletions."""
        for content in (*LAYERS, CONFIG):
            upload = await registry.uploads.start(REPOSITORY)
            done.sessions[upload] = content, 0
            half = len(content) // 2
            *parts, last = content[:half], content[half:], *([b""] if content == LAYERS[0] else [])
            for part in parts:
                offset = await registry.uploads.append(REPOSITORY, upload, Parts(part), Chunk())
                done.sessions[upload] = content, offset
            done.closing[upload] = done.sessions.pop(upload)    # from here on it may be gone, or still be there
            await registry.uploads.finish(REPOSITORY, upload, Digest.of(content), Parts(last), Chunk())
            del done.closing[upload]
            done.blobs.add(content)
        await registry.uploads.take(REPOSITORY, Digest.of(CONFIG), Parts(CONFIG), Chunk())
        for content in (self.first, self.second):
            done.tag.append(content)
            await registry.manifests.put(REPOSITORY, LATEST, content, None)
            done.manifests.add(content)
            done.tag = [content]
        done.tag.append(None)
        await registry.manifests.untag(REPOSITORY, LATEST)
        done.tag = [None]
        done.manifests.discard(self.second)
        await registry.manifests.delete(REPOSITORY, Digest.of(self.second))
        done.deleted.add(self.second)

    def check(self, root: Path, done: Acknowledged, number: int) -> None:
        label = str(number)
        storage, registry = self.start(root, System())

        def run(work: Any) -> Any:
            return self.successResultOf(Deferred.fromCoroutine(work))

        async def found(work: Any, *absent: type[Exception]) -> Any:
            try:
                return await work
            except absent:
                return None

        for content in done.blobs:
            self.assertEqual(run(registry.blobs.size(REPOSITORY, Digest.of(content))), len(content), label)
        for content in (*LAYERS, CONFIG):
            reader = run(found(registry.blobs.open(REPOSITORY, Digest.of(content)), BlobUnknown))
            if reader is not None:
                self.assertEqual(self.successResultOf(reader.read(1 << 20)), content, label)
        for upload, (content, offset) in done.closing.items():
            held = run(found(registry.uploads.offset(REPOSITORY, upload), UploadUnknown))
            if not held and offset:             # its bytes have become the blob
                size = self.successResultOf(storage.stat(layout.blob(Digest.of(content)))).size
                self.assertEqual(size, len(content), label)
            else:
                self.assertGreaterEqual(held, offset, label)
        for content in (self.first, self.second):
            manifest = run(found(registry.manifests.get(REPOSITORY, Digest.of(content)), ManifestUnknown))
            if content in done.manifests or manifest is not None:
                self.assertEqual(manifest and manifest.content, content, label)
                for each in manifest.document.blobs:
                    self.assertEqual(run(registry.blobs.size(REPOSITORY, each.digest)), each.size, label)
        tagged = run(found(registry.manifests.get(REPOSITORY, LATEST), ManifestUnknown))
        self.assertIn(tagged and tagged.content, done.tag, label)
        names = run(registry.tags.page(REPOSITORY, "", 10))
        self.assertEqual(names, ["latest"] if tagged else [], label)
        for upload, (content, offset) in done.sessions.items():
            held = run(registry.uploads.offset(REPOSITORY, upload))
            self.assertGreaterEqual(held, offset, label)
            run(registry.uploads.finish(REPOSITORY, upload, Digest.of(content), Parts(content[held:]), Chunk()))
        self.assertEqual(list((root / TMP).iterdir()), [], label)
        self.assertEqual(list((root / QUARANTINE).iterdir()), [], label)
        if number % 5 == 0:
            run(self.script(registry, Acknowledged()))
            run(registry.manifests.put(REPOSITORY, Tag("again"), self.first, None))
            self.assertEqual(run(registry.manifests.get(REPOSITORY, Tag("again"))).content, self.first, label)
        self.successResultOf(storage.close())

    def crash(self, cut_power: bool) -> int:
        number = 0
        while True:
            number += 1
            root = self.base / f"{number}-{cut_power}"
            self.successResultOf(self.start(root, System())[0].close())
            system = DyingSystem(self.base / f"{number}-{cut_power}-old")
            storage, registry = self.start(root, system)
            system.calls, system._last = 0, number
            done = Acknowledged()
            running = Deferred.fromCoroutine(self.script(registry, done))
            self.successResultOf(storage.close())   # the kernel closes what a dead process had open
            if not running.called or isinstance(running.result, Exception):
                self.fail(f"neither killed nor done: {running.result}")
            failure = self.survivedOr(running)
            if failure is None:
                return number
            if cut_power:
                system.cut_power()
            self.check(root, done, number)

    def survivedOr(self, running: Deferred[None]) -> object:
        outcome: list[object] = []
        running.addCallbacks(lambda _: outcome.append(None), lambda failure: outcome.append(failure))
        (failure,) = outcome
        if failure is not None:
            failure.trap(Killed)                    # type: ignore[attr-defined]
        return failure

    def test_killed_at_every_step(self) -> None:
        self.assertGreater(self.crash(cut_power=False), 100)

    def test_power_cut_at_every_step(self) -> None:
        self.assertGreater(self.crash(cut_power=True), 100)
