"""What a store sends over the network, open for reading: an answer that is cut off is gone on with (F4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.logger import Logger
from zope.interface import implementer

from docker_registry.deferreds import deferred
from docker_registry.errors import Damaged, NotFound, StorageFailed, StoreUnavailable, Transient
from docker_registry.storage.http import Answer
from docker_registry.storage.interface import IReader

RESUMED = 3
"""Times that an answer which was cut off is gone on with."""


@implementer(IReader)
class ResumingReader:
    """:param name: of what is read.
    :param answer: its bytes from ``offset`` on; ``None`` if nobody has asked yet.
    :param ask: the same from another offset on.
    """

    log = Logger()

    def __init__(
        self,
        name: str,
        size: int,
        modified: float,
        answer: Answer | None,
        offset: int,
        ask: Callable[[int], Awaitable[Answer]],
    ) -> None:
        self.size = size
        self.modified = modified
        self._name = name
        self._answer = answer
        self._at = offset
        self._ask = ask
        self._resumed = 0

    @deferred
    async def read(self, count: int) -> bytes:
        while self._at < self.size:
            reason = "it ended early"
            try:
                if self._answer is None:
                    self._answer = await self._ask(self._at)
                piece = await self._answer.read(min(count, self.size - self._at))
            except Transient as error:
                piece, reason = b"", str(error)
            except (NotFound, Damaged, StorageFailed) as error:
                raise StorageFailed(f"{self._name} changed while it was read") from error
            if piece:
                self._at += len(piece)
                return piece
            self._cut_off(reason)
        return b""

    def _cut_off(self, reason: str) -> None:
        """:raises StoreUnavailable: once too often."""
        self.close()
        self._resumed += 1
        if self._resumed > RESUMED:
            raise StoreUnavailable(f"{self._name} was cut off at byte {self._at}: {reason}")
        self.log.debug("{name} was cut off at byte {at}: {reason}", name=self._name, at=self._at, reason=reason)

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
