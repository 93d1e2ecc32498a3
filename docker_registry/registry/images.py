"""Images of protocol v1: one layer each, with a JSON document, an id that the client chose, and a parent.

What is complete never changes. How an image becomes complete: `docker_registry.registry.imagepushes`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from docker_registry.deferreds import Shared, Shield, outcomes, together
from docker_registry.errors import (
    BlobUnknown,
    Damaged,
    ImageIdInvalid,
    ImageInProgress,
    ImageInvalid,
    ImageUnknown,
    NotFound,
    expect,
)
from docker_registry.names import ImageId
from docker_registry.registry.blobs import Blobs
from docker_registry.registry.intake import Intake
from docker_registry.registry.layers import MAX_CHAIN, Layer, is_checksum
from docker_registry.registry.locks import Locks
from docker_registry.storage import layout
from docker_registry.storage.interface import IReader, IRedirects, IStorage

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

    def __init__(self, storage: IStorage, blobs: Blobs, intake: Intake, locks: Locks, shield: Shield) -> None:
        self._storage = storage
        self._blobs = blobs
        self._intake = intake
        self._locks = locks
        self._shield = shield
        self._reading = DeferredSemaphore(PREPARING)
        self._preparing: Shared[ImageId, Layer] = Shared()

    async def get(self, image: ImageId) -> Image:
        """:raises ImageUnknown: nobody pushed it, or not to its end, or its JSON cannot be read.
        :raises ImageInProgress: it is being pushed.
        """
        content, marker, record, old = await outcomes(
            self._storage.get(layout.image_json(image)),
            self._storage.stat(layout.image_in_progress(image)),
            self._storage.get(layout.image_layer(image)),
            self._storage.stat(layout.image_old_layer(image)),
        )
        for found in (content, marker, record, old):
            expect(found, NotFound, Damaged)
        if isinstance(content, Exception):
            raise ImageUnknown(str(image))
        if not isinstance(marker, Exception):
            raise ImageInProgress(str(image))
        layer = self._read_layer(image, record)
        if layer is not None:
            return Image(image, content, layer, layer.size, layer.sums)
        if isinstance(old, Exception):
            raise ImageUnknown(str(image))
        if members_of(content) is None:     # 0.x wrote it in place: a crash left nothing, or half of it
            self.log.warn("{key} cannot be read: push the image again", key=layout.image_json(image))
            raise ImageUnknown(str(image))
        return Image(image, content, None, old.size, await self._old_sums(image))

    async def json(self, image: ImageId) -> dict[str, Any]:
        """The JSON of an image that may be in progress.

        :raises ImageUnknown: there is none, or it cannot be read.
        """
        try:
            members = members_of(await self._storage.get(layout.image_json(image)))
        except (NotFound, Damaged):
            members = None
        if members is None:
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
            following = parent_of(await self.json(following))
        return chain

    async def open_layer(self, image: Image, offset: int = 0) -> IReader:
        """:raises ImageUnknown: its bytes are gone."""
        try:
            if image.layer is not None:
                return await self._blobs.open_content(image.layer.digest, offset)
            return await self._storage.open(layout.image_old_layer(image.id), offset)
        except (NotFound, BlobUnknown):
            raise ImageUnknown(str(image.id)) from None

    async def link_to_layer(self, image: Image) -> str | None:
        """Where clients read the layer themselves; ``None`` if it has to come through here."""
        if image.layer is not None:
            return await self._blobs.link_to_content(image.layer.digest)
        if not IRedirects.providedBy(self._storage):
            return None
        url: str = await IRedirects(self._storage).link(layout.image_old_layer(image.id))
        return url

    async def layer(self, image: Image) -> Layer:
        """What is known of the image's layer, its diff id with it. It is computed now, once, whoever asks."""
        if image.layer is not None and image.layer.unpacked is not None:
            return image.layer
        return await self._preparing(image.id, lambda: self._shield(self._prepare(image)))

    async def _prepare(self, image: Image) -> Layer:
        await self._reading.acquire()
        try:
            async with self._locks.held(("layer", image.id)):       # another process may be reading it
                layer = (await self.get(image.id)).layer
                if layer is not None and layer.unpacked is not None:
                    return layer
                if layer is None:
                    layer = await self._adopt(image)
                else:
                    layer = await self._intake.measure(lambda: self.open_layer(image), layer)
                await self._storage.put(layout.image_layer(image.id), layer.to_bytes())
        finally:
            self._reading.release()
        self.log.debug("prepared {image}: {size} bytes", image=str(image.id), size=layer.size)
        return layer

    async def _adopt(self, image: Image) -> Layer:
        """Read an old layer once, and let the blob that it is point to it."""
        layer = await self._intake.read(lambda: self.open_layer(image), image.content)
        await self._blobs.adopt(layer.digest, layout.image_old_layer(image.id), layer.size)
        return layer

    # For those that make images

    async def is_complete(self, image: ImageId) -> bool:
        try:
            await self.get(image)
        except (ImageUnknown, ImageInProgress):
            return False
        return True

    async def chain(self, image: ImageId, parent: ImageId | None) -> list[ImageId]:
        """The ancestry of an image that is to have this parent.

        :raises ImageInvalid: the parent is not there, or one too many.
        """
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

    async def store(self, image: ImageId, content: bytes, chain: Sequence[ImageId]) -> None:
        """Write down what an image is; it is complete when its layer is there, too."""
        ancestry = json.dumps([str(each) for each in chain]).encode()
        await together(
            self._storage.put(layout.image_json(image), content),
            self._storage.put(layout.image_ancestry(image), ancestry),
        )

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
        return tuple(each for each in listed if isinstance(each, str) and is_checksum(each))

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
            self.log.error("{key} cannot be read: push the image again", key=layout.image_layer(image),
                           alert="damaged content")
            return None


def members_of(content: bytes) -> dict[str, Any] | None:
    """What the JSON of an image says; ``None`` if it is none. 0.x kept what `strictjson` would not take."""
    try:
        members = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return members if isinstance(members, dict) and members else None


def parent_of(members: dict[str, Any]) -> ImageId | None:
    """:raises ImageInvalid: it is said to be something that cannot be."""
    parent = members.get("parent")
    if not parent:
        return None
    try:
        return ImageId.parse_old(parent)
    except (ImageIdInvalid, TypeError):
        raise ImageInvalid("Image depends on a non existing parent") from None
