"""Objects that are open for reading."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from zope.interface import implementer

from docker_registry.deferreds import deferred
from docker_registry.errors import NotFound, StorageError, StorageFailed
from docker_registry.storage.http import Answer
from docker_registry.storage.interface import IReader
from docker_registry.storage.objects.session import Piece
from docker_registry.storage.objects.store import Head, Objects, Refused
from docker_registry.storage.resuming import ResumingReader

AHEAD = 2 << 20
"""Bytes before the end of a piece at which the next one is asked for. Not earlier: the store serves so many readers at
a time, and most of them have a slow client."""

_log = Logger()


class ObjectReader(ResumingReader):
    """:param answer: the object from ``offset`` on."""

    def __init__(self, objects: Objects, key: str, answer: Answer, head: Head, offset: int) -> None:
        async def ask(at: int) -> Answer:
            if not head.tag:
                raise StorageFailed(f"{key}: the store does not say by which tag to ask for the rest")
            answer, _ = await objects.stream(key, at, head.tag)
            return answer

        super().__init__(key, head.size, head.modified, answer, offset, ask)


@implementer(IReader)
class PiecesReader:
    """Objects one after the other, as one. The next one is asked for before one comes to its end.

    :param pieces: not one of which is empty.
    :param rest: what is behind them.
    """

    def __init__(self, objects: Objects, pieces: Sequence[Piece], rest: bytes, modified: float, offset: int) -> None:
        self.size = sum(piece.size for piece in pieces) + len(rest)
        self.modified = modified
        self._objects = objects
        self._pieces = deque(pieces)
        while self._pieces and offset >= self._pieces[0].size:
            offset -= self._pieces.popleft().size
        self._skip = offset
        self._left = 0                          # of the piece that is read
        self._rest = rest
        self._reader: ObjectReader | None = None
        self._next: Deferred[ObjectReader | None] | None = None

    @deferred
    async def read(self, count: int) -> bytes:
        while self._reader is not None or self._pieces:
            if self._reader is None:
                self._reader = await self._begun()
            if part := await self._reader.read(count):
                self._left -= len(part)
                if self._left <= AHEAD and self._next is None and self._pieces:
                    self._next = Deferred.fromCoroutine(self._tried(self._pieces[0]))
                return part
            self._reader = None
        part, self._rest = self._rest[self._skip : self._skip + count], self._rest[self._skip + count :]
        self._skip = 0
        return part

    async def _begun(self) -> ObjectReader:
        """The next piece."""
        reader = None if self._next is None else await self._next
        self._next = None
        if reader is None:
            reader = await self._opened(self._pieces[0], self._skip)
        self._left = self._pieces.popleft().size - self._skip
        self._skip = 0
        return reader

    async def _tried(self, piece: Piece) -> ObjectReader | None:
        """``None`` if it has to be asked for again when it is needed, which tells why."""
        try:
            return await self._opened(piece, 0)
        except StorageError as error:
            _log.debug("{key} could not be read ahead: {error}", key=piece.key, error=error)
            return None

    async def _opened(self, piece: Piece, offset: int) -> ObjectReader:
        """:raises StorageFailed: it is another one."""
        try:
            answer, head = await self._objects.stream(piece.key, offset, piece.tag)
        except (NotFound, Refused) as error:
            raise StorageFailed(f"{piece.key} changed before it was read") from error
        if head.size != piece.size:
            answer.close()
            raise StorageFailed(f"{piece.key} has {head.size} bytes instead of {piece.size}")
        return ObjectReader(self._objects, piece.key, answer, head, offset)

    def close(self) -> None:
        self._pieces.clear()
        self._rest = b""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._next is not None:
            self._next.addCallbacks(_close, lambda failure: failure.trap(CancelledError))
            self._next.cancel()
            self._next = None


def _close(reader: ObjectReader | None) -> None:
    if reader is not None:
        reader.close()
