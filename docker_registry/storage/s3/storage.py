"""A bucket: the keys are those of the tree, below a prefix.

What a directory does by renaming is one write here: an object is there whole or not at all, and as long as the store
says. Times have seconds; a touched object carries its time, and is written anew by the store for that. What a reader
has begun to read goes on when the key is overwritten or deleted, as far as the store lets it.

No write of content is made to depend on nothing being there (``If-None-Match``): what stands at a digest's key is the
same bytes, and is replaced by them, or it is damaged, and has to be replaced; a tag is replaced; an upload has a key of
its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import alsoProvides, implementer

from docker_registry.deferreds import deferred
from docker_registry.errors import NotFound
from docker_registry.storage.http import Http, Patience
from docker_registry.storage.interface import IClaims, IDirect, ILeftovers, IRedirects, IStorage, Leftover
from docker_registry.storage.objects.budget import Budget
from docker_registry.storage.objects.claiming import claim
from docker_registry.storage.objects.parts import PieceSizes
from docker_registry.storage.objects.storage import ObjectStorage
from docker_registry.storage.objects.store import Refused
from docker_registry.storage.retries import Retries
from docker_registry.storage.s3.bucket import TOUCHED, Bucket
from docker_registry.storage.s3.check import check
from docker_registry.storage.s3.client import Client
from docker_registry.storage.s3.copying import copy
from docker_registry.storage.s3.credentials import Keys
from docker_registry.storage.s3.large import Joined
from docker_registry.storage.s3.links import Links
from docker_registry.storage.s3.settings import Settings
from docker_registry.storage.s3.tree import delete_tree
from docker_registry.threads import Runner

Leftovers = list[Leftover]


@implementer(IStorage, IDirect, ILeftovers, IClaims)
class S3Storage(ObjectStorage):
    """:param reactor: where connections are made.
    :param now: seconds since the epoch, by this machine's clock.
    :param links: where clients are sent for what is large, if they are.
    :param patience: with the store.
    :param retries: of requests that failed.
    """

    log = Logger()

    def __init__(
        self,
        settings: Settings,
        runner: Runner,
        reactor: Any,
        *,
        now: Callable[[], float] = time.time,
        links: Links | None = None,
        patience: Patience | None = None,
        retries: Retries | None = None,
    ) -> None:
        self._settings = settings
        self._now = now
        self._links = links
        if links is not None:
            alsoProvides(self, IRedirects)
        self._http = Http(reactor, ca=settings.ca, patience=patience)
        keys = Keys(settings.access_key, settings.secret_key, runner, reactor)
        client = Client(self._http, settings, keys, retries or Retries(reactor), now)
        self.bucket = Bucket(client, runner, settings.object_headers)
        budget = Budget(settings.memory, reactor, "s3_memory")
        pieces = PieceSizes(settings.part_size, budget)
        super().__init__(self.bucket, Joined(self.bucket), budget, runner, settings.prefix, pieces)

    # Reading

    @deferred
    async def link(self, key: str) -> str:
        assert self._links is not None
        return await self._links.link(self.bucket.client, self._whole(key))

    # Writing

    def claim(self, key: str, content: bytes) -> Deferred[None]:
        return Deferred.fromCoroutine(claim(self.bucket, self._whole(key), content))

    @deferred
    async def touch(self, key: str) -> None:
        whole = self._whole(key)
        size = (await self.bucket.head(whole)).size
        await copy(self.bucket, whole, whole, size, {TOUCHED: f"{self._now():.3f}"})

    @deferred
    async def delete(self, key: str) -> None:
        whole = self._whole(key)
        await self.bucket.head(whole)           # the store does not say whether there was one
        await self.bucket.delete(whole)

    @deferred
    async def delete_tree(self, prefix: str) -> None:
        await delete_tree(self.bucket, self._whole(prefix))

    @deferred
    async def quarantine(self, key: str) -> None:
        whole = self._whole(key)
        kept = self._kept(key)
        await copy(self.bucket, whole, kept, (await self.bucket.head(whole)).size)
        await self.bucket.delete(whole)
        self.log.warn("{key} is kept as {kept}", key=key, kept=kept)

    # What is left of uploads in parts

    @deferred
    async def leftovers(self, before: float) -> Leftovers:
        prefix = self._settings.prefix
        found: list[Leftover] = []
        for each in await self.bucket.unfinished(prefix):
            if each.begun >= before:
                continue
            try:
                modified = max(each.begun, await self.bucket.last_part(each))
            except (NotFound, Refused):
                continue                        # completed, or given up meanwhile
            if 0 < modified < before:           # a store that does not say when might mean one that goes on
                found.append(Leftover(each.key.removeprefix(prefix), each.id, modified))
        return found

    @deferred
    async def remove_leftover(self, leftover: Leftover) -> None:
        await self.bucket.abort(self._whole(leftover.key), leftover.id)

    # Life

    @deferred
    async def start(self) -> None:
        """:raises StorageError: the bucket cannot be used; the text says what is missing."""
        if self._settings.check:
            await check(self.bucket, self._settings.prefix)

    def close(self) -> Deferred[None]:
        self.budget.close()
        return Deferred.fromCoroutine(self._http.close())
