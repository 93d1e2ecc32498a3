"""Which images docker-registry 0.x left in Glance: all of a project is looked through, and they are remembered.

Glance cannot be asked for an id of Docker's, and lists what we keep there together with what is old. So it is written
down how many were found and when the last one was made: a start looks no further than that before it knows. Everything
is looked through again once a day, by one of the processes that share the store.
"""

from __future__ import annotations

import bisect
import heapq
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from docker_registry.deferreds import Shared, deferred
from docker_registry.errors import Damaged, NotFound, OutageKnown, StorageError, StorageFailed, StoreUnavailable
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

LONG = 3600.0
"""The same, if there is no reason why it should go better."""

SOON = 60.0
"""Seconds until a look that failed is begun again, if nobody asks; and from a start to the next look at least."""

DAILY = 86400.0
"""Seconds until all is looked through again: somebody may still use docker-registry 0.x."""

SPREAD = 3600.0
"""Seconds by which that is later at most, so that one process looks and the others see that it has."""

TELL = 10.0
"""Seconds between two lines in the log that say how far it is."""

MOST = 200_000
"""Images that are remembered, in about 450 bytes each."""

Listing = Callable[[float | None], AsyncIterator[Image]]
"""The images of a project that may be old.

:param until: only those made then or before, in seconds since the epoch by Glance's clock; ``None`` is all.
:raises StorageError: Glance does not say.
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written down.

    :ivar newest: when the last one was made, or a little later; 0 if there was none.
    :ivar looked: when everything was looked through.
    """

    place: str
    count: int
    newest: float
    looked: float


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
        self._looked = 0.0                      # when somebody went through all, as far as is known
        self._looking: Shared[None, None] = Shared()
        self._running: Deferred[None] | None = None
        self._failure: StorageError | None = None
        self._again = 0.0                       # when a look that failed may be begun again
        self._later: IDelayedCall | None = None
        self._closed = False

    async def start(self) -> None:
        """Wait for nothing but what was written down."""
        written = await self._written()
        if written is None:
            self._look_later(FIRST)
        else:
            self._take_over(written)

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

    def _look_later(self, seconds: float) -> None:
        if self._later is not None and self._later.active():
            self._later.cancel()
        if not self._closed:
            self._later = self._clock.callLater(seconds, self._look_unasked)

    def _look_tomorrow(self) -> None:
        self._look_later(max(self._looked + DAILY - self._clock.seconds(), SOON) + random.uniform(0, SPREAD))

    def _look_unasked(self) -> None:
        Deferred.fromCoroutine(self._look_if_need_be()).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        """The log says why, or whoever closed this knows."""
        failure.trap(StorageError, CancelledError)
        if self._later is None or not self._later.active():
            self._look_later(SOON)

    async def _look_if_need_be(self) -> None:
        """Unless another process has done so, and found that there are none."""
        written = await self._written()
        if written is not None and written.looked > self._looked:
            self._take_over(written)
            if not written.count:
                return
        await self._look()

    def _take_over(self, written: Written) -> None:
        """Another process has looked, or this one before it was started."""
        self._looked = written.looked
        if written.count:
            self._until = written.newest
            self._look_later(FIRST)
        else:
            self._images, self._is_complete = {}, True
            self._look_tomorrow()

    async def _look_through(self, until: float | None) -> None:
        try:
            found = await self._read(until)
            if until is None:
                await self._write(found)
        except StorageError as error:
            level = LogLevel.warn if self._failure is None else LogLevel.debug
            self.log.emit(level, "images that docker-registry 0.x left in Glance: {error}", error=str(error))
            passes = isinstance(error, StoreUnavailable)
            self._failure, self._again = error, self._clock.seconds() + (PAUSE if passes else LONG)
            self._look_later(SOON if passes else LONG)
            raise
        self._images, self._is_complete, self._failure, self._until = found, True, None, None
        self._look_tomorrow()

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
                raise StorageFailed(f"there are more than {MOST}, which is more than can be remembered")
            if self._clock.seconds() - told >= TELL:
                told = self._clock.seconds()
                self.log.info("looking for images of docker-registry 0.x in Glance: {looked} looked at, {count} found",
                              looked=looked, count=len(found))
        if found and not self._is_complete:
            self.log.info("images of docker-registry 0.x in Glance: {count}", count=len(found))
        return found

    # What is written down

    async def _written(self) -> Written | None:
        try:
            found = json.loads(await self._memory.get(layout.glance_old()))
            written = Written(
                str(found["place"]), int(found["count"]), float(found["newest"]), float(found["looked"])
            )
        except (NotFound, Damaged, ValueError, KeyError, TypeError):
            return None
        return written if written.place == self._place else None

    async def _write(self, found: Mapping[str, Sequence[Found]]) -> None:
        self._looked = self._clock.seconds()
        # Glance says whole seconds, and compares with what it has in its database.
        newest = max((each.created + 1 for several in found.values() for each in several), default=0.0)
        written = Written(self._place, len(found), newest, self._looked)
        await self._memory.put(layout.glance_old(), json.dumps(asdict(written)).encode())
