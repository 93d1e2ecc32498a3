"""What lies in the layer of an image of protocol v1: its files, and what they changed."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from docker_registry.deferreds import Shared, Shield, outcomes
from docker_registry.errors import Damaged, ImageUnknown, LayerInvalid, NotFound
from docker_registry.names import ImageId
from docker_registry.registry.archive_limits import LISTING_LIMITS
from docker_registry.registry.compression import Unpacker
from docker_registry.registry.images import Image, Images
from docker_registry.registry.intake import Intake
from docker_registry.registry.listing import Difference, Listing, entries
from docker_registry.registry.recent import Recent
from docker_registry.storage import layout
from docker_registry.storage.interface import SMALL, IStorage
from docker_registry.threads import Runner

READING = 1
"""Archives that are read at a time; who asks for another waits."""

REFUSED = 1000
"""Images that are remembered as not worth reading: finding that out took seconds."""


class Contents:
    """Answers are JSON, made in threads: they can be as long as 32 MiB."""

    log = Logger()

    def __init__(
        self, storage: IStorage, runner: Runner, images: Images, intake: Intake, shield: Shield
    ) -> None:
        self._storage = storage
        self._runner = runner
        self._images = images
        self._intake = intake
        self._shield = shield
        self._reading = DeferredSemaphore(READING)
        self._listing: Shared[ImageId, bytes] = Shared()
        self._refused: Recent[ImageId, bool] = Recent(REFUSED)

    async def files(self, image: Image) -> bytes:
        """The members of the archive, each as name, type, whether it deletes, size, mtime, mode, uid, gid.

        :raises LayerInvalid: no archive, or one that is not worth reading.
        """
        known = await self._remembered(image)
        if known is not None:
            return known
        return await self._listing(image.id, lambda: self._shield(self._list(image)))

    async def difference(self, image: Image) -> bytes:
        """What the image deleted, changed and created, compared with its nearest ancestors.

        :raises LayerInvalid: as `files`.
        """
        own = await self.files(image)
        found = await self._runner.slow(_difference, own)
        for each in (await self._images.ancestry(image.id))[1:]:
            if found.is_complete:
                break
            try:
                below = await self.files(await self._images.get(each))
            except ImageUnknown:
                self.log.warn("{image} has an ancestor without a layer: {ancestor}",
                              image=str(image.id), ancestor=str(each))
            else:
                await self._runner.slow(_compare, found, below)
        return await self._runner.slow(lambda: found.document)

    async def _list(self, image: Image) -> bytes:
        await self._reading.acquire()
        try:
            listing = Listing()
            unpacker = Unpacker([listing], LISTING_LIMITS)
            await self._intake.feed(lambda: self._images.open_layer(image), unpacker)
            document = await self._runner.slow(_finish, unpacker, listing)
        except LayerInvalid:
            self._refused.keep(image.id, True)
            raise
        finally:
            self._reading.release()
        if len(document) <= SMALL:
            await self._remember(image.id, document)
        return document

    async def _remember(self, image: ImageId, document: bytes) -> None:
        """Unless something stands there that cannot be read: docker-registry 0.x left that, and it is not rewritten."""
        (found,) = await outcomes(self._storage.stat(layout.image_files(image)))
        if isinstance(found, NotFound):
            await self._storage.put(layout.image_files(image), document)

    async def _remembered(self, image: Image) -> bytes | None:
        """:raises LayerInvalid: that is what is remembered."""
        if self._refused.get(image.id):
            raise LayerInvalid("Layer format not supported")
        try:
            document = await self._storage.get(layout.image_files(image.id))
            await self._runner.slow(_check, document)
        except (NotFound, Damaged, ValueError):
            return None
        return document


def _finish(unpacker: Unpacker, listing: Listing) -> bytes:
    """:raises LayerInvalid: it was not all."""
    unpacker.finish()
    listing.finish()
    return listing.document


def _check(document: bytes) -> None:
    """:raises ValueError: what was remembered is no listing."""
    deque(entries(document), maxlen=0)


def _difference(own: bytes) -> Difference:
    return Difference(entries(own))


def _compare(found: Difference, below: bytes) -> None:
    found.compare(entries(below))
