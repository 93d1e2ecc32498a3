"""A push through protocol v1: the process is killed, and the power cut, at each step."""

from __future__ import annotations

import json

from docker_registry.errors import (
    ImageExists,
    ImageInProgress,
    ImageUnknown,
    ManifestUnknown,
    RepositoryUnknown,
    TagUnknown,
)
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.registry.registry import Registry
from docker_registry.test.crash_case import CrashCase, found
from docker_registry.test.registry_case import LATEST, Parts
from docker_registry.test.test_images import image_id, image_json, layer, payload

REPOSITORY = Repository("team/app")
IMAGES = {"a": None, "b": "a"}
"""Images, and their parents."""


class Acknowledged:
    """What a client was told is done.

    :ivar tag: what it may stand for: after an attempt that nobody answered, either.
    """

    def __init__(self) -> None:
        self.complete: set[str] = set()
        self.tag: list[ImageId | None] = [None]


class CrashTests(CrashCase):
    def promises(self) -> Acknowledged:
        return Acknowledged()

    async def script(self, registry: Registry, done: Acknowledged) -> None:
        """As docker does; the second image is tagged while it is in progress, and the tag is deleted in the end."""
        for name, parent in IMAGES.items():
            content = image_json(name, parent)
            done.tag.append(image_id(name))
            try:
                await registry.image_pushes.put_json(image_id(name), content)
                if name == "b":
                    await registry.image_tags.set(REPOSITORY, LATEST, image_id(name))
                await registry.image_pushes.put_layer(image_id(name), Parts(layer(name)))
                await registry.image_pushes.put_checksum(image_id(name), [payload(content, layer(name))])
            except ImageExists:
                pass
            done.complete.add(name)
            await registry.image_tags.set(REPOSITORY, LATEST, image_id(name))
            done.tag = [image_id(name)]
        done.tag.append(None)
        await registry.image_tags.delete(REPOSITORY, LATEST)
        done.tag = [None]

    def check(self, registry: Registry, done: Acknowledged, label: str) -> None:
        for name in IMAGES:
            image = self.now(found(registry.images.get(image_id(name)), ImageUnknown, ImageInProgress))
            if image is None:
                self.assertNotIn(name, done.complete, label)
                continue
            self.assertEqual(image.content, image_json(name, IMAGES[name]), label)
            reader = self.now(registry.images.open_layer(image))
            self.assertEqual(self.successResultOf(reader.read(1 << 20)), layer(name), label)
            reader.close()
            self.now(registry.images.ancestry(image_id(name)))
        tagged = self.now(found(registry.image_tags.get(REPOSITORY, LATEST), TagUnknown))
        self.assertIn(tagged, done.tag, label)
        manifest = self.now(found(registry.manifests.get(REPOSITORY, LATEST), ManifestUnknown))
        if tagged is not None and len(done.tag) == 1:
            self.assertIsNotNone(manifest, label)
        if manifest is not None:
            for each in json.loads(manifest.content)["layers"]:
                self.assertIn(each["size"], [len(layer(name)) for name in IMAGES], label)
            for blob in manifest.document.blobs:
                self.assertEqual(self.now(registry.blobs.size(REPOSITORY, blob.digest)), blob.size, label)
        names = self.now(found(registry.image_tags.all(REPOSITORY), RepositoryUnknown)) or {}
        self.assertEqual(list(names.values()), [] if tagged is None else [tagged], label)

    def check_again(self, registry: Registry, label: str) -> None:
        self.now(self.script(registry, Acknowledged()))
        self.now(registry.image_tags.set(REPOSITORY, Tag("again"), image_id("b")))
        manifest = self.now(registry.manifests.get(REPOSITORY, Tag("again")))
        self.assertEqual(len(json.loads(manifest.content)["layers"]), 2, label)

    def test_killed_at_every_step(self) -> None:
        self.assertGreater(self.crash(cut_power=False), 100)

    def test_power_cut_at_every_step(self) -> None:
        self.assertGreater(self.crash(cut_power=True), 100)
