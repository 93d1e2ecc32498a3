"""Which images docker-registry 0.x left in Glance: all of a project is looked through, and they are remembered.

Glance cannot be asked for an id of Docker's, and lists what we keep there together with what is old. So it is written
down how many were found and when the last one was made: a start looks no further than that before it knows, and through
everything again when it has begun to serve.
"""

from __future__ import annotations

import bisect
import heapq
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from docker_registry.deferreds import Shared, deferred
from docker_registry.errors import Damaged, NotFound, OutageKnown, StorageError, StoreUnavailable
from docker_registry.storage import layout
from docker_registry.storage.glance.images import Image
from docker_registry.storage.glance.old import Found, find
from docker_registry.storage.interface import IStorage

PATIENCE = 10.0
"""Seconds that somebody waits for the first look to come to its end."""

PAUSE = 10.0
"""Seconds until a look that failed is begun again, if somebody asks."""

FIRST = 1.0
"""Seconds after a start until somebody looks, if nobody asks before."""

SOON = 60.0
"""Seconds after a start in which less was looked through, until all is."""

DAILY = 86400.0
"""Seconds until all is looked through again: somebody may still use docker-registry 0.x."""

TELL = 10.0
"""Seconds between two lines in the log that say how far it is."""

MOST = 200_000
"""Images that are remembered, in about 450 bytes each."""

Listing = Callable[[float | None], AsyncIterator[Image]]
"""The images of a project that may be old.

:param until: only those made then or before, in seconds since the epoch by Glance's clock; ``None`` is all.
:raises StorageError: Glance does not say.
"""


class OldIndex:
    """:param memory: where is written down what was found.
    :param place: what is looked through; what was found elsewhere does not count.
    """

    log = Logger()

    def __init__(self, listing: Listing, memory: IStorage, clock: IReactorTime, place: str) -> None:
        self._listing = listing
        self._memory = memory
        self._clock = clock
        self._place = place
        self._images: dict[str, list[Found]] = {}
        self._is_complete = False
        self._until: float | None = None        # what the next look goes through
        self._looking: Shared[None, None] = Shared()
        self._running: Deferred[None] | None = None
        self._failure: StorageError | None = None
        self._again = 0.0                       # when a look that failed may be begun again
        self._later: IDelayedCall | None = None
        self._closed = False

    async def start(self) -> None:
        """Wait for nothing but what was written down."""
        count, self._until = await self._written()
        self._is_complete = count == 0
        self._look_later(SOON if self._is_complete else FIRST)

    def close(self) -> None:
        self._closed = True
        if self._later is not None and self._later.active():
            self._later.cancel()
        if self._running is not None:
            self._running.cancel()

    @deferred
    async def explored(self) -> None:
        """Wait for the first look, however long it takes.

        :raises StorageError: it failed.
        """
        if not self._is_complete:
            await self._look()

    async def find(self, image: str) -> Found | None:
        """Where an image of Docker's is; ``None`` if none was left.

        :raises StoreUnavailable: nobody knows yet.
        """
        found = self._images.get(image)
        if not found or not found[-1].is_whole:
            await self._known()
            found = self._images.get(image)
        return found[-1] if found else None

    async def all(self, image: str) -> Sequence[Found]:
        """Everything that was left of one image: 0.x made another one when it did not find the first.

        :raises StoreUnavailable: nobody knows yet.
        """
        await self._known()
        return tuple(self._images.get(image, ()))

    async def page(self, after: str, limit: int) -> list[str]:
        """At most ``limit`` ids of Docker's beyond ``after``, in order.

        :raises StoreUnavailable: nobody knows yet.
        """
        await self._known()
        return heapq.nsmallest(limit, (image for image in self._images if image > after))

    def forget(self, image: str, found: Found) -> None:
        """It is not there any more."""
        left = [each for each in self._images.get(image, ()) if each != found]
        if left:
            self._images[image] = left
        else:
            self._images.pop(image, None)

    # Looking

    async def _known(self) -> None:
        """Wait until all are."""
        if self._is_complete:
            return
        try:
            await self._look().addTimeout(PATIENCE, self._clock)
        except TimeoutError:
            raise OutageKnown(
                f"Glance is still being looked through for images of docker-registry 0.x: {len(self._images)} so far"
            ) from None
        except StorageError as error:
            raise StoreUnavailable(f"nobody knows which images docker-registry 0.x left in Glance: {error}") from None

    def _look(self) -> Deferred[None]:
        """Once for all who ask meanwhile; what failed is not tried again at once."""
        if self._failure is not None and self._clock.seconds() < self._again:
            return fail(self._failure)
        return self._looking(None, self._begin)

    def _begin(self) -> Deferred[None]:
        self._running = Deferred.fromCoroutine(self._look_through(self._until))
        return self._running

    def _look_quietly(self) -> None:
        self._look().addErrback(_logged)

    def _look_later(self, seconds: float) -> None:
        if self._later is not None and self._later.active():
            self._later.cancel()
        if not self._closed:
            self._later = self._clock.callLater(seconds, self._look_quietly)

    async def _look_through(self, until: float | None) -> None:
        try:
            found = await self._read(until)
        except StorageError as error:
            level = LogLevel.warn if self._failure is None else LogLevel.debug
            self.log.emit(level, "images that docker-registry 0.x left in Glance: {error}", error=str(error))
            self._failure, self._again = error, self._clock.seconds() + PAUSE
            raise
        if until is None:
            await self._write(found)
        self._images, self._is_complete, self._failure, self._until = found, True, None, None
        self._look_later(DAILY if until is None else SOON)

    async def _read(self, until: float | None) -> dict[str, list[Found]]:
        found: dict[str, list[Found]] = {}
        if not self._is_complete:
            self._images = found                # what is known already can be served
        looked, told = 0, self._clock.seconds()
        async for image in self._listing(until):
            looked += 1
            if (old := find(image)) is not None:
                bisect.insort(found.setdefault(str(old[0]), []), old[1])
            if len(found) > MOST:
                raise StoreUnavailable(f"there are more than {MOST}, which is more than can be remembered")
            if self._clock.seconds() - told >= TELL:
                told = self._clock.seconds()
                self.log.info("looking for images of docker-registry 0.x in Glance: {looked} looked at, {count} found",
                              looked=looked, count=len(found))
        if found and not self._is_complete:
            self.log.info("images of docker-registry 0.x in Glance: {count}", count=len(found))
        return found

    # What is written down

    async def _written(self) -> tuple[int | None, float | None]:
        """How many there were, and when the last one was made; ``None`` if nobody has looked, or there was none."""
        try:
            written = json.loads(await self._memory.get(layout.glance_old()))
            if written["place"] == self._place:
                count, newest = int(written["count"]), float(written["newest"])
                return count, newest if count else None
        except (NotFound, Damaged, ValueError, KeyError, TypeError):
            return None, None
        return None, None

    async def _write(self, found: Mapping[str, Sequence[Found]]) -> None:
        newest = max((each.created for several in found.values() for each in several), default=0.0)
        # Glance says whole seconds, and compares with what it has in its database.
        written = {"place": self._place, "count": len(found), "newest": newest + 1}
        await self._memory.put(layout.glance_old(), json.dumps(written).encode())


def _logged(failure: Failure) -> None:
    failure.trap(StorageError, CancelledError)
