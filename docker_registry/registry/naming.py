"""Tags as names of objects, where the store shows its objects to people: behind requests, as well as it goes.

What has a name is the manifest that the tag stands for, which is one object for each image however it was pushed: v1
makes it of the images that it was told of. An object has one name: of several tags that stand for one manifest it is
that which was set last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from docker_registry.deferreds import outcomes
from docker_registry.errors import NotFound, StorageError
from docker_registry.names import Repository, Tag
from docker_registry.registry import events
from docker_registry.registry.tags import Tags
from docker_registry.storage import layout
from docker_registry.storage.interface import INames, IStorage

MOST = 10_000
"""Tags that wait; what comes when there are more is not named."""

LONGEST = 255
"""Characters of a name."""

TRIES = 10

PAUSE = 5.0
"""Seconds after a try that failed; after each further one twice as many, and `LONG` at most."""

LONG = 900.0

LEAVE = 2.0
"""Seconds that what is being named has when the registry stops: nobody waits for a store that hangs."""

AGAIN = 3
"""Times that a tag is looked up again which is set again all the time."""

Waiting = tuple[Repository, Tag | None]
"""A tag whose name is to be as the tag is; without a tag, all names of the repository."""


class Naming:
    """Each tag is looked up when its turn comes: what it stands for then counts, whatever was heard."""

    log = Logger()

    def __init__(self, names: INames, tags: Tags, clock: IReactorTime) -> None:
        self._names = names
        self._tags = tags
        self._clock = clock
        self._waiting: OrderedDict[Waiting, None] = OrderedDict()
        self._working: Deferred[None] | None = None
        self._soon: IDelayedCall | None = None
        self._failed = 0                        # tries, one after the other
        self._is_full = self._stopping = False

    async def hear(self, event: events.Event) -> None:
        """Note which tags changed; nobody waits for more."""
        match event:
            case events.ManifestPushed(repository, _, _, _, tags) | events.ManifestDeleted(repository, _, tags):
                self._add(repository, tags)
            case events.TagSet(repository, tag) | events.TagDeleted(repository, tag):
                self._add(repository, [tag])
            case events.ManifestMade(repository, tag=tag, is_pushed=True):
                self._add(repository, [tag])
            case events.RepositoryDeleted(repository):
                self._add(repository, [None])

    def start(self) -> None:
        """There is nothing to begin with: what waited when the registry stopped is not named."""

    async def stop(self) -> None:
        self._stopping = True
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        if self._working is not None:
            late = self._clock.callLater(LEAVE, self._working.cancel)
            await outcomes(self._working)
            if late.active():
                late.cancel()
        if self._waiting:
            self.log.warn("names: {count} tags changed, and what they stand for is not named after them",
                          count=len(self._waiting))

    def _add(self, repository: Repository, tags: Sequence[Tag | None]) -> None:
        for tag in tags:
            if len(self._waiting) >= MOST and (repository, tag) not in self._waiting:
                if not self._is_full:
                    self.log.warn("names: {count} tags wait for theirs; further ones are left out", count=MOST)
                self._is_full = True
                return
            self._waiting[repository, tag] = None
            self._waiting.move_to_end((repository, tag))
        if self._waiting and self._working is None and self._soon is None and not self._stopping:
            self._soon = self._clock.callLater(0, self._work)

    def _work(self) -> None:
        self._soon = None
        self._working = Deferred.fromCoroutine(self._work_off())
        self._working.addErrback(self._broken)
        self._working.addBoth(self._worked)

    def _broken(self, reason: Failure) -> None:
        if not self._stopping or reason.check(CancelledError) is None:
            self.log.failure("names are not set any more", reason)

    def _worked(self, _: object) -> None:
        self._working = None
        if self._waiting and not self._stopping and self._soon is None:
            self._soon = self._clock.callLater(min(PAUSE * 2 ** (self._failed - 1), LONG), self._work)

    async def _work_off(self) -> None:
        while self._waiting and not self._stopping:
            (repository, tag), _ = self._waiting.popitem(last=False)
            try:
                await self._settle(repository, tag)
            except CancelledError:
                self._waiting[repository, tag] = None       # to be counted
                raise
            except StorageError as error:
                self._failed += 1
                self._put_back(repository, tag, error)
                return
            self._failed = 0
            self._is_full = False

    def _put_back(self, repository: Repository, tag: Tag | None, error: StorageError) -> None:
        """To the front; after many tries it is given up, and the next one is tried."""
        is_last = self._failed >= TRIES
        level = LogLevel.warn if is_last or self._failed == 1 else LogLevel.debug
        self.log.emit(level, "names: {name} {what}: {error}", name=_name(repository, tag),
                      what="is left out" if is_last else "has to wait", error=str(error))
        if is_last:
            self._failed = 0
        elif (repository, tag) not in self._waiting:
            self._waiting[repository, tag] = None
            self._waiting.move_to_end((repository, tag), last=False)

    async def _settle(self, repository: Repository, tag: Tag | None) -> None:
        if tag is None:
            for name in await self._names.names(str(repository)):
                await self._settle(repository, Tag(name.rpartition(":")[2]))
            return
        name = _name(repository, tag)
        if len(name) > LONGEST:
            self.log.debug("names: {name} is too long for one", name=name)
            return
        key = await self._key(repository, tag)
        for _ in range(AGAIN):
            await self._names.set_name(name, str(repository), key)
            key, was = await self._key(repository, tag), key
            if key == was:                      # else another process has set it meanwhile, and named it before us
                return

    async def _key(self, repository: Repository, tag: Tag) -> str | None:
        try:
            return layout.blob(await self._tags.linked(repository, tag))
        except NotFound:
            return None


def _name(repository: Repository, tag: Tag | None) -> str:
    return f"{repository}:{tag or '*'}"


def naming(storage: IStorage, tags: Tags, heard: events.Events, clock: IReactorTime) -> Naming | None:
    """What names the objects of a store, and hears of changes already; ``None`` where nobody sees names."""
    if not INames.providedBy(storage):
        return None
    made = Naming(INames(storage), tags, clock)
    heard.subscribe(made.hear)
    return made
