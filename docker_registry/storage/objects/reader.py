"""Objects that are open for reading."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger
from zope.interface import implementer

from docker_registry.deferreds import deferred
from docker_registry.errors import NotFound, StorageFailed, Transient
from docker_registry.storage.http import Answer
from docker_registry.storage.interface import IReader
from docker_registry.storage.objects.session import Piece
from docker_registry.storage.objects.store import Head, Objects, Refused

RESUMED = 3
"""Times that an answer which was cut off is gone on with (F4)."""


@implementer(IReader)
class ObjectReader:
    """:param answer: the object from ``offset`` on."""

    log = Logger()

    def __init__(self, objects: Objects, key: str, answer: Answer, head: Head, offset: int) -> None:
        self.size = head.size
        self.modified = head.modified
        self._objects = objects
        self._key = key
        self._tag = head.tag
        self._answer: Answer | None = answer
        self._at = offset
        self._resumed = 0

    @deferred
    async def read(self, count: int) -> bytes:
        while self._at < self.size:
            reason = "it ended early"
            try:
                if self._answer is None:
                    self._answer, _ = await self._objects.stream(self._key, self._at, self._tag)
                piece = await self._answer.read(min(count, self.size - self._at))
            except Transient as error:
                piece, reason = b"", str(error)
            except (NotFound, Refused) as error:
                raise StorageFailed(f"{self._key} changed while it was read") from error
            if piece:
                self._at += len(piece)
                return piece
            self._cut_off(reason)
        return b""

    def _cut_off(self, reason: str) -> None:
        """:raises StorageFailed: once too often."""
        self.close()
        self._resumed += 1
        if self._resumed > RESUMED:
            raise StorageFailed(f"{self._key} was cut off at byte {self._at}: {reason}")
        self.log.debug("{key} was cut off at byte {at}: {reason}", key=self._key, at=self._at, reason=reason)

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None


@implementer(IReader)
class SessionReader:
    """An upload that is not finished: its pieces, and what is behind them."""

    def __init__(self, objects: Objects, pieces: Sequence[Piece], rest: bytes, modified: float, offset: int) -> None:
        self.size = sum(piece.size for piece in pieces) + len(rest)
        self.modified = modified
        self._objects = objects
        self._pieces = list(pieces)
        self._rest = rest
        self._skip = offset
        self._reader: ObjectReader | None = None

    @deferred
    async def read(self, count: int) -> bytes:
        while self._reader is not None or self._pieces:
            if self._reader is None:
                piece = self._pieces.pop(0)
                if self._skip >= piece.size:
                    self._skip -= piece.size
                    continue
                answer, head = await self._objects.stream(piece.key, self._skip)
                self._reader = ObjectReader(self._objects, piece.key, answer, head, self._skip)
                self._skip = 0
            if part := await self._reader.read(count):
                return part
            self._reader = None
        part, self._rest = self._rest[self._skip : self._skip + count], self._rest[self._skip + count :]
        self._skip = 0
        return part

    def close(self) -> None:
        self._pieces = []
        self._rest = b""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
