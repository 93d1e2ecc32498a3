"""Which repositories there are, and which of them are meant by a word.

The store is the truth, and going through it is slow. So what is there is written down, and the records answer as soon
as, and as long as, they are known to be complete; until then, and whenever they fail, the store does.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger

from docker_registry.deferreds import outcomes, together
from docker_registry.names import Repository
from docker_registry.registry.database import DatabaseFailed
from docker_registry.registry.old import OldStore
from docker_registry.registry.records import Records, RepositoryRecord
from docker_registry.registry.walk import Walk

SLICE = 100
"""Repositories looked at in one turn of the reactor."""

SEARCHES = 2
"""Searches that go through the store at a time."""


@dataclass(frozen=True, slots=True)
class FoundName:
    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """:ivar total: how many there are on all pages."""

    total: int
    entries: tuple[FoundName, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of the records.

    :ivar epoch: of the database.
    :ivar losses: changes that could not be written down.
    """

    epoch: int
    losses: int


Describe: TypeAlias = Callable[[Repository], Coroutine[Deferred[Any], Any, str]]


class Catalogue:
    """:ivar describe: reads the description of a repository from the store."""

    log = Logger()

    def __init__(self, walk: Walk, records: Records, old: OldStore) -> None:
        self._walk = walk
        self._records = records
        self._old = old
        self._losses = 0
        self._complete: Mark | None = None
        self._searching = DeferredSemaphore(SEARCHES)
        self.describe: Describe | None = None

    # Asking

    async def page(self, after: str, limit: int) -> list[Repository]:
        """At most ``limit`` repositories that hold a manifest, beyond ``after`` (which need not exist).

        Those of docker-registry 0.x that have a tag are among them. In byte order.
        """
        if limit < 1:
            return []
        if self.is_complete:
            try:
                names = await self._records.names(after, limit)
            except DatabaseFailed as error:
                self.lost(error)
            else:
                if self.is_complete:            # and was so all the time
                    return [Repository(name) for name in names]
        return await self._walk.page(after, limit)

    async def search(self, term: str, page: int, count: int) -> Found:
        """Repositories with ``term`` in their name or description: the ``page``-th, from 1, of ``count``.

        Upper and lower case are alike. First those that have it as their name, then those whose name begins with it,
        has it, whose description has it. Private ones are left out: nobody who asks is known.
        """
        term = term.encode(errors="replace").decode().strip().casefold()
        start = (page - 1) * count
        if self.is_complete:
            try:
                total, found = await self._records.search(term, start, count)
            except DatabaseFailed as error:
                self.lost(error)
            else:
                if self.is_complete:
                    return Found(total, tuple(FoundName(*each) for each in found))
        await self._searching.acquire()
        try:
            names = await self._search_store(term)
        finally:
            self._searching.release()
        return Found(len(names), tuple(await self._described(await self._ranked(names, term, start, count))))

    async def repository(self, repository: Repository) -> RepositoryRecord | None:
        """What is written down of ``repository``; ``None`` if nothing is, or not yet."""
        try:
            return await self._records.repository(repository)
        except DatabaseFailed as error:
            self.lost(error)
            return None

    async def with_uploads(self, after: str, limit: int) -> list[Repository]:
        """As `page`, of the names that have, or had, an upload session."""
        return await self._walk.with_uploads(after, limit)

    async def holds_anything(self, repository: Repository) -> bool:
        """Whether a manifest or a blob was pushed to ``repository``."""
        return await self._walk.holds_anything(repository)

    # Whether the records can be relied on

    @property
    def is_complete(self) -> bool:
        return self._complete is not None and self._complete == self.mark()

    def mark(self) -> Mark:
        """The present moment, for `vouch`."""
        return Mark(self._records.epoch, self._losses)

    def vouch(self, mark: Mark) -> None:
        """The records have all that the store had at some moment after ``mark`` was taken, and what came since."""
        self._complete = mark

    def lost(self, error: DatabaseFailed) -> None:
        """A change could not be written down, or what is written cannot be read: the store is asked from now on, until
        it has been read to its end once more."""
        if self._losses == 0 or self.is_complete:
            self.log.error("the catalogue cannot be used, so that listings and searches are slow: {error}", error=error)
        self._losses += 1

    # The store

    async def _search_store(self, term: str) -> list[str]:
        try:
            noted = set(await self._records.matching(term))
        except DatabaseFailed as error:
            self.lost(error)
            noted = set()
        found: list[str] = []
        after = ""
        while names := await self._walk.page(after, SLICE):
            matching = [each for each in names if term in each.name or each.name in noted]
            private = await outcomes(*[Deferred.fromCoroutine(self._old.is_private(each)) for each in matching])
            found += [each.name for each, hidden in zip(matching, private, strict=True) if hidden is False]
            after = names[-1].name
        return found

    async def _ranked(self, names: Sequence[str], term: str, start: int, count: int) -> list[str]:
        try:
            return await self._records.ranked(names, term, start, count)
        except DatabaseFailed as error:
            self.lost(error)
            return sorted(names)[start : start + count]

    async def _described(self, names: Sequence[str]) -> list[FoundName]:
        if self.describe is None:
            return [FoundName(name) for name in names]
        said = await together(*[Deferred.fromCoroutine(self.describe(Repository(name))) for name in names])
        return [FoundName(*each) for each in zip(names, said, strict=True)]
