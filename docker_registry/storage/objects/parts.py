"""Bytes cut into parts, several of them on their way at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.python.failure import Failure

from docker_registry.deferreds import outcomes
from docker_registry.storage.objects.budget import Budget

MIB = 1 << 20

PARTS = 10_000
"""Of one object, at most."""

AT_ONCE = 6
"""Parts of one transfer that are on their way at a time, if there is memory for them."""

STEP = 125
"""Parts of one size; the next ones are twice as large. From 8 MiB on, 10 000 parts that are never larger than 512 MiB
make 5 TB."""

LARGEST = 512 * MIB


def sizes(smallest: int, length: int | None) -> Callable[[int], int]:
    """How large each part of an object is, the first one having number 0.

    Parts are equal, as some stores insist, if the length is known; otherwise they grow in steps, which AWS and most
    others allow.
    """
    if length is not None:
        equal = max(smallest, -(-length // PARTS // MIB) * MIB if length > smallest * PARTS else smallest)
        while equal * PARTS < length:
            equal += MIB
        return lambda number: equal
    largest = max(smallest, LARGEST)
    return lambda number: min(smallest << min(number // STEP, 40), largest)


class Parts:
    """Cuts what is written, and sends each part as soon as there is something behind it: the last one stays here.

    :param size: of the part of a number, from 0 on.
    :param length: of all of it, if that is known.
    :param send: takes a part's number and its bytes.
    :ivar count: parts that were sent, or are on their way.
    :ivar rest: what is behind them.
    """

    def __init__(
        self,
        budget: Budget,
        size: Callable[[int], int],
        length: int | None,
        send: Callable[[int, Sequence[bytes]], Awaitable[None]],
    ) -> None:
        self.count = 0
        self.rest: list[bytes] = []
        self._budget = budget
        self._size = size
        self._left = length                     # to come, as far as is known
        self._send = send
        self._held = 0                          # bytes in the rest
        self._taken = 0                         # of memory, for the rest
        self._slots = DeferredSemaphore(AT_ONCE)
        self._running: set[Deferred[None]] = set()
        self._error: BaseException | None = None

    async def write(self, parts: Sequence[bytes]) -> None:
        """:raises Exception: what sending an earlier part came to."""
        for part in parts:
            view = part
            while view:
                self._check()
                room = self._size(self.count) - self._held
                if not room:
                    await self._depart()
                    continue
                if not self._taken:
                    self._taken = await self._budget.take(self._expected())
                piece, view = (view, b"") if len(view) <= room else (view[:room], view[room:])
                self.rest.append(piece)
                self._held += len(piece)
                if self._left is not None:
                    self._left = max(self._left - len(piece), 0)

    def _expected(self) -> int:
        size = self._size(self.count)
        return size if self._left is None else max(min(size, self._left), MIB)

    async def _depart(self) -> None:
        """Send what is full, and begin anew."""
        await self._slots.acquire()
        number, parts, taken = self.count, self.rest, self._taken
        self.count, self.rest, self._held, self._taken = number + 1, [], 0, 0
        sending = Deferred.fromCoroutine(self._sent(number, parts, taken))
        self._running.add(sending)
        sending.addBoth(self._arrived, sending)

    async def _sent(self, number: int, parts: Sequence[bytes], taken: int) -> None:
        try:
            await self._send(number, parts)
        finally:
            self._budget.give(taken)
            self._slots.release()

    def _arrived(self, result: Failure | None, sending: Deferred[None]) -> None:
        self._running.discard(sending)
        if isinstance(result, Failure) and self._error is None:
            self._error = result.value

    def begin_with(self, rest: Sequence[bytes], taken: int) -> None:
        """Bytes that are stored, and may become part of a larger part.

        :param taken: of the budget for them; given back from here.
        """
        self.rest, self._held, self._taken = list(rest), sum(map(len, rest)), taken

    async def settled(self) -> None:
        """Wait until all that was sent has arrived.

        :raises Exception: some of it did not.
        """
        while self._running:
            await outcomes(*(_followed(each) for each in self._running))
        self._check()

    async def stop(self) -> None:
        """Give up what is on its way, and the memory."""
        self._error = self._error or CancelledError()
        for each in list(self._running):
            each.cancel()
        while self._running:
            await outcomes(*(_followed(each) for each in self._running))
        self._budget.give(self._taken)
        self._taken = self._held = 0
        self.rest = []

    def _check(self) -> None:
        if self._error is not None:
            raise self._error


def _followed(sending: Deferred[None]) -> Deferred[None]:
    """Fires when ``sending`` does, and can be thrown away."""
    done: Deferred[None] = Deferred()

    def tell(result: Failure | None) -> Failure | None:
        done.callback(None)
        return result

    sending.addBoth(tell)
    return done
