"""What was diverted goes to Glance when that works again: copied, compared, and only then removed (F12)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from docker_registry.deferreds import Background
from docker_registry.digest import Hash, new_hash
from docker_registry.errors import Damaged, NotFound, OutageKnown, StorageError, StoreUnavailable
from docker_registry.storage import layout
from docker_registry.storage.glance.committing import Committing
from docker_registry.storage.glance.diversion import Diversion
from docker_registry.storage.glance.errors import Deactivated
from docker_registry.storage.glance.records import Mark, Record, Records
from docker_registry.storage.glance.shelf import Load, Shelf, SourceFailed
from docker_registry.storage.http import Crowded
from docker_registry.storage.interface import IStorage, Stat

PAUSE = 15.0
"""Seconds between two looks whether something was diverted, in whatever process."""

SLOW = 600.0
"""Seconds after which what could not be moved is tried again."""


class Rounds:
    """One object after the other, in the process that does what is done once for all.

    :param move: moves one; whether it was moved, and is not marked any more.
    :ivar moved: how many were.
    :ivar waiting: how many were marked when that was looked at last.
    """

    log = Logger()

    def __init__(
        self, clock: IReactorTime, records: Records, diversion: Diversion, move: Callable[[Mark], Awaitable[bool]]
    ) -> None:
        self.moved = 0
        self.waiting = 0
        self._clock = clock
        self._records = records
        self._diversion = diversion
        self._move = move
        self._failed: dict[str, float] = {}         # marks that could not be moved, and when they are tried again
        self._running = Background()

    def begin(self) -> None:
        self._running.begin(self._go())

    def stop(self) -> None:
        """What is on its way stays where it was."""
        self._running.stop()

    async def _go(self) -> None:
        while True:
            await self._diversion.over()
            try:
                await self.round()
            except CancelledError:
                raise
            except (OutageKnown, Crowded) as error:
                self.log.warn("moving to Glance stopped, it goes on soon: {error}", error=error)
            except StorageError as error:
                self.log.warn("storage_alternate fails, so that moving to Glance stopped; it goes on soon: {error}",
                              error=error, alert="storage_alternate fails")
            except Exception:
                self.log.failure("moving to Glance failed")
            await deferLater(self._clock, PAUSE)

    async def round(self) -> int:
        """How many were moved.

        :raises StorageError: as `Mover`; or the alternate store fails.
        """
        self.waiting = await self._records.count_marks()
        self._failed = {id: again for id, again in self._failed.items() if again > self._clock.seconds()}
        moved = 0
        async for mark in self._records.marks():
            if mark.id in self._failed:
                continue
            if await self._move(mark):
                moved += 1
                self.moved += 1
                self.waiting = max(self.waiting - 1, 0)
            else:
                self._failed[mark.id] = self._clock.seconds() + SLOW
        if moved:
            self.log.info("{count} objects that were diverted are in Glance now", count=moved)
            self.waiting = await self._records.count_marks()
        return moved


class Mover:
    """Moves one object. Who interrupts it leaves what was there, and an image that is found by its age."""

    log = Logger()

    def __init__(
        self, shelf: Shelf, alternate: IStorage, records: Records, diversion: Diversion, committing: Committing
    ) -> None:
        self._shelf = shelf
        self._alternate = alternate
        self._records = records
        self._diversion = diversion
        self._committing = committing

    async def __call__(self, mark: Mark) -> bool:
        """:raises OutageKnown: Glance fails.
        :raises Crowded: it has no room for this now.
        :raises StoreUnavailable: the alternate store fails.
        """
        try:
            before = await self._alternate.stat(mark.key)
            record = await self._in_glance(mark.key) or await self._copied(mark.key, before)
        except NotFound:
            await self._records.unmark(mark)        # deleted meanwhile, or moved by somebody who was interrupted
            return True
        except SourceFailed as failed:
            if isinstance(failed.error, StoreUnavailable):
                raise failed.error from None
            return self._stays(mark.key, failed.error)
        except StoreUnavailable:
            raise
        except StorageError as error:
            return self._stays(mark.key, error)
        return await self._replace(mark, before, record)

    async def _in_glance(self, key: str) -> Record | None:
        """The record of ``key``, if its image is there, whole, and can be read."""
        try:
            found = await self._records.find(key)
            if found is None:
                return None
            await self._diversion.asked(self._shelf.verify(key, found[0], anew=True))
        except (NotFound, Damaged, Deactivated):
            return None
        return found[0]

    async def _copied(self, key: str, before: Stat) -> Record:
        """:raises Damaged: what lies in the alternate store has not the digest that is in its key."""
        digest = layout.content_digest(key)
        seen: list[Hash] = []

        async def load() -> Load:
            seen[:] = [] if digest is None else [new_hash(digest.algorithm)]
            return await self._committing.load(key, before.size, None, *seen)

        record = await self._diversion.asked(self._shelf.put(key, load))
        if digest is not None and seen[0].hexdigest() != digest.hex:
            self._shelf.discard(record.image)
            raise Damaged("its bytes are not those that were pushed; push an image that has it to heal it")
        return record

    async def _replace(self, mark: Mark, before: Stat, record: Record) -> bool:
        async with self._committing.turns.held(mark.key):
            try:
                if await self._alternate.stat(mark.key) != before:
                    self.log.debug("{key} was written again while it was moved", key=mark.key)
                    return False
            except NotFound:
                self.log.debug("{key} went while it was moved", key=mark.key)
                return False
            await self._committing.record(mark.key, record)
        return True

    def _stays(self, key: str, error: StorageError) -> bool:
        self.log.error("{key} stays in storage_alternate: {reason}", key=key, reason=str(error),
                       alert="diverted content stays")
        return False
