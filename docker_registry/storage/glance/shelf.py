"""Bytes as images: put there, compared with what was sent, and found again.

What is put there has an image of its own each time, since an id can be used once, and one that is not whole is deleted
and never gone on with. An image tells by two properties whose it is: so that others' images are never touched, and that
records that are lost can be made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from docker_registry.complaints import log_failed
from docker_registry.deferreds import outcomes
from docker_registry.digest import Hash
from docker_registry.errors import Damaged, NotFound, StorageError, StorageFailed, StorageFull, Transient
from docker_registry.storage.files import SmallReader
from docker_registry.storage.flows import Body
from docker_registry.storage.glance.diversion import Asked, itself
from docker_registry.storage.glance.errors import Conflict, Deactivated, Gone, Uploading
from docker_registry.storage.glance.images import ACTIVE, UNFINISHED, Image, Images, Page, new_id
from docker_registry.storage.glance.old import FORMATS
from docker_registry.storage.glance.oldimages import pages
from docker_registry.storage.glance.reader import open_image
from docker_registry.storage.glance.records import Record
from docker_registry.storage.http import Answer
from docker_registry.storage.interface import IReader
from docker_registry.storage.resuming import ResumingReader
from docker_registry.storage.retries import Retries

KEY, STORE = "docker_registry_key", "docker_registry_store"
"""Properties: what the image holds, and for which registry."""

SURE = 60.0
"""Seconds for which an image that was looked at is believed to be as it was."""

MOST_SURE = 10_000

PROBE = b"probe"

LAST = 5.0
"""Seconds at the end for notes of what could not be removed."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Of bytes that are on their way: what somebody computes while they pass."""

    algorithm: str
    hash: Hash


@dataclass(frozen=True, slots=True)
class Load:
    """What is put on the shelf once.

    :ivar size: in bytes, ``None`` if it is not known before the end.
    :ivar sum: of all of it, when it was sent.
    :ivar close: called in any case at the end.
    """

    body: Body
    size: int | None
    sum: Sum
    close: Callable[[], object] = lambda: None


class SourceFailed(Exception):
    """Bytes that were on their way to Glance could not be read: it is not Glance that fails.

    :ivar error: why.
    """

    def __init__(self, error: StorageError) -> None:
        super().__init__(error)
        self.error = error


class Notes(Protocol):
    """Of images that nobody wants, while they are there."""

    async def give_up(self, image: str) -> None: ...

    async def forget_given_up(self, image: str) -> None: ...


