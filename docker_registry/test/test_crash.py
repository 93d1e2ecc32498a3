"""A push, a tag that moves, a deletion: the process is killed, and the power cut, at each step (B1-B8, C1-C3)."""

from __future__ import annotations

from docker_registry.digest import Digest
from docker_registry.errors import BlobUnknown, ManifestUnknown, UploadUnknown
from docker_registry.names import Tag, UploadId
from docker_registry.registry import arriving
from docker_registry.registry.registry import Registry
from docker_registry.registry.uploads import Chunk
from docker_registry.storage import layout
from docker_registry.test.crash_case import CrashCase, found
from docker_registry.test.registry_case import LATEST, REPOSITORY, Parts, RegistryCase
from docker_registry.test.test_documents import DIGEST, descriptor, encoded, index

LAYERS = (b"first layer" * 1000, b"second layer" * 1000)
CONFIG = b"{}"
SIGNATURE, OTHER_MANIFEST = encoded(index(manifests=[], subject=descriptor())), encoded(index(manifests=[]))


class Acknowledged:
    """What a client was told is done."""

    def __init__(self) -> None:
        self.blobs: set[bytes] = set()
        self.manifests: set[bytes] = set()
        self.tag: list[bytes | None] = [None]       # what it may be: after an attempt nobody answered, either
        self.sessions: dict[UploadId, tuple[bytes, int]] = {}
        self.closing: dict[UploadId, tuple[bytes, int]] = {}
        self.deleted: set[bytes] = set()


class CrashTests(CrashCase):
    def setUp(self) -> None:
        super().setUp()
        first, second = (self.manifest(layers) for layers in (LAYERS, LAYERS[:1]))
        self.first, self.second = first, second

    def manifest(self, layers: tuple[bytes, ...]) -> bytes:
        """As `RegistryCase.image` makes it, over a registry of its own."""
        case = RegistryCase("image")
        case.setUp()
        return case.image(*layers)

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

    def promises(self) -> Acknowledged:
        return Acknowledged()

    def check(self, registry: Registry, done: Acknowledged, label: str) -> None:
        run = self.now
        for content in done.blobs:
            self.assertEqual(run(registry.blobs.size(REPOSITORY, Digest.of(content))), len(content), label)
        for content in (*LAYERS, CONFIG):
            reader = run(found(registry.blobs.open(REPOSITORY, Digest.of(content)), BlobUnknown))
            if reader is not None:
                self.assertEqual(self.successResultOf(reader.read(1 << 20)), content, label)
        for upload, (content, offset) in done.closing.items():
            held = run(found(registry.uploads.offset(REPOSITORY, upload), UploadUnknown))
            if not held and offset:             # its bytes have become the blob
                size = self.successResultOf(self.storage.stat(layout.blob(Digest.of(content)))).size
                self.assertEqual(size, len(content), label)
            else:
                self.assertGreaterEqual(held, offset, label)
        for content in (self.first, self.second):
            manifest = run(found(registry.manifests.get(REPOSITORY, Digest.of(content)), ManifestUnknown))
            self.assertFalse(content in done.manifests and manifest is None, label)
            self.assertFalse(content in done.deleted and manifest is not None, label)
            if manifest is not None:
                self.assertEqual(manifest.content, content, label)
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

    def check_again(self, registry: Registry, label: str) -> None:
        self.now(self.script(registry, Acknowledged()))
        self.now(registry.manifests.put(REPOSITORY, Tag("again"), self.first, None))
        self.assertEqual(self.now(registry.manifests.get(REPOSITORY, Tag("again"))).content, self.first, label)

    def test_killed_at_every_step(self) -> None:
        self.assertGreater(self.crash(cut_power=False), 100)

    def test_power_cut_at_every_step(self) -> None:
        self.assertGreater(self.crash(cut_power=True), 100)


class WrittenCrashTests(CrashTests):
    """The same where no bytes are so few that they are kept in the state of a session."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(arriving, "FEW", 0)


class GrowingCrashTests(CrashTests):
    """The same where the first half of a layer is so few bytes, and all of it is more."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(arriving, "FEW", 8000)


class ReferrerCrashTests(CrashCase):
    """A manifest that refers to another is pushed, and deleted: it is there exactly as long as it is listed."""

    def promises(self) -> list[str]:
        return []

    async def script(self, registry: Registry, done: list[str]) -> None:
        await registry.manifests.put(REPOSITORY, LATEST, OTHER_MANIFEST, None)
        await registry.manifests.put(REPOSITORY, Digest.of(SIGNATURE), SIGNATURE, None)
        await registry.manifests.delete(REPOSITORY, Digest.of(SIGNATURE))
        done.append("deleted")

    def check(self, registry: Registry, done: list[str], label: str) -> None:
        manifest = self.now(found(registry.manifests.get(REPOSITORY, Digest.of(SIGNATURE)), ManifestUnknown))
        listed = self.now(registry.referrers.find(REPOSITORY, Digest.parse(DIGEST)).next())
        self.assertEqual(listed is not None, manifest is not None, label)
        self.assertFalse("deleted" in done and manifest is not None, label)

    def check_again(self, registry: Registry, label: str) -> None:
        done: list[str] = []
        self.now(self.script(registry, done))
        self.check(registry, done, label)

    def test_killed_at_every_step(self) -> None:
        self.assertGreater(self.crash(cut_power=False), 20)

    def test_power_cut_at_every_step(self) -> None:
        self.assertGreater(self.crash(cut_power=True), 20)
