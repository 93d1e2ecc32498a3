"""The bytes of one request's body, in pieces, once."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred

from docker_registry.web.errors import BodyTooLarge, ClientGone, Refusal

PIECE = 2 << 20
"""Bytes that are worth a hop to a thread."""

READ = 1 << 20
"""Bytes that may arrive at once from a socket."""

LEAST = 16 << 10
"""Neither pieces nor reads are smaller than this, however many bodies there are."""

_SMALL = 4 << 10
"""Parts below this are put together: a part of two bytes takes the memory of fifty."""

_JOINED = 64 << 10


class Budget:
    """Memory shared by all bodies: many bodies have small pieces.

    A body holds a piece and what arrived with its last read; its reader works on as much, and on a copy of the piece.

    :param memory: bytes, all bodies together.
    :ivar piece: how large a piece is at the moment.
    :ivar read: how many bytes a connection should take from its socket at once.
    :ivar bodies: how many share.
    :ivar held: bytes that are in memory now.
    :ivar gathered: bytes of bodies that are read whole, until their requests are over.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self.bodies = 0
        self.held = 0
        self.gathered = 0
        self._share()

    def join(self) -> None:
        self.bodies += 1
        self._share()

    def leave(self) -> None:
        self.bodies -= 1
        self._share()

    @property
    def is_spent(self) -> bool:
        """Whether every body is to be content with what it has."""
        return self.held >= self._memory

    def is_gathering_too_much(self, length: int) -> bool:
        """Whether a body that is read whole, and has come to ``length`` bytes, is one too many; alone, none is."""
        return length < self.gathered > self._memory

    def _share(self) -> None:
        share = self._memory // max(self.bodies, 1)
        self.read = max(LEAST, min(READ, share // 8))
        self.piece = max(LEAST, min(PIECE, (share - 2 * self.read) // 3))


class Sender(Protocol):
    """The connection that a body comes from."""

    def invite(self) -> None:
        """Send ``100 Continue``."""

    def hold_body(self, held: bool) -> None:
        """Take no more from the client, or go on."""


class Body:
    """:param budget: says how large a piece is at the moment.
    :param length: in bytes; ``None`` if nobody knows.
    :param expects: whether the client waits to be invited.
    :param sender: where it comes from; ``None`` if nothing will come.
    :ivar complete: whether all of it has arrived.
    :ivar received: bytes that have arrived.
    :ivar verdict: why nobody is to read the rest, when that has been decided.
    """

    __slots__ = (
        "_budget", "_error", "_expects", "_gathered", "_held", "_holding", "_joined", "_out", "_parts", "_sender",
        "_waiting", "complete", "length", "received", "verdict",
    )

    def __init__(self, budget: Budget, length: int | None, expects: bool = False, sender: Sender | None = None) -> None:
        self._budget = budget
        self._sender = sender
        self._expects = expects
        self._parts: list[bytes | bytearray] = []
        self._held = 0                          # bytes in those parts
        self._out = 0                           # bytes that the reader was given last
        self._gathered = 0                      # bytes that were read to be a whole, until the request is over
        self._joined = self._holding = False
        self._waiting: Deferred[None] | None = None
        self._error: Exception | None = None
        self.verdict: Exception | None = None
        self.length = length
        self.received = 0
        self.complete = length == 0

    async def read(self) -> list[bytes]:
        """The next piece: parts of together about a piece, less at the end, ``[]`` after it.

        Whoever reads is done with the piece before.

        :raises ClientGone: the client went away before the end; what had come was read before.
        :raises BodyTooSlow: it sends next to nothing.
        """
        self._account(-self._out)
        self._out = 0
        if self.complete and not self._held:
            self._leave()
            return []
        if self._expects and not self.complete:
            self._expects = False
            if self._sender is not None and self.received == 0:
                self._sender.invite()
        while self._held < self._budget.piece and not self._holding and not self.complete and self._error is None:
            await self._wait()
        if not self._held and self._error is not None:
            raise self._error
        return self._take()

    async def read_all(self, limit: int) -> bytes:
        """The whole body.

        :raises BodyTooLarge: longer than ``limit`` bytes; known before a byte is read if the client announced it.
        :raises Refusal: others are read whole at this time, and together they take too much memory.
        """
        if self.length is not None and self.length > limit:
            raise BodyTooLarge(limit)
        everything: list[bytes] = []
        try:
            while parts := await self.read():
                self._gather(sum(map(len, parts)))
                if self._gathered > limit:
                    raise BodyTooLarge(limit)
                if self._budget.is_gathering_too_much(self._gathered):
                    raise Refusal(503, "too many documents are on their way: try again later")
                everything += parts
        except BaseException:
            self._release()
            raise
        return everything[0] if len(everything) == 1 else b"".join(everything)

    @property
    def is_wanted(self) -> bool:
        """Whether it is the client's turn: its time runs only then."""
        return not self.complete and not self._holding and not self._expects

    async def _wait(self) -> None:
        self._waiting = Deferred()
        try:
            await self._waiting
        except CancelledError:
            if self._error is not None:
                raise self._error from None     # the handler is cancelled because the client has gone
            raise
        finally:
            self._waiting = None

    def _take(self) -> list[bytes]:
        parts = [part if isinstance(part, bytes) else bytes(part) for part in self._parts]
        self._parts = []
        self._out, self._held = self._held, 0
        if self._holding:
            self._holding = False
            if self._sender is not None:
                self._sender.hold_body(False)
        return parts

    # From the connection

    def feed(self, part: bytes, last: bool) -> None:
        """Take what has come.

        :param last: whether that is all of the body.
        """
        if self._error is not None:
            return
        if not self._joined:
            self._joined = True
            self._budget.join()
        self._store(part)
        length = len(part)
        self._held += length
        self.received += length
        self._account(length)
        self.complete = last
        enough = self._held >= self._budget.piece or self._budget.is_spent
        if enough and not last and not self._holding and self._sender is not None:
            self._holding = True
            self._sender.hold_body(True)
        if enough or last:
            self._wake()

    def fail(self, error: Exception) -> None:
        """No more will come, though there should; or nobody waits for the answer any more, and perhaps nobody reads."""
        self._release()
        self._leave()
        if not self.complete and self._error is None:
            self._error = error
            self._wake()

    def close(self) -> None:
        """Nobody is to read the rest: the request is answered."""
        self._release()
        self._leave()
        self._parts = []
        self._held = 0
        self._holding = False
        if not self.complete:
            self.fail(self.verdict or ClientGone())

    def _store(self, data: bytes) -> None:
        if len(data) >= _SMALL:
            self._parts.append(data)
        elif self._parts and isinstance(self._parts[-1], bytearray) and len(self._parts[-1]) < _JOINED:
            self._parts[-1] += data
        else:
            self._parts.append(bytearray(data))

    def _account(self, count: int) -> None:
        if self._joined:
            self._budget.held += count

    def _gather(self, count: int) -> None:
        self._gathered += count
        self._budget.gathered += count

    def _release(self) -> None:
        self._gather(-self._gathered)

    def _leave(self) -> None:
        """It takes no more part in the sharing of memory."""
        if self._joined:
            self._account(-self._held - self._out)
            self._joined = False
            self._budget.leave()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)
