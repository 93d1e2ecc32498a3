"""A container: the keys are those of the tree, below a prefix.

What a directory does by renaming is one write here: an object is there whole or not at all, and as long as the store
says. A touched object carries its time. What a reader has begun to read goes on when the key is overwritten or
deleted, as far as the store lets it: a large object ends with the segment that is being read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import alsoProvides, implementer

from docker_registry.deferreds import at_most, deferred
from docker_registry.errors import Damaged, NotFound, Transient
from docker_registry.storage.http import Answer, Http
from docker_registry.storage.interface import (
    SMALL,
    IClaims,
    IDirect,
    ILeftovers,
    IReader,
    IRedirects,
    IStorage,
    Leftover,
)
from docker_registry.storage.objects.budget import Budget
from docker_registry.storage.objects.claiming import claim
from docker_registry.storage.objects.parts import PieceSizes
from docker_registry.storage.objects.reader import PiecesReader
from docker_registry.storage.objects.storage import ObjectStorage
from docker_registry.storage.objects.store import Head
from docker_registry.storage.retries import Retries
from docker_registry.storage.swift.check import check
from docker_registry.storage.swift.client import Client
from docker_registry.storage.swift.container import TOUCHED, Container, SwiftHead
from docker_registry.storage.swift.groups import AT_ONCE, Groups
from docker_registry.storage.swift.large import Segmented
from docker_registry.storage.swift.limits import Limit
from docker_registry.storage.swift.links import link
from docker_registry.storage.swift.settings import Settings
from docker_registry.storage.tokens import LogIn, Service
from docker_registry.threads import Runner

Leftovers = list[Leftover]

APART = 64 << 20
"""Bytes from which on segments are read one by one: with less it would take longer to ask what they are."""


@implementer(IStorage, IDirect, ILeftovers, IClaims)
class SwiftStorage(ObjectStorage):
    """:param log_in: at Keystone, or as Swift itself has it.
    :param http: for the store.
    :param others: closed with it.
    :param clock: of tokens and retries.
    :param now: seconds since the epoch, by this machine's clock.
    :param retries: of requests that failed.
    """

    log = Logger()

    def __init__(
        self,
        settings: Settings,
        log_in: LogIn,
        http: Http,
        runner: Runner,
        clock: Any,
        *,
        now: Callable[[], float] = time.time,
        retries: Retries | None = None,
    ) -> None:
        self._settings = settings
        self._now = now
        self._http = http
        if settings.temp_url_key is not None:
            alsoProvides(self, IRedirects)
        service = Service(http, log_in, clock)
        client = Client(service, settings.container, retries or Retries(clock), http.patience, clock.seconds)
        self.container = Container(client, runner)
        groups = Groups(self.container, settings.prefix)
        self.large = Segmented(self.container, groups, Limit(http, client.access))
        budget = Budget(settings.memory, clock, "swift_memory")
        pieces = PieceSizes(settings.segment_size, budget, uneven=True)
        super().__init__(self.container, self.large, budget, runner, settings.prefix, pieces)

    # Reading

    async def _reader(self, whole: str, answer: Answer, head: Head, offset: int) -> IReader:
        """A large object of ours is read segment by segment, each one asked for while the one before is read: Swift's
        proxy would compute their sums once more, which takes as long as everything else that it does.
        """
        assert isinstance(head, SwiftHead)
        if head.group and head.size - offset >= APART:
            pieces = await self.large.pieces(whole, head)
            if pieces:
                answer.close()
                return PiecesReader(self.container, pieces, b"", head.modified, offset)
        return await super()._reader(whole, answer, head, offset)

    @deferred
    async def link(self, key: str) -> str:
        return await self._link(self._whole(key))

    async def _link(self, whole: str) -> str:
        assert self._settings.temp_url_key is not None
        return await link(self.container.client, whole, self._settings.temp_url_key, self._now())

    async def _read_link(self, whole: str) -> bytes:
        """What clients read that are sent to the store, who have no token.

        :raises Transient: they cannot. That may pass: the key is new, and not each of Swift's proxies knows it yet, for
            a minute; they are busy; a clock is not set yet.
        """
        answer = await self._http.request("GET", await self._link(whole), {})
        try:
            if answer.status != 200:
                raise Transient(f"the store answers {answer.status}")
            return await answer.content(SMALL)
        finally:
            answer.close()

    # Writing

    def claim(self, key: str, content: bytes) -> Deferred[None]:
        return Deferred.fromCoroutine(claim(self.container, self._whole(key), content))

    def _part_sizes(self, length: int | None) -> Callable[[int, int], int]:
        """Segments need not be equal: they are larger where there is memory for it, as pieces are."""
        return lambda number, offset: self._sizes.part(offset, length)

    @deferred
    async def touch(self, key: str) -> None:
        whole = self._whole(key)
        head = await self.container.head(whole)
        await self.container.post(whole, {**head.kept, TOUCHED: f"{self._now():.3f}"})

    @deferred
    async def delete(self, key: str) -> None:
        await self.large.delete(self._whole(key))

    @deferred
    async def delete_tree(self, prefix: str) -> None:
        whole = self._whole(prefix)
        page = await self.container.page(f"{whole}/")
        await self._delete_all([whole, *page.keys])
        while page.token:
            page = await self.container.page(f"{whole}/", token=page.token)
            await self._delete_all(page.keys)

    async def _delete_all(self, keys: list[str]) -> None:
        async def delete(key: str) -> None:
            try:
                await self.large.delete(key)
            except NotFound:
                return                          # lists may be late

        await at_most(AT_ONCE, [partial(delete, key) for key in keys])

    @deferred
    async def quarantine(self, key: str) -> None:
        kept = self._kept(key)
        await self.large.quarantine(self._whole(key), kept)
        self.log.warn("{key} is kept as {kept}", key=key, kept=kept)

    # What is left of large objects

    @deferred
    async def leftovers(self, before: float) -> Leftovers:
        await self.large.tidied()               # else it might be looked at while it goes
        groups = self.large.groups
        found: list[Leftover] = []
        for group, modified in (await groups.unfinished()).items():
            if modified >= before:
                continue
            newest = max([modified, *(row.modified for row in await groups.rows(group))])
            if newest >= before:
                continue
            try:
                orphans = await self.large.orphans(group)
            except Damaged as error:
                self.log.warn("segments {group} stay: nobody knows whose they are: {error}", group=group, error=error)
                continue
            if not orphans:
                await groups.forget([group])    # it has an object, and nobody else can want it by now
                continue
            keys = await groups.keys(group)
            found.append(Leftover(keys[-1].removeprefix(self._prefix) if keys else "", group, newest))
        return found

    @deferred
    async def remove_leftover(self, leftover: Leftover) -> None:
        groups = self.large.groups
        if await groups.keys(leftover.id) is None:
            return                              # it was seen to meanwhile
        await groups.claim(leftover.id, "")
        await groups.delete(await self.large.orphans(leftover.id))
        await groups.forget([leftover.id])

    # Life

    @deferred
    async def start(self) -> None:
        """:raises StorageError: the container cannot be used; the text says what is missing."""
        if self._settings.check:
            await check(self.container, self.large, self._settings, self._read_link)

    def close(self) -> Deferred[None]:
        self.budget.close()
        return Deferred.fromCoroutine(self._http.close())
