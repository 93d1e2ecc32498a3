"""How images of protocol v1 become complete.

An image is in progress from the moment its JSON is stored until the checksum of its layer is confirmed. Several clients
may push one id at a time: each layer is kept under its own digest, and the first one that is confirmed becomes the
image's, with the JSON that it was pushed for. From then on nothing of the image changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from twisted.logger import Logger

from docker_registry import strictjson
from docker_registry.deferreds import Shield, together
from docker_registry.errors import (
    ChecksumMismatch,
    Damaged,
    ImageExists,
    ImageInProgress,
    ImageInvalid,
    ImageNotInProgress,
    ImageUnknown,
    NotFound,
)
from docker_registry.names import ImageId
from docker_registry.registry.arriving import Source
from docker_registry.registry.blobs import Blobs
from docker_registry.registry.checksums import TarsumVersion
from docker_registry.registry.images import Images, members_of, parent_of
from docker_registry.registry.intake import Intake
from docker_registry.registry.layers import Layer, Pushed, is_checksum
from docker_registry.registry.locks import Locks
from docker_registry.storage import layout
from docker_registry.storage.asking import discard
from docker_registry.storage.interface import IStorage

WAITING = 16
"""Layers of one image that wait for being confirmed; the oldest goes when there are more."""


class ImagePushes:
    log = Logger()

    def __init__(
        self, storage: IStorage, images: Images, blobs: Blobs, intake: Intake, locks: Locks, shield: Shield
    ) -> None:
        self._storage = storage
        self._images = images
        self._blobs = blobs
        self._intake = intake
        self._locks = locks
        self._shield = shield
        self.completed: Callable[[ImageId], None] = lambda image: None
        """Told of each image that became whole."""

    async def put_json(self, image: ImageId, content: bytes, checksum: str | None = None) -> None:
        """Begin an image, or begin it again.

        :param checksum: of a client that sends it beforehand, docker up to 0.5.2.
        :raises ImageInvalid: in the words of docker-registry 0.x.
        :raises ImageExists: it is complete.
        """
        parent = parent_of(_checked(image, content, checksum))
        await self._shield(self._put_json(image, content, parent, checksum))

    async def _put_json(self, image: ImageId, content: bytes, parent: ImageId | None, checksum: str | None) -> None:
        async with self._locks.held(image):
            chain = await self._images.chain(image, parent)
            if await self._images.is_complete(image):
                raise ImageExists(str(image))
            await self._storage.put(layout.image_in_progress(image), b"true")
            # A torn _layer of an old crash would make the image complete too early.
            # What lies in a layer was remembered of another one, if the image had one before.
            await discard(
                self._storage, layout.image_layer(image), layout.image_manifest(image), layout.image_files(image)
            )
            if checksum is None:
                await discard(self._storage, layout.image_checksum(image))
            else:
                await self._storage.put(layout.image_checksum(image), checksum.encode())
            await self._images.store(image, content, chain)

    async def put_layer(self, image: ImageId, source: Source) -> None:
        """Take a layer; with a checksum that came before it the image is complete.

        :raises ImageUnknown: its JSON was not pushed.
        :raises ImageExists: it is complete.
        :raises ChecksumMismatch: not the layer that the checksum is of.
        """
        try:
            content = await self._storage.get(layout.image_json(image))
        except NotFound:
            raise ImageUnknown(str(image)) from None
        if members_of(content) is None:
            raise ImageUnknown(str(image))
        if await self._images.is_complete(image):
            raise ImageExists(str(image))
        await self._shield(self._put_layer(image, content, source))

    async def _put_layer(self, image: ImageId, content: bytes, source: Source) -> None:
        pushed = Pushed(await self._intake.receive(source, content), content)
        async with self._locks.held(image):
            if await self._images.is_complete(image):
                raise ImageExists(str(image))
            announced = await self._announced(image)
            if announced is None:
                await self._wait(image, pushed)
                return
            confirmed = await self._confirmed(pushed, [announced])
            if confirmed is None:
                raise ChecksumMismatch("Checksum mismatch, ignoring the layer")
            await self._complete(image, confirmed)

    async def put_checksum(self, image: ImageId, offered: Sequence[str]) -> None:
        """Confirm a layer: it becomes the image's.

        :param offered: the sums that the client knows; one that we find too is enough.
        :raises ImageUnknown: its JSON was not pushed.
        :raises ImageNotInProgress: it is complete, and with another sum.
        :raises ChecksumMismatch: no layer was pushed that has one of them.
        """
        await self._shield(self._put_checksum(image, offered))

    async def _put_checksum(self, image: ImageId, offered: Sequence[str]) -> None:
        async with self._locks.held(image):
            try:
                complete = await self._images.get(image)
            except ImageInProgress:
                complete = None
            if complete is not None:
                if complete.layer is not None and set(offered) & set(complete.sums):
                    return              # another client pushed the same, and was first
                raise ImageNotInProgress(str(image))
            for pushed in await self._pushed(image):
                if (confirmed := await self._confirmed(pushed, offered)) is not None:
                    await self._complete(image, confirmed)
                    break
            else:
                raise ChecksumMismatch("Checksum mismatch")

    async def keep(self, image: ImageId, content: bytes, ancestors: Sequence[ImageId], layer: Layer) -> bool:
        """Complete an image that was made of what came through v2, at once; whether it is there now.

        Its id can be foreseen: somebody may have pushed another image under it before.

        :param ancestors: its parent first.
        """
        async with self._locks.held(image):
            try:
                there = await self._images.get(image)
            except ImageInProgress:
                return False
            except ImageUnknown:
                await self._images.store(image, content, [image, *ancestors])
                await self._storage.put(layout.image_layer(image), layer.to_bytes())
                return True
        return there.content == content and there.layer is not None and there.layer.digest == layer.digest

    async def _complete(self, image: ImageId, pushed: Pushed) -> None:
        """Publish a layer with the JSON that it was pushed for; the marker goes last."""
        if await self._storage.get(layout.image_json(image)) != pushed.image_json:
            chain = await self._images.chain(image, parent_of(json.loads(pushed.image_json)))
            await self._images.store(image, pushed.image_json, chain)
        await self._storage.put(layout.image_layer(image), pushed.layer.to_bytes())
        await discard(self._storage, layout.image_in_progress(image), layout.image_checksum(image))
        await self._storage.delete_tree(layout.image_pushed(image))
        self.log.info("pushed image {image}: {size} bytes", image=str(image), size=pushed.layer.size)
        self.completed(image)

    async def _confirmed(self, pushed: Pushed, offered: Sequence[str]) -> Pushed | None:
        """With all that is known of it, if one of its sums is ``offered``.

        The sum over the archive's members is computed only if it is needed: it costs a second reading.
        """
        layer = pushed.layer
        tarsums = [each for each in TarsumVersion if any(sum.startswith(f"{each.value}:") for sum in offered)]
        if tarsums and not set(offered) & set(layer.sums):
            layer = await self._intake.measure(
                lambda: self._blobs.open_content(pushed.layer.digest), layer, pushed.image_json, tarsums
            )
        return Pushed(layer, pushed.image_json) if set(offered) & set(layer.sums) else None

    async def _wait(self, image: ImageId, pushed: Pushed) -> None:
        """Keep a layer until it is confirmed, or others have come too often: each may be read to find the right one."""
        await self._storage.put(layout.image_in_progress(image), b"true")
        await self._storage.put(layout.image_pushed_layer(image, pushed.layer.digest), pushed.to_bytes())
        keys = await self._waiting(image)
        if len(keys) > WAITING:
            stats = await together(*(self._storage.stat(key) for key in keys))
            await discard(self._storage, min(zip(stats, keys, strict=True), key=lambda each: each[0].modified)[1])

    async def _waiting(self, image: ImageId) -> list[str]:
        """Keys of the layers that wait for being confirmed."""
        return [f"{layout.image_pushed(image)}/{each.name}"
                for each in await self._storage.list(layout.image_pushed(image))]

    async def _pushed(self, image: ImageId) -> list[Pushed]:
        found: list[Pushed] = []
        for key in await self._waiting(image):
            try:
                found.append(Pushed.from_bytes(await self._storage.get(key)))
            except (NotFound, Damaged, ValueError):
                self.log.warn("{key} cannot be read: push the image again", key=key)
        return found

    async def _announced(self, image: ImageId) -> str | None:
        """The checksum that came with the JSON; docker-registry 0.7 and later kept lists there, which are no such."""
        try:
            announced = (await self._storage.get(layout.image_checksum(image))).decode("ascii", "replace").strip()
        except (NotFound, Damaged):
            return None
        return announced if is_checksum(announced) else None


def _checked(image: ImageId, content: bytes, checksum: str | None) -> dict[str, Any]:
    """:raises ImageInvalid: not the JSON of this image, or not a checksum; the first that is wrong is named."""
    try:
        members = strictjson.loads(content)
    except ValueError:
        members = None
    if not isinstance(members, dict) or not members:
        raise ImageInvalid("Invalid JSON")
    if "id" not in members:
        raise ImageInvalid("Missing key `id' in JSON")
    if checksum is not None and ":" not in checksum:
        raise ImageInvalid("Invalid checksum format")
    if members["id"] != str(image):
        raise ImageInvalid("JSON data contains invalid id")
    return members
