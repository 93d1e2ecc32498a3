"""What storages of objects do alike: a flat key space below a prefix of somebody else's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from urllib.parse import quote

from zope.interface import implementer

from docker_registry.deferreds import deferred
from docker_registry.errors import StorageFailed
from docker_registry.storage.files import SmallReader
from docker_registry.storage.http import Answer
from docker_registry.storage.interface import SMALL, Entry, IDistant, IFlat, IReader, IWriter, Stat, is_key
from docker_registry.storage.objects.budget import Budget
from docker_registry.storage.objects.going_on import go_on
from docker_registry.storage.objects.large import Large
from docker_registry.storage.objects.listing import names
from docker_registry.storage.objects.parts import PieceSizes, sizes
from docker_registry.storage.objects.reader import ObjectReader, PiecesReader
from docker_registry.storage.objects.session import RECORD, Run, Session, total
from docker_registry.storage.objects.store import Head, Objects, OutOfRange
from docker_registry.storage.objects.writer import DirectWriter, SessionWriter
from docker_registry.threads import Runner

Entries = list[Entry]

QUARANTINE = ".quarantine"
"""What damaged objects' keys begin with, below the prefix."""


@implementer(IDistant, IFlat)
class ObjectStorage:
    """:param prefix: of all keys, with a slash at its end unless it is empty.
    :param pieces: how large those of uploads are.
    """

    def __init__(
        self, objects: Objects, large: Large, budget: Budget, runner: Runner, prefix: str, pieces: PieceSizes
    ) -> None:
        self._objects = objects
        self._large = large
        self.budget = budget
        self._runner = runner
        self._prefix = prefix
        self._sizes = pieces

    def _whole(self, key: str) -> str:
        """:raises StorageFailed: no key; nothing else gets to the store."""
        if not is_key(key):
            raise StorageFailed(f"{key[:200]!r} is no key")
        return f"{self._prefix}{key}"

    def _kept(self, key: str) -> str:
        """Where an operator finds what was at a key; whole."""
        return f"{self._prefix}{QUARANTINE}/{time.time_ns()}-{quote(key, safe='')[-200:]}"

    # Reading

    @deferred
    async def stat(self, key: str) -> Stat:
        head = await self._objects.head(self._whole(key))
        return Stat(total(key, head), head.modified, head.tag if head.session else "")

    @deferred
    async def get(self, key: str) -> bytes:
        content, _ = await self._objects.get(self._whole(key), SMALL)
        return content

    @deferred
    async def open(self, key: str, offset: int = 0) -> IReader:
        whole = self._whole(key)
        try:
            answer, head = await self._objects.stream(whole, offset)
        except OutOfRange:
            head = await self._objects.head(whole)
            if not head.session:
                return SmallReader(b"", head.size, head.modified)
        else:
            if not head.session:
                return await self._reader(whole, answer, head, offset)
            answer.close()
        session, head = await self._session(whole)
        return PiecesReader(self._objects, session.pieces(), b"".join(session.rest), head.modified, offset)

    async def _reader(self, whole: str, answer: Answer, head: Head, offset: int) -> IReader:
        """:param answer: an object from ``offset`` on."""
        return ObjectReader(self._objects, whole, answer, head, offset)

    async def _session(self, whole: str) -> tuple[Session, Head]:
        content, head = await self._objects.get(whole, RECORD)
        return Session.read(whole, self._large.piece, content, head), head

    @deferred
    async def list(self, prefix: str, after: str = "", limit: int = 1000) -> Entries:
        below = f"{self._whole(prefix)}/" if prefix else self._prefix
        return await names(self._objects, below, after, limit)

    # Writing

    @deferred
    async def put(self, key: str, content: bytes) -> None:
        await self._objects.put(self._whole(key), [content])

    @deferred
    async def discard(self, key: str) -> None:
        await self._objects.delete(self._whole(key))

    @deferred
    async def create(self, key: str) -> IWriter:
        return self._writer(self._whole(key), None)

    @deferred
    async def resume(self, key: str, offset: int) -> IWriter:
        whole = self._whole(key)
        size = self._sizes.smallest
        while True:
            buffer = await self.budget.take(size)
            try:
                found = await go_on(self._objects, whole, self._large.piece, offset, buffer)
            except BaseException:
                buffer.drop()
                raise
            if found.behind <= size:
                break
            buffer.drop()
            size = self._sizes.holding(found.behind)
        writer = self._writer(whole, found.runs)
        writer.begin(offset, found.mark, buffer)
        return writer

    def _writer(self, whole: str, runs: Sequence[Run] | None) -> SessionWriter:
        return SessionWriter(
            self._objects, self._large, self._runner, self.budget, self._prefix, whole, self._sizes, runs
        )

    @deferred
    async def create_direct(self, key: str, final: str, length: int | None) -> IWriter:
        return DirectWriter(
            self._objects, self._large, self._runner, self.budget, self._prefix, self._whole(final),
            self._part_sizes(length), length,
        )

    def _part_sizes(self, length: int | None) -> Callable[[int, int], int]:
        """How large the part is that has a number, and begins at an offset: of an object of ``length``, all equal."""

        @cache
        def chosen() -> Callable[[int], int]:
            """When the first part begins, and takes its memory: before, all who begin at a time would find it free."""
            return sizes(self._sizes.equal(length), length, self.budget.total)

        return lambda number, offset: chosen()(number)
