"""A bucket: the keys are those of the tree, below a prefix.

What a directory does by renaming is one write here: an object is there whole or not at all, and as long as the store
says. Times have seconds; a touched object carries its time, and is written anew by the store for that. What a reader
has begun to read goes on when the key is overwritten or deleted, as far as the store lets it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import alsoProvides, implementer

from docker_registry.deferreds import deferred
from docker_registry.errors import NotFound, StorageFailed
from docker_registry.storage.budget import Budget
from docker_registry.storage.files import SmallReader
from docker_registry.storage.http import Http, Patience
from docker_registry.storage.interface import (
    SMALL,
    Entry,
    IDirect,
    ILeftovers,
    IReader,
    IRedirects,
    IStorage,
    IWriter,
    Leftover,
    Stat,
    is_key,
)
from docker_registry.storage.retries import Retries
from docker_registry.storage.s3.bucket import TOUCHED, Bucket, Head
from docker_registry.storage.s3.check import check
from docker_registry.storage.s3.client import Client
from docker_registry.storage.s3.copying import copy
from docker_registry.storage.s3.credentials import Keys
from docker_registry.storage.s3.errors import Refused
from docker_registry.storage.s3.links import Links
from docker_registry.storage.s3.listing import names
from docker_registry.storage.s3.reader import ObjectReader, SessionReader
from docker_registry.storage.s3.session import RECORD, Session, total
from docker_registry.storage.s3.settings import Settings
from docker_registry.storage.s3.tree import delete_tree
from docker_registry.storage.s3.writer import DirectWriter, SessionWriter
from docker_registry.threads import Runner

Entries = list[Entry]
Leftovers = list[Leftover]

QUARANTINE = ".quarantine"
"""What damaged objects' keys begin with, below the prefix."""


@implementer(IStorage, IDirect, ILeftovers)
class S3Storage:
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
        self._runner = runner
        self._now = now
        self._links = links
        if links is not None:
            alsoProvides(self, IRedirects)
        self._http = Http(reactor, ca=settings.ca, patience=patience)
        keys = Keys(settings.access_key, settings.secret_key, runner, reactor)
        client = Client(self._http, settings, keys, retries or Retries(reactor), now)
        self.bucket = Bucket(client, runner, settings.object_headers)
        self.budget = Budget(settings.memory, reactor)

    def _whole(self, key: str) -> str:
        """:raises StorageFailed: no key; nothing else gets to the store."""
        if not is_key(key):
            raise StorageFailed(f"{key[:200]!r} is no key")
        return f"{self._settings.prefix}{key}"

    # Reading

    @deferred
    async def stat(self, key: str) -> Stat:
        head = await self.bucket.head(self._whole(key))
        return Stat(total(head), head.modified, head.tag if head.session else "")

    @deferred
    async def get(self, key: str) -> bytes:
        content, _ = await self.bucket.get(self._whole(key), SMALL)
        return content

    @deferred
    async def open(self, key: str, offset: int = 0) -> IReader:
        whole = self._whole(key)
        try:
            answer, head = await self.bucket.stream(whole, offset)
        except Refused as error:
            if error.code not in ("InvalidRange", "416"):
                raise
            head = await self.bucket.head(whole)
            if not head.session:
                return SmallReader(b"", head.size, head.modified)
        else:
            if not head.session:
                return ObjectReader(self.bucket, whole, answer, head, offset)
            answer.close()
        session, head = await self._session(whole)
        return SessionReader(self.bucket, session.pieces(), b"".join(session.rest), head.modified, offset)

    async def _session(self, whole: str) -> tuple[Session, Head]:
        content, head = await self.bucket.get(whole, RECORD)
        return Session.read(whole, content, head), head

    @deferred
    async def list(self, prefix: str, after: str = "", limit: int = 1000) -> Entries:
        below = f"{self._whole(prefix)}/" if prefix else self._settings.prefix
        return await names(self.bucket, below, after, limit)

    @deferred
    async def link(self, key: str) -> str:
        assert self._links is not None
        return await self._links.link(self.bucket.client, self._whole(key))

    # Writing

    @deferred
    async def put(self, key: str, content: bytes) -> None:
        await self.bucket.put(self._whole(key), [content])

    @deferred
    async def create(self, key: str) -> IWriter:
        whole = self._whole(key)
        await self.bucket.delete(whole)
        return self._writer(whole, None)

    @deferred
    async def resume(self, key: str, offset: int) -> IWriter:
        whole = self._whole(key)
        taken = await self.budget.take(self._settings.part_size)
        try:
            session, head = await self._session(whole)
            session = await session.cut(self.bucket, offset)
        except BaseException:
            self.budget.give(taken)
            raise
        writer = self._writer(whole, session)
        writer.begin(session, head.tag, taken)
        return writer

    def _writer(self, whole: str, session: Session | None) -> SessionWriter:
        settings = self._settings
        return SessionWriter(
            self.bucket, self._runner, self.budget, settings.prefix, whole, settings.part_size, session
        )

    @deferred
    async def create_direct(self, key: str, final: str, length: int | None) -> IWriter:
        settings = self._settings
        return DirectWriter(
            self.bucket, self._runner, self.budget, settings.prefix, self._whole(final), settings.part_size, length
        )

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
        kept = f"{self._settings.prefix}{QUARANTINE}/{time.time_ns()}-{quote(key, safe='')[-200:]}"
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
            if modified < before:
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
        return Deferred.fromCoroutine(self._http.close())
