"""The bytes of one request's body, in pieces, once."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from docker_registry.web.errors import BodyTooLarge

PIECE = 1 << 20
"""Bytes that are worth a hop to a thread."""

LEAST = 64 << 10
"""Smaller pieces than this are not worth it, however many bodies there are."""

READ = 256 << 10
"""Bytes that may arrive at once from a socket."""


class Budget:
    """Memory shared by all bodies: many bodies have small pieces.

    A body holds one piece while another is being stored, and what arrived with its last read.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self.bodies = 0
        self.piece = PIECE

    def change(self, by: int) -> None:
        self.bodies += by
        share = (self._memory // max(self.bodies, 1) - READ) // 2
        self.piece = max(LEAST, min(PIECE, share))


class Body:
    """:param budget: says how large a piece is at the moment.
    :param expects: whether the client waits to be invited.
    :param invite: sends ``100 Continue``.
    :param hold: called with whether the client is to be held back.
    """

    __slots__ = (
        "_budget", "_counted", "_error", "_expects", "_held", "_hold", "_holding", "_invite", "_parts", "_waiting",
        "complete", "length", "received",
    )

    def __init__(
        self,
        budget: Budget,
        length: int | None,
        expects: bool = False,
        invite: Callable[[], None] | None = None,
        hold: Callable[[bool], None] | None = None,
    ) -> None:
        self._budget = budget
        self._expects = expects
        self._invite = invite
        self._hold = hold
        self._holding = False
        self._parts: list[bytes] = []
        self._held = 0
        self._waiting: Deferred[None] | None = None
        self._error: Exception | None = None
        self._counted = False
        self.length = length
        self.received = 0
        self.complete = length == 0

    async def read(self) -> list[bytes]:
        """The next piece: parts of together about a piece, less at the end, ``[]`` after it.

        :raises ClientGone: the client went away before the end.
        :raises BodyTooSlow: it sends next to nothing.
        """
        self._accept()
        while self._held < self._budget.piece and not self.complete:
            if self._error is not None:
                raise self._error
            self._waiting = Deferred()
            try:
                await self._waiting
            finally:
                self._waiting = None
        parts, self._parts, self._held = self._parts, [], 0
        if self._holding and self._hold is not None:
            self._holding = False
            self._hold(False)
        return parts

    async def read_all(self, limit: int) -> bytes:
        """The whole body.

        :raises BodyTooLarge: longer than ``limit`` bytes; known before a byte is read if the client announced it.
        """
        if self.length is not None and self.length > limit:
            raise BodyTooLarge(limit)
        everything: list[bytes] = []
        length = 0
        while parts := await self.read():
            length += sum(map(len, parts))
            if length > limit:
                raise BodyTooLarge(limit)
            everything += parts
        return b"".join(everything)

    @property
    def is_wanted(self) -> bool:
        """Whether it is the client's turn: its time runs only then."""
        return not self.complete and not self._holding and not self._expects

    def _accept(self) -> None:
        if self._expects and not self.complete:
            self._expects = False
            if self._invite is not None and self.received == 0:
                self._invite()

    # From the connection

    def feed(self, data: bytes) -> None:
        self._parts.append(data)
        self._held += len(data)
        self.received += len(data)
        if not self._counted:
            self._counted = True
            self._budget.change(1)
        if self._held >= self._budget.piece:
            if not self._holding and self._hold is not None:
                self._holding = True
                self._hold(True)
            self._wake()

    def end(self) -> None:
        self.complete = True
        self.release()
        self._wake()

    def fail(self, error: Exception) -> None:
        """No more will come, though there should."""
        if not self.complete and self._error is None:
            self._error = error
            self.release()
            self._wake()

    def release(self) -> None:
        """It takes no more part in the sharing of memory."""
        if self._counted:
            self._counted = False
            self._budget.change(-1)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)
