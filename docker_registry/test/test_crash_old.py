"""A store of docker-registry 0.x that is pulled from, pushed to and deleted from: the process is killed, and the power
cut, at each step; nothing that was deleted, or pushed over, comes back."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from pathlib import Path

from docker_registry.digest import Digest
from docker_registry.errors import ManifestUnknown, RepositoryUnknown, TagUnknown
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.registry.documents import OCI_MANIFEST
from docker_registry.registry.registry import Registry
from docker_registry.storage import layout
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.system import System
from docker_registry.test.clients.old_stores import OldTree, once, twice
from docker_registry.test.crash_case import CrashCase, found

BOTH = Repository("a/b/c")
"""A repository of two directories, with other tags in each."""

CONFIG = Digest.of(b"{}")

NEW = json.dumps({
    "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
    "config": {"mediaType": "application/x", "digest": str(CONFIG), "size": 2},
}).encode()
"""What v2 pushes; no image of v1 can stand for it."""

GONE = "nothing"
PUSHED = "pushed"


class Promised:
    """What each tag may stand for: the name of an image, `PUSHED` or `GONE`; while something is done, either."""

    def __init__(self) -> None:
        self.tags: dict[str, set[str]] = {}

    async def do(self, tag: str, will_be: str, work: Awaitable[object]) -> None:
        self.tags[tag].add(will_be)
        await work
        self.tags[tag] = {will_be}


class OldCrashTests(CrashCase):
    def setUp(self) -> None:
        super().setUp()
        self.tree = OldTree(Path("unused"))
        self.ids: dict[str, str] = {}

    def start(self, root: Path, system: System) -> tuple[LocalStorage, Registry]:
        if not root.exists():
            self.make(root)
        return super().start(root, system)

    def make(self, root: Path) -> None:
        tree = OldTree(root)
        base = tree.image("base")
        self.ids = {"base": base.id} | {name: tree.image(name, base.id).id for name in ("old", "older")}
        for tag in ("read", "unread", "v1", "digest", "half"):
            tree.tag(f"a/{twice('b/c')}", str(BOTH), tag, self.ids["old"])
            tree.tag(f"a/{once('b/c')}", str(BOTH), tag, self.ids["older"])
        tree.write(layout.blob(CONFIG), b"{}")
        tree.write(layout.layer_link(BOTH, CONFIG), str(CONFIG))
        # An earlier crash came when "half" had been pushed over, and what was there before had not been removed.
        pushed = Digest.of(NEW)
        tree.write(layout.blob(pushed), NEW)
        for key in (layout.revision_link(BOTH, pushed), layout.tag_link(BOTH, Tag("half"))):
            tree.write(key, str(pushed))
        self.tree = tree

    def promises(self) -> Promised:
        promised = Promised()
        promised.tags = {tag: {"old"} for tag in self.tree.tags[str(BOTH)]} | {"half": {PUSHED}}
        return promised

    async def script(self, registry: Registry, done: Promised) -> None:
        """A tag is read before it is pushed over, or not; it is deleted by v1, by v2, with its manifest, with all."""
        tags, manifests = registry.image_tags, registry.manifests
        digest = (await manifests.get(BOTH, Tag("read"))).digest
        for tag in ("read", "unread"):
            await done.do(tag, PUSHED, manifests.put(BOTH, Tag(tag), NEW, None))
        await done.do("v1", GONE, tags.delete(BOTH, Tag("v1")))
        await done.do("half", GONE, manifests.untag(BOTH, Tag("half")))
        await done.do("digest", GONE, manifests.delete(BOTH, digest))
        for tag in ("read", "unread"):
            done.tags[tag].add(GONE)
        await tags.delete_all(BOTH)
        for tag in ("read", "unread"):
            done.tags[tag] = {GONE}

    def check(self, registry: Registry, done: Promised, label: str) -> None:
        """Both protocols say the same, and say what they may."""
        names = {image: name for name, image in self.ids.items()}
        listed = self.now(registry.tags.page(BOTH, "", 100))
        by_v1 = self.now(found(registry.image_tags.all(BOTH), RepositoryUnknown)) or {}
        for tag, allowed in done.tags.items():
            image = self.now(found(registry.image_tags.get(BOTH, Tag(tag)), TagUnknown))
            manifest = self.now(found(registry.manifests.get(BOTH, Tag(tag)), ManifestUnknown))
            if manifest is None:
                stands_for = GONE
            elif manifest.content == NEW:
                stands_for = PUSHED
            else:
                config = manifest.document.blobs[0].digest
                reader = self.now(registry.blobs.open(BOTH, config))
                stands_for = names[json.loads(self.successResultOf(reader.read(1 << 20)))["id"]]
            self.assertIn(stands_for, allowed, (label, tag))
            self.assertEqual(tag in listed, stands_for != GONE, (label, tag))
            expected = None if stands_for in (GONE, PUSHED) else self.ids[stands_for]
            self.assertEqual(str(image) if image else None, expected, (label, tag))
            self.assertEqual(by_v1.get(tag), image, (label, tag))

    def check_again(self, registry: Registry, label: str) -> None:
        """It can be pushed to as before, and the images are still there."""
        self.now(registry.image_tags.set(BOTH, Tag("again"), ImageId(self.ids["older"])))
        manifest = self.now(registry.manifests.get(BOTH, Tag("again")))
        self.assertEqual(len(json.loads(manifest.content)["layers"]), 2, label)

    def test_killed_at_every_step(self) -> None:
        self.assertGreater(self.crash(cut_power=False), 60)

    def test_power_cut_at_every_step(self) -> None:
        self.assertGreater(self.crash(cut_power=True), 60)
