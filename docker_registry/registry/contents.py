"""What lies in the layer of an image of protocol v1: its files, and what they changed."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from docker_registry.errors import Damaged, ImageUnknown, NotFound
from docker_registry.registry.archive_limits import LISTING_LIMITS
from docker_registry.registry.compression import Unpacker
from docker_registry.registry.images import Image, Images
from docker_registry.registry.listing import Listing, difference
from docker_registry.storage import layout
from docker_registry.storage.interface import SMALL, IStorage
from docker_registry.threads import Runner

Files = list[list[Any]]

READING = 1
"""Archives that are read at a time; who asks for another waits."""


class Contents:
    log = Logger()

    def __init__(self, storage: IStorage, runner: Runner, images: Images) -> None:
        self._storage = storage
        self._runner = runner
        self._images = images
        self._reading = DeferredSemaphore(READING)

    async def files(self, image: Image) -> Files:
        """The members of the archive, each as name, type, whether it deletes, size, mtime, mode, uid, gid.

        :raises LayerInvalid: no archive, or one that is not worth reading.
        """
        known = await self._remembered(image)
        if known is not None:
            return known
        await self._reading.acquire()
        try:
            listing = Listing()
            unpacker = Unpacker([listing], LISTING_LIMITS)
            await self._images.intake.feed(lambda: self._images.open_layer(image), unpacker)
            await self._runner.slow(_finish, unpacker, listing)
            files: Files = listing.files
            content = await self._runner.slow(_to_bytes, files)
        finally:
            self._reading.release()
        if len(content) <= SMALL:
            await self._storage.put(layout.image_files(image.id), content)
        return files

    async def difference(self, image: Image) -> dict[str, dict[str, list[Any]]]:
        """What the image deleted, changed and created, compared with its nearest ancestors.

        :raises LayerInvalid: as `files`.
        """
        own = await self.files(image)
        ancestors: list[Files] = []
        for each in (await self._images.ancestry(image.id))[1:]:
            try:
                ancestors.append(await self.files(await self._images.get(each)))
            except ImageUnknown:
                self.log.warn("{image} has an ancestor without a layer: {ancestor}",
                              image=str(image.id), ancestor=str(each))
        return await self._runner.slow(difference, own, ancestors)

    async def _remembered(self, image: Image) -> Files | None:
        try:
            content = await self._storage.get(layout.image_files(image.id))
            files = await self._runner.slow(json.loads, content)
        except (NotFound, Damaged, ValueError, RecursionError):
            return None
        return files if isinstance(files, list) else None


def _finish(unpacker: Unpacker, listing: Listing) -> None:
    """:raises LayerInvalid: it was not all."""
    unpacker.finish()
    listing.finish()


def _to_bytes(files: Files) -> bytes:
    return json.dumps(files).encode()
