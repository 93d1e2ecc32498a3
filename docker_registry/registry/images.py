"""Images of protocol v1: one layer each, with a JSON document, an id that the client chose, and a parent.

An image is in progress from the moment its JSON is stored until the checksum of its layer is confirmed. Several clients
may push one id at a time: each layer is kept under its own digest, and the first one that is confirmed becomes the
image's, with the JSON that it was pushed for. From then on nothing of the image changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from docker_registry import strictjson
from docker_registry.deferreds import Shared, Shield, outcomes, together
from docker_registry.errors import (
    BlobUnknown,
    ChecksumMismatch,
    Damaged,
    ImageExists,
    ImageIdInvalid,
    ImageInProgress,
    ImageInvalid,
    ImageNotInProgress,
    ImageUnknown,
    NotFound,
)
from docker_registry.names import ImageId
from docker_registry.registry.blobs import Blobs
from docker_registry.registry.intake import Intake
from docker_registry.registry.layers import Layer, Pushed
from docker_registry.registry.locks import Locks
from docker_registry.registry.uploads import Source
from docker_registry.storage import layout
from docker_registry.storage.interface import IReader, IStorage
from docker_registry.threads import Runner

MAX_CHAIN = 127
"""Images from a tag down to the root: as many layers as docker could mount."""

_CHECKSUM = re.compile(r"[A-Za-z0-9.+_-]{1,64}:[A-Za-z0-9]{1,128}", re.ASCII)
"""Whatever it is of: ``sha256:...``, ``tarsum+sha256:...``."""

PREPARING = 2
"""Layers of old stores that are read at a time."""


@dataclass(frozen=True, slots=True)
class Image:
    """A complete image.

    :ivar content: its JSON, to the byte.
    :ivar layer: what is known of its layer; ``None`` in a store of docker-registry 0.x until somebody asks for it.
    :ivar size: of the layer in bytes, as it is stored.
    :ivar sums: its checksums, as far as they are known.
    """

    id: ImageId
    content: bytes
    layer: Layer | None
    size: int
    sums: tuple[str, ...]


class Images:
    log = Logger()

    def __init__(
        self,
        storage: IStorage,
        runner: Runner,
        blobs: Blobs,
        locks: Locks,
        shield: Shield,
    ) -> None:
        self._storage = storage
        self._blobs = blobs
        self._locks = locks
        self._shield = shield
        self.intake = Intake(storage, runner)
        self._reading = DeferredSemaphore(PREPARING)
        self._preparing: Shared[ImageId, Layer] = Shared()

    # Reading

    async def get(self, image: ImageId) -> Image:
        """:raises ImageUnknown: nobody pushed it, or not to its end.
        :raises ImageInProgress: it is being pushed.
        """
        content, marker, record, old = await outcomes(
            self._storage.get(layout.image_json(image)),
            self._storage.stat(layout.image_in_progress(image)),
            self._storage.get(layout.image_layer(image)),
            self._storage.stat(layout.image_old_layer(image)),
        )
        for found in (content, marker, record, old):
            _expect(found)
        if isinstance(content, Exception):
            raise ImageUnknown(str(image))
        if not isinstance(marker, Exception):
            raise ImageInProgress(str(image))
        layer = self._read_layer(image, record)
        if layer is not None:
            return Image(image, content, layer, layer.size, layer.sums)
        if isinstance(old, Exception):
            raise ImageUnknown(str(image))
        return Image(image, content, None, old.size, await self._old_sums(image))

    async def json(self, image: ImageId) -> dict[str, Any]:
        """The JSON of an image that may be in progress.

        :raises ImageUnknown: there is none, or it cannot be read.
        """
        try:
            members = json.loads(await self._storage.get(layout.image_json(image)))
        except (NotFound, Damaged, ValueError, RecursionError):
            raise ImageUnknown(str(image)) from None
        if not isinstance(members, dict):
            raise ImageUnknown(str(image))
        return members

    async def ancestry(self, image: ImageId) -> list[ImageId]:
        """The image, its parent, and so on to the root.

        The list that is stored was torn by crashes of docker-registry 0.x: then it is made again from the parents.

        :raises ImageUnknown: it, or a parent that it needs, is not there.
        :raises ImageInvalid: more than `MAX_CHAIN`, or a parent that is its own ancestor.
        """
        found = await self._stored_ancestry(image)
        if found is not None:
            return found
        chain: list[ImageId] = []
        following: ImageId | None = image
        while following is not None:
            if following in chain or len(chain) >= MAX_CHAIN:
                raise ImageInvalid(f"Image has more than {MAX_CHAIN} ancestors")
            chain.append(following)
            following = _parent(await self.json(following))
        return chain

    async def open_layer(self, image: Image, offset: int = 0) -> IReader:
        """:raises ImageUnknown: its bytes are gone."""
        try:
            if image.layer is not None:
                return await self._blobs.open_content(image.layer.digest, offset)
            return await self._storage.open(layout.image_old_layer(image.id), offset)
        except (NotFound, BlobUnknown):
            raise ImageUnknown(str(image.id)) from None

    async def layer(self, image: Image) -> Layer:
        """What is known of the image's layer, its diff id with it. It is computed now, once, whoever asks."""
        if image.layer is not None and image.layer.unpacked is not None:
            return image.layer
        return await self._preparing(image.id, lambda: self._shield(self._prepare(image)))

    async def _prepare(self, image: Image) -> Layer:
        await self._reading.acquire()
        try:
            layer = (await self.get(image.id)).layer
            if layer is None:
                layer = await self._adopt(image)
            elif layer.unpacked is None:
                layer = await self.intake.measure(lambda: self.open_layer(image), layer)
            await self._storage.put(layout.image_layer(image.id), layer.to_bytes())
        finally:
            self._reading.release()
        self.log.debug("prepared {image}: {size} bytes", image=str(image.id), size=layer.size)
        return layer

    async def _adopt(self, image: Image) -> Layer:
        """Read an old layer once, and let the blob that it is point to it."""
        layer = await self.intake.read(lambda: self.open_layer(image), image.content)
        await self._blobs.adopt(layer.digest, layout.image_old_layer(image.id), layer.size)
        return layer

    # Pushing

    async def put_json(self, image: ImageId, content: bytes, checksum: str | None = None) -> None:
        """Begin an image, or begin it again.

        :param checksum: of a client that sends it beforehand, docker up to 0.5.2.
        :raises ImageInvalid: in the words of docker-registry 0.x.
        :raises ImageExists: it is complete.
        """
        members = _checked(image, content)
        if checksum is not None and ":" not in checksum:
            raise ImageInvalid("Invalid checksum format")
        parent = _parent(members)
        await self._shield(self._put_json(image, content, parent, checksum))

    async def _put_json(self, image: ImageId, content: bytes, parent: ImageId | None, checksum: str | None) -> None:
        async with self._locks.held(image):
            chain = await self._chain(image, parent)
            if await self._is_complete(image):
                raise ImageExists(str(image))
            await self._storage.put(layout.image_in_progress(image), b"true")
            # A torn _layer of an old crash would make the image complete too early.
            await self._remove(layout.image_layer(image), layout.image_manifest(image))
            if checksum is None:
                await self._remove(layout.image_checksum(image))
            else:
                await self._storage.put(layout.image_checksum(image), checksum.encode())
            await self._store(image, content, chain)

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
        if await self._is_complete(image):
            raise ImageExists(str(image))
        await self._shield(self._put_layer(image, content, source))

    async def _put_layer(self, image: ImageId, content: bytes, source: Source) -> None:
        pushed = Pushed(await self.intake.receive(source, content), content)
        async with self._locks.held(image):
            if await self._is_complete(image):
                raise ImageExists(str(image))
            announced = await self._announced(image)
            if announced is None:
                await self._storage.put(layout.image_in_progress(image), b"true")
                await self._storage.put(
                    layout.image_pushed_layer(image, pushed.layer.digest), pushed.to_bytes()
                )
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
                complete = await self.get(image)
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

    async def keep(self, image: ImageId, content: bytes, ancestors: Sequence[ImageId], layer: Layer) -> None:
        """Store an image that was made of what came through v2, unless it is there.

        :param ancestors: its parent first.
        """
        (record,) = await outcomes(self._storage.stat(layout.image_layer(image)))
        if isinstance(record, Exception):
            _expect(record)
            await self._store(image, content, [image, *ancestors])
            await self._storage.put(layout.image_layer(image), layer.to_bytes())

    # State

    async def _is_complete(self, image: ImageId) -> bool:
        try:
            await self.get(image)
        except (ImageUnknown, ImageInProgress):
            return False
        return True

    async def _chain(self, image: ImageId, parent: ImageId | None) -> list[ImageId]:
        """:raises ImageInvalid: the parent is not there, or one too many."""
        if parent is None:
            return [image]
        try:
            chain = [image, *await self.ancestry(parent)]
            await self.json(parent)
        except ImageUnknown:
            raise ImageInvalid("Image depends on a non existing parent") from None
        if len(chain) > MAX_CHAIN or image in chain[1:]:
            raise ImageInvalid(f"Image has more than {MAX_CHAIN} ancestors")
        return chain

    async def _store(self, image: ImageId, content: bytes, chain: Sequence[ImageId]) -> None:
        ancestry = json.dumps([str(each) for each in chain]).encode()
        await together(
            self._storage.put(layout.image_json(image), content),
            self._storage.put(layout.image_ancestry(image), ancestry),
        )

    async def _complete(self, image: ImageId, pushed: Pushed) -> None:
        """Publish a layer with the JSON that it was pushed for; the marker goes last."""
        if await self._storage.get(layout.image_json(image)) != pushed.image_json:
            chain = await self._chain(image, _parent(json.loads(pushed.image_json)))
            await self._store(image, pushed.image_json, chain)
        await self._storage.put(layout.image_layer(image), pushed.layer.to_bytes())
        await self._remove(layout.image_in_progress(image), layout.image_checksum(image))
        await self._storage.delete_tree(layout.image_pushed(image))
        self.log.info("pushed image {image}: {size} bytes", image=str(image), size=pushed.layer.size)

    async def _confirmed(self, pushed: Pushed, offered: Sequence[str]) -> Pushed | None:
        """With all sums that are known, if one of them is ``offered``.

        The sum over the archive's members is computed only if it is needed: it costs a second reading.
        """
        layer, sums = pushed.layer, pushed.layer.sums
        if not set(offered) & set(sums) and any(each.startswith("tarsum") for each in offered):
            sums += await self.intake.tarsums(lambda: self._blobs.open_content(layer.digest), pushed.image_json)
        if not set(offered) & set(sums):
            return None
        return Pushed(replace(layer, sums=sums), pushed.image_json)

    async def _pushed(self, image: ImageId) -> list[Pushed]:
        """Layers that wait for being confirmed."""
        found: list[Pushed] = []
        for entry in await self._storage.list(layout.image_pushed(image)):
            try:
                found.append(Pushed.from_bytes(await self._storage.get(f"{layout.image_pushed(image)}/{entry.name}")))
            except (NotFound, Damaged, ValueError):
                self.log.warn("a push of {image} cannot be read: {name}", image=str(image), name=entry.name)
        return found

    async def _announced(self, image: ImageId) -> str | None:
        """The checksum that came with the JSON; docker-registry 0.7 and later kept lists there, which are no such."""
        try:
            announced = (await self._storage.get(layout.image_checksum(image))).decode("ascii", "replace").strip()
        except (NotFound, Damaged):
            return None
        return announced if _CHECKSUM.fullmatch(announced) else None

    async def _old_sums(self, image: ImageId) -> tuple[str, ...]:
        """What docker-registry 0.x kept: one sum as it is, later a list. It may be missing, or wrong: it is passed on
        until the layer is read, and nothing is decided by it."""
        try:
            content = (await self._storage.get(layout.image_checksum(image))).decode("ascii", "replace").strip()
            listed = json.loads(content)
        except (NotFound, Damaged, RecursionError):
            return ()
        except ValueError:
            listed = [content]
        listed = listed if isinstance(listed, list) else [listed]
        return tuple(each for each in listed if isinstance(each, str) and _CHECKSUM.fullmatch(each))

    async def _stored_ancestry(self, image: ImageId) -> list[ImageId] | None:
        try:
            listed = json.loads(await self._storage.get(layout.image_ancestry(image)))
            chain = [ImageId.parse_old(each) for each in listed]
        except (NotFound, Damaged, ValueError, TypeError, RecursionError, ImageIdInvalid):
            return None
        sound = chain[:1] == [image] and len(set(chain)) == len(chain) <= MAX_CHAIN
        return chain if sound else None

    def _read_layer(self, image: ImageId, record: bytes | Exception) -> Layer | None:
        if isinstance(record, Exception):
            return None
        try:
            return Layer.from_bytes(record)
        except ValueError:
            self.log.error("{key} cannot be read: push the image again", key=layout.image_layer(image))
            return None

    async def _remove(self, *keys: str) -> None:
        for found in await outcomes(*(self._storage.delete(key) for key in keys)):
            _expect(found)


def _checked(image: ImageId, content: bytes) -> dict[str, Any]:
    """:raises ImageInvalid: not the JSON of this image."""
    try:
        members = strictjson.loads(content)
    except ValueError:
        members = None
    if not isinstance(members, dict) or not members:
        raise ImageInvalid("Invalid JSON")
    if "id" not in members:
        raise ImageInvalid("Missing key `id' in JSON")
    if members["id"] != str(image):
        raise ImageInvalid("JSON data contains invalid id")
    return members


def _parent(members: dict[str, Any]) -> ImageId | None:
    """:raises ImageInvalid: it is said to be something that cannot be."""
    parent = members.get("parent")
    if not parent:
        return None
    try:
        return ImageId.parse_old(parent)
    except (ImageIdInvalid, TypeError):
        raise ImageInvalid("Image depends on a non existing parent") from None


def _expect(found: object) -> None:
    """Go on with what was found, or with nothing there: a disk that fails must not look like a missing image (C6)."""
    if isinstance(found, Exception) and not isinstance(found, (NotFound, Damaged)):
        raise found

