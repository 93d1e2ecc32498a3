"""The store is read from one end to the other, so that the catalogue has what is in it: at start, if it was lost."""

from __future__ import annotations

import os

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from docker_registry.deferreds import Background, outcomes
from docker_registry.errors import NotFound, StorageError, expect
from docker_registry.names import Repository, Tag
from docker_registry.registry.catalogue import Catalogue
from docker_registry.registry.database import Database, DatabaseFailed
from docker_registry.registry.descriptions import Descriptions
from docker_registry.registry.recorder import Recorder
from docker_registry.registry.records import Records, TagRecord
from docker_registry.registry.tags import Tags
from docker_registry.registry.walk import Walk

PAGE = 100
"""Repositories between two looks at how far the changes are."""

SLICE = 200
"""Tags of a repository that are read in one go."""

ATTEMPTS = 5
"""How often a repository is read that is deleted, and pushed again, every time."""

CHECK = 5.0
"""Seconds between two looks whether there is something to do."""

WAIT = 1.0
"""Seconds between two looks whether another process has come to the end."""

RETRY = 60.0
"""Seconds after which the next attempt follows one that failed."""

PROGRESS = 10.0
"""Seconds between two lines in the log."""

LONGEST_PAUSE = 1.0

MAX_UNREAD = 10
"""Repositories that cannot be read in one round: more than that, and it is the store that fails."""

LATER = 3600.0
"""Seconds after which those are tried again."""

WHAT = "reading the catalogue from the store"


class Rounds:
    """One round when the process starts, and one whenever the catalogue was lost; others answer meanwhile.

    Half of the time is left to requests. Of several processes that share a catalogue one reads, the others wait for it.

    :param refresh: seconds after which the next round begins: for a store that others write to as well. 0 is never.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        database: Database,
        catalogue: Catalogue,
        records: Records,
        walk: Walk,
        tags: Tags,
        descriptions: Descriptions,
        recorder: Recorder,
        refresh: float = 0.0,
    ) -> None:
        self._clock = clock
        self._database = database
        self._catalogue = catalogue
        self._records = records
        self._walk = walk
        self._tags = tags
        self._descriptions = descriptions
        self._recorder = recorder
        self._refresh = refresh
        self._running = Background()
        self._worked = clock.seconds()
        self._told = clock.seconds()
        self._repositories = self._found_tags = self._unread = 0

    def start(self) -> None:
        self._running.begin(self._go())

    def stop(self) -> None:
        """A round that is running ends at its next step."""
        self._running.stop()

    async def _go(self) -> None:
        while True:
            try:
                await self.round()
            except (StorageError, DatabaseFailed) as error:
                self.log.error("{what} failed, the next attempt is in {retry:g} s: {kind} {error}",
                               what=WHAT, retry=RETRY, kind=type(error).__name__, error=str(error))
                await self._sleep(RETRY)
            except CancelledError:
                raise
            except Exception:
                self.log.failure("{what} failed, the next attempt is in {retry:g} s", what=WHAT, retry=RETRY)
                await self._sleep(RETRY)
            else:
                await self._wait()

    async def _wait(self) -> None:
        """Until the next round is due."""
        pauses = [each for each in (self._refresh, LATER if self._unread else 0.0) if each]
        due = self._clock.seconds() + min(pauses) if pauses else None
        while self._catalogue.is_complete and (due is None or self._clock.seconds() < due):
            await self._sleep(CHECK)

    async def _sleep(self, seconds: float) -> None:
        await deferLater(self._clock, seconds)

    async def round(self) -> None:
        """Read the store, or wait until another process has done so.

        :raises StorageError: it cannot be read.
        :raises DatabaseFailed: the catalogue cannot be written.
        """
        completed = await self._records.completed()
        mark = self._catalogue.mark()
        while (reading := await self._database.take_reading()) is None:
            await self._sleep(WAIT)
            # What this process could not write down another one does not know to be missing.
            if mark.losses == 0 and await self._records.completed() > completed and self._catalogue.mark() == mark:
                self._catalogue.vouch(mark)
                return
        try:
            await self._read()
        finally:
            if reading >= 0:
                os.close(reading)

    async def _read(self) -> None:
        await self._records.begin()
        mark = self._catalogue.mark()
        began = self._worked = self._told = self._clock.seconds()
        self._repositories = self._found_tags = self._unread = 0
        after, more = "", True
        while more:
            change = await self._records.change()
            found = await self._walk.page(after, PAGE)
            more = len(found) == PAGE
            names = [each.name for each in found]
            await self._records.found_repositories(after, names[-1] if more else None, names, change)
            for each in found:
                await self._read_repository(each, change)
                after = each.name
        if self._catalogue.mark() != mark:
            raise DatabaseFailed("it was lost meanwhile")
        await self._records.end(mark.epoch)
        self._catalogue.vouch(mark)
        self.log.info(
            "the catalogue is complete: {repositories} repositories, {tags} tags, read in {seconds:.1f} s",
            repositories=self._repositories, tags=self._found_tags, seconds=self._clock.seconds() - began,
        )

    async def _read_repository(self, repository: Repository, change: int) -> None:
        try:
            await self._recorder.look(repository, change)
            for _ in range(ATTEMPTS):
                if await self._read_tags(repository, change):
                    break
                change = await self._records.change()
        except StorageError as error:
            self._unread += 1
            if self._unread > MAX_UNREAD:
                raise
            self.log.warn("{repository} cannot be read, so that searches may not find it: {kind} {error}",
                          repository=repository.name, kind=type(error).__name__, error=str(error))
        self._repositories += 1
        await self._pause(repository)

    async def _read_tags(self, repository: Repository, change: int) -> bool:
        """Whether they could be noted: not if the repository was deleted meanwhile."""
        after, more = "", True
        while more:
            dated = await self._tags.dated_page(repository, after, SLICE)
            names = list(dated)
            more = len(names) == SLICE
            last = names[-1] if more else None
            known = await self._records.tags(repository, after, SLICE)
            found = {
                name: await self._record(repository, name, set_at, known.get(name)) for name, set_at in dated.items()
            }
            if not await self._records.found_tags(repository, after, last, found, change):
                return False
            self._found_tags += len(names)
            if last is not None:
                after = last
                await self._pause(repository)
        return True

    async def _record(
        self, repository: Repository, tag: str, set_at: float | None, known: TagRecord | None
    ) -> TagRecord:
        """What is known of a tag that was not set since is true; a manifest never changes."""
        if set_at is None:
            return TagRecord()
        if known is not None and known.pushed == set_at and known.size is not None:
            return known
        (digest,) = await outcomes(Deferred.fromCoroutine(self._tags.linked(repository, Tag(tag))))
        expect(digest, NotFound)
        if isinstance(digest, Exception):
            return TagRecord(pushed=set_at)
        return TagRecord(str(digest), await self._descriptions.size_of(digest), set_at)

    async def _pause(self, repository: Repository) -> None:
        """As long as was worked since the last one."""
        now = self._clock.seconds()
        if now - self._told >= PROGRESS:
            self._told = now
            self.log.info("{what}: {repositories} repositories, {tags} tags, at {name}", what=WHAT,
                          repositories=self._repositories, tags=self._found_tags, name=repository.name)
        await self._sleep(min(now - self._worked, LONGEST_PAUSE))
        self._worked = self._clock.seconds()
