"""The bytes of an upload on their way into the store.

A few bytes need no object of their own before they are a blob: they are in memory, and a session that stops in between
has them in its state. What becomes more is written as it comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from docker_registry.digest import Digest, Hash
from docker_registry.storage.interface import IStorage, IWriter

FEW = 64 << 10
"""Bytes up to which they are so few. To hash them takes less time than a hop to a thread."""


class Source(Protocol):
    """Where bytes come from: a request's body."""

    async def read(self) -> Sequence[bytes]:
        """The next parts, none at the end. Raises if the end does not come."""


class Ahead:
    """The few bytes of a request, taken before anything is known of the session that they are for: a `Source` of the
    same.

    :ivar stored: how many are a blob in the store already; for whoever stores them, to say so.
    """

    def __init__(self, source: Source) -> None:
        self.stored = 0
        self._source = source
        self._parts: list[bytes] = []
        self._is_more = False                       # than a few
        self._error: Exception | None = None

    async def blob(self, digest: Digest) -> bytes | None:
        """All of them, if they are few, and have that digest. What the source fails with is raised when they are read.
        """
        size = 0
        try:
            while parts := await self._source.read():
                self._parts += parts
                size += sum(map(len, parts))
                self._is_more = size > FEW          # than the client has said
                if self._is_more:
                    return None
        except Exception as error:
            self._error = error
            return None
        content = b"".join(self._parts)
        return content if Digest.of(content, digest.algorithm) == digest else None

    async def read(self) -> Sequence[bytes]:
        parts, self._parts = self._parts, []
        if not parts and self._error is not None:
            raise self._error
        return parts if parts or not self._is_more else await self._source.read()


class Arriving:
    """Bytes that begin at the beginning of a session. Use one method at a time.

    :param content: those that the session has in its state.
    :param begin: where what is more is written to.
    """

    def __init__(self, storage: IStorage, content: bytes, begin: Callable[[], Awaitable[IWriter]]) -> None:
        self._storage = storage
        self._content = content
        self._begin = begin
        self._writer: IWriter | None = None

    @classmethod
    def further(cls, storage: IStorage, writer: IWriter) -> Arriving:
        """Those of a session whose bytes are at ``writer``'s key already."""

        async def begin() -> IWriter:
            return writer

        arriving = cls(storage, b"", begin)
        arriving._writer = writer
        return arriving

    @property
    def content(self) -> bytes:
        """All of them, if they are few; else none."""
        return self._content

    @property
    def are_few(self) -> bool:
        """Whether nothing was written."""
        return self._writer is None

    @property
    def offset(self) -> int:
        """How many they are, durable or not."""
        return len(self._content) if self._writer is None else self._writer.offset

    @property
    def mark(self) -> str:
        """See `IWriter.mark`."""
        return "" if self._writer is None else self._writer.mark

    async def write(self, parts: Sequence[bytes], hasher: Hash) -> None:
        """Take more, and let ``hasher`` follow."""
        if self._writer is None and len(self._content) + sum(map(len, parts)) <= FEW:
            joined = b"".join(parts)
            hasher.update(joined)
            self._content += joined
            return
        if self._writer is None:
            self._writer = await self._begin()
            if self._content:
                await self._writer.write([self._content])
                self._content = b""
        await self._writer.write(parts, [hasher])

    async def sync(self) -> int:
        """How many of them are durable; those that are few will be with the session's state."""
        return len(self._content) if self._writer is None else await self._writer.sync()

    async def commit(self, key: str) -> None:
        """See `IWriter.commit`."""
        if self._writer is None:
            await self._storage.put(key, self._content)
        else:
            await self._writer.commit(key)

    async def abandon(self) -> None:
        """See `IWriter.abandon`. What the session's state has is not touched."""
        if self._writer is not None:
            await self._writer.abandon()

    async def close(self) -> None:
        """See `IWriter.close`."""
        if self._writer is not None:
            await self._writer.close()
