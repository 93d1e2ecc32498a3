"""Objects that are open for reading."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from docker_registry.deferreds import deferred
from docker_registry.errors import StorageFailed
from docker_registry.storage.http import Answer
from docker_registry.storage.interface import IReader
from docker_registry.storage.objects.session import Piece
from docker_registry.storage.objects.store import Head, Objects
from docker_registry.storage.resuming import ResumingReader


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