class Shelf:
    """:param retries: of all that it takes to put something there.
    :ivar notes: for images that are to go and are still there; set when it is known who keeps them.
    :ivar store: the value of `STORE`; set when that is known.
    :ivar algorithm: that Glance hashes with.
    """

    log = Logger()

    def __init__(self, images: Images, retries: Retries, clock: IReactorTime) -> None:
        self.notes: Notes | None = None
        self.store = ""
        self.algorithm = "sha512"
        self._images = images
        self._retries = retries
        self._clock = clock
        self._sure: dict[str, float] = {}
        self._discarding: set[Deferred[None]] = set()

    # Writing

    async def put(self, key: str, load: Callable[[], Awaitable[Load]]) -> Record:
        """A new image with the bytes, tried again while that helps.

        :param load: makes it anew for each try.
        :raises StoreUnavailable: Glance fails.
        :raises StorageFull: a quota.
        :raises SourceFailed: what is to be put there cannot be read.
        """

        async def attempt(_: float) -> Record:
            return await self.put_once(key, await load())

        return await self._retries(attempt)

    async def label(self, image: str, key: str) -> None:
        """Say what an image holds that was put there without a key."""
        await self._images.patch(image, {KEY: key})

    async def put_once(self, key: str, load: Load) -> Record:
        """:param key: empty if it is not known yet.
        :raises Transient: and the next try may succeed.
        """
        image = new_id()
        try:
            properties = {KEY: key, STORE: self.store} if key else {STORE: self.store}
            await self._images.create(image, properties, once=True)
            await self._images.upload(image, load.body, load.size)
            return await self._compared(image, load)
        except (Conflict, Gone) as error:
            self.discard(image)
            raise Transient(f"image {image}: {error}") from error
        except BaseException:
            self.discard(image)
            raise
        finally:
            load.close()

    async def _compared(self, image: str, load: Load) -> Record:
        found = await self._images.show(image)
        if found.status != ACTIVE:
            raise Transient(f"image {image} is {found.status} when all its bytes were sent")
        if not found.hash:
            raise StorageFailed("Glance does not say what it has: os_hash_value is missing")
        if found.hash_algorithm != load.sum.algorithm:
            if found.hash_algorithm not in hashlib.algorithms_available:
                raise StorageFailed(f"Glance hashes with {found.hash_algorithm}: set hashing_algorithm to sha512")
            self.algorithm = found.hash_algorithm
            raise Transient(f"Glance hashes with {found.hash_algorithm}")
        if found.hash != load.sum.hash.hexdigest() or load.size not in (None, found.size):
            raise Transient(f"image {image} has other bytes than were sent")
        self._trust(image)
        return Record(image, found.size or 0, found.hash_algorithm, found.hash, found.checksum)

    def new_sum(self) -> Sum:
        """For bytes that are going to be put there."""
        return Sum(self.algorithm, hashlib.new(self.algorithm))

    async def remove(self, image: str) -> None:
        """What is not there is no error.

        :raises StorageError: it may still be there.
        """
        self._sure.pop(image, None)
        await self._images.delete(image)

    def discard(self, image: str, is_noted: bool = False) -> None:
        """Remove it while nobody waits. If that fails it is noted, and found by its age.

        :param is_noted: whether it is already.
        """
        self._sure.pop(image, None)
        discarding = Deferred.fromCoroutine(self._discard(image, is_noted))
        self._discarding.add(discarding)
        discarding.addErrback(self._unnoted, image).addBoth(lambda _: self._discarding.discard(discarding))

    async def _discard(self, image: str, is_noted: bool) -> None:
        try:
            await self._images.delete(image, once=True)
        except (StorageError, CancelledError) as error:
            self.log.debug("image {image} is left: {error}", image=image, error=error)
            if self.notes is not None and not is_noted:
                await self.notes.give_up(image)
        else:
            if self.notes is not None and is_noted:
                await self.notes.forget_given_up(image)

    def _unnoted(self, failure: Failure, image: str) -> None:
        self.log.debug("image {image} is left, or a note of it: {error}", image=image, error=failure.value)

    async def stop(self) -> None:
        """Whatever is still being removed is left, and noted."""
        discarding = list(self._discarding)
        for each in discarding:
            each.cancel()
        await outcomes(*(each.addTimeout(LAST, self._clock) for each in discarding))

    # Reading

    async def verify(self, key: str, record: Record, *, anew: bool = False) -> None:
        """Whether the image is there and as it was, as known for `SURE` seconds.

        :param anew: whether Glance is asked in any case, as the only other copy is about to go.
        :raises NotFound: somebody has deleted it.
        :raises Damaged: it is another one.
        :raises Deactivated: it may not be read now.
        """
        if not anew and self._clock.seconds() - self._sure.get(record.image, -SURE) < SURE:
            return
        self._judge(key, record, await self._images.show(record.image))
        self._trust(record.image)

    def _trust(self, image: str) -> None:
        if len(self._sure) >= MOST_SURE:
            self._sure.pop(next(iter(self._sure)))
        self._sure[image] = self._clock.seconds()

    def _judge(self, key: str, record: Record, found: Image) -> None:
        if found.status == "deactivated":
            raise Deactivated(found.id, key)
        if found.status in UNFINISHED:
            raise Damaged(f"{key}: image {found.id} has lost its bytes: it is {found.status}")
        if found.status != ACTIVE:
            raise NotFound(f"{key}: image {found.id} is {found.status}")
        if (found.size, found.hash_algorithm, found.hash) != (record.size, record.algorithm, record.hash):
            raise Damaged(f"{key}: image {found.id} is not what was stored: its size or os_hash_value has changed")

    async def open(
        self, key: str, record: Record, modified: float, offset: int, asked: Asked = itself
    ) -> IReader:
        """Its bytes have begun to come.

        :param asked: what asking Glance comes to; also when its answer was cut off, and is gone on with.
        :raises NotFound, Damaged, Deactivated: as `verify`.
        """

        async def ask(at: int) -> Answer:
            return await asked(self._download(key, record, at))

        try:
            if offset >= record.size:
                await asked(self.verify(key, record))
                return SmallReader(b"", record.size, modified)
            return ResumingReader(key, record.size, modified, await ask(offset), offset, ask)
        except (NotFound, Damaged, Deactivated):
            self._sure.pop(record.image, None)
            raise

    async def _download(self, key: str, record: Record, offset: int) -> Answer:
        download = await self._images.download(record.image, offset)
        if download is None:
            raise Damaged(f"{key}: image {record.image} has lost its bytes")
        if download.size != record.size or download.checksum not in ("", record.checksum):
            download.answer.close()
            raise Damaged(f"{key}: image {record.image} is not what was stored: its size or checksum has changed")
        return download.answer

    # What is there

    async def show(self, image: str) -> Image | None:
        """What Glance says of it; ``None`` if it is not there."""
        try:
            return await self._images.show(image)
        except NotFound:
            return None

    def is_ours(self, image: Image) -> bool:
        """Whether this registry made it."""
        return bool(self.store) and image.properties.get(STORE) == self.store

    async def every(self) -> AsyncIterator[Image]:
        """Images of the project that are made as ours are, whosever they are."""
        owner = await self._images.project()
        async for image in pages(self._images, {**FORMATS, "owner": owner}):
            if image.owner == owner:
                yield image

    async def whole(self, image: str) -> tuple[Image, IReader]:
        """What Glance says of an image, and its bytes, whatever is known of them.

        :raises NotFound: there is none, or it has none.
        :raises Deactivated: it may not be read.
        """
        found = await self._images.show(image)
        return found, await open_image(self._images, found)

    async def _probe(self) -> Load:
        return Load([PROBE], len(PROBE), Sum(self.algorithm, hashlib.new(self.algorithm, PROBE)))

    async def page(self, marker: str) -> Page:
        """Images of this registry, as lists have them."""
        return await self._images.page({STORE: self.store}, marker)

    async def probe(self) -> None:
        """Write, read and delete. If there is no room for that, it works all the same: what is there can be pulled.

        :raises StorageError: that cannot be done; the text says which of it.
        """
        step = "create an image and write to it"
        record: Record | None = None

        try:
            record = await self.put("probe", self._probe)
            step = "read an image"
            reader = await self.open("probe", record, 0.0, 0)
            if await reader.read(len(PROBE)) != PROBE:
                raise StorageFailed("other bytes came back than were written")
            step = "delete an image"
            await self.remove(record.image)
            record = None
        except (StorageFull, Uploading):
            log_failed(self.log, "Glance takes nothing now, and what is there can be pulled")
        except StorageError as error:
            kind = type(error) if isinstance(error, Transient) else StorageFailed
            raise kind(f"Glance: cannot {step}: {error}") from error
        finally:
            if record is not None:
                self.discard(record.image)
