"""Bytes cut into parts, several of them on their way at a time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.python.failure import Failure

from docker_registry.deferreds import outcomes, together
from docker_registry.storage.flows import Octets
from docker_registry.storage.objects.budget import Budget, Buffer
from docker_registry.storage.objects.filling import Filling

MIB = 1 << 20

PARTS = 10_000
"""Of one object, at most."""

AT_ONCE = 6
"""Parts of one transfer that are on their way at a time, if there is memory for them."""

STEP = 125
"""Parts of one size; the next ones are twice as large. From 8 MiB on, 10 000 parts that are never larger than 512 MiB
make 5 TB."""

LARGEST = 512 * MIB

LARGER = 4
"""Pieces that are sent as one where there is memory for it."""

MANY = 16
"""Parts that an object has at least if all are larger ones: with fewer the last one would be waited for."""

LITTLE = 4
"""One part of a piece in so many is stored twice with less work than it takes to have one piece more."""

SHARE = 8
"""Of the memory, one part of so many is what a piece has at most."""

LARGEST_SENT = 8
"""Pieces that are one part where parts are sent while they come: whoever waits for the end of a large one waits no
longer, and the store has less to do with few than with many."""

FEWEST_SENT = 4
"""Parts that an object has at least if they are larger than they have to be: as many are on their way at a time."""

SHARE_SENT = 4
"""Of the memory that nobody has one part of so many is what such a part takes at most; as much of all memory is left to
those that are no larger than they have to be, so that many slow ones find room."""


def sizes(smallest: int, length: int | None, largest: int = LARGEST) -> Callable[[int], int]:
    """How large each part of an object is, the first one having number 0.

    Parts are equal, as some stores insist, if the length is known; otherwise they grow in steps, which AWS and most
    others allow.

    :param largest: that they grow to; what is longer than 10 000 of those has to say how long it is.
    """
    if length is not None:
        equal = max(smallest, -(-length // PARTS // MIB) * MIB if length > smallest * PARTS else smallest)
        while equal * PARTS < length:
            equal += MIB
        return lambda number: equal
    largest = max(smallest, min(largest, LARGEST))
    return lambda number: min(smallest << min(number // STEP, 40), largest)


@dataclass(frozen=True, slots=True)
class PieceSizes:
    """How large the pieces of uploads are: where there is memory for it, larger than they have to be. That costs the
    store a third less.

    A larger one begins where smaller ones could end a whole number of larger ones: so an object can be made of equal
    parts.

    :ivar uneven: whether the store makes an object of parts of any size.
    """

    smallest: int
    budget: Budget
    uneven: bool = False

    @property
    def larger(self) -> int:
        """``smallest`` if there is little memory."""
        larger = LARGER * self.smallest
        return larger if larger <= self.budget.total // SHARE else self.smallest

    @property
    def _is_free(self) -> bool:
        return self.budget.left >= self.budget.total // 2

    def at(self, offset: int) -> int:
        """Of the piece that begins at ``offset``."""
        begins = offset >= self.larger and (self.uneven or offset % self.larger == 0)
        return self.larger if begins and self._is_free else self.smallest

    @property
    def least(self) -> int:
        """Of the piece that ends what is stored of an upload: what is less stands in its record, and is sent once more
        when it goes on."""
        return self.smallest // LITTLE if self.uneven else self.smallest

    def part(self, offset: int, length: int | None) -> int:
        """Of the part of an object that begins at ``offset``, where parts need not be equal.

        :param length: of the object, if that is known: then parts are sent while they come.
        """
        if length is None:
            return self.at(offset)
        free = self.budget.left - self.budget.total // SHARE_SENT
        most = min(LARGEST_SENT * self.smallest, length // FEWEST_SENT, free // SHARE_SENT)
        size = self.smallest
        while 2 * size <= most:
            size *= 2
        return size

    def equal(self, length: int | None) -> int:
        """Of each part of an object that begins now, where all have to be equal.

        :param length: of the object, if that is known.
        """
        is_large = length is not None and length >= MANY * self.larger
        return self.larger if is_large and self._is_free else self.smallest

    def holding(self, size: int) -> int:
        """Of one that begins with ``size`` bytes."""
        return next((each for each in (self.smallest, self.larger) if size <= each), size)


@dataclass(frozen=True, slots=True)
class _Early:
    """A part that is on its way before it is whole.

    :ivar sending: fires when nobody takes any more of it.
    """

    filling: Filling
    sending: Deferred[None]


class Parts:
    """Cuts what is written, and sends each part as soon as there is something behind it: the last one stays here.

    If the store takes that, and it is known how much will come, parts are sent while they are written: it has less to
    do when the last bytes have come. A store that is told how much to expect takes nothing less.

    :param size: of the part of a number, from 0 on; asked when that begins.
    :param length: of all of it, if that is known.
    :param send: takes a part's number and its bytes.
    :param stream: takes a part's number, and the part while it comes; whoever cancels that has sent none.
    :ivar count: parts that were sent, or are on their way.
    :ivar rest: what is behind them.
    """

    def __init__(
        self,
        budget: Budget,
        size: Callable[[int], int],
        length: int | None,
        send: Callable[[int, Sequence[Octets]], Coroutine[Deferred[Any], Any, None]],
        stream: Callable[[int, Filling], Coroutine[Deferred[Any], Any, None]] | None = None,
    ) -> None:
        self.count = 0
        self._budget = budget
        self._size = size
        self._left = length                     # to come, as far as is known
        self._send = send
        self._stream = stream
        self._buffer: Buffer | None = None      # the rest
        self._early: _Early | None = None       # which is that
        self._slots = DeferredSemaphore(AT_ONCE)
        self._running: set[Deferred[None]] = set()
        self._error: BaseException | None = None

    @property
    def rest(self) -> Sequence[Octets]:
        return [self._buffer.content] if self._buffer is not None else []

    async def write(self, parts: Sequence[bytes]) -> None:
        """:raises Exception: what sending an earlier part came to."""
        for part in parts:
            left = memoryview(part)
            while left:
                self._check()
                if self._buffer is None:
                    self._buffer = await self._budget.take(self._expected())
                    self._begin_early(self._buffer)
                taken = self._buffer.add(left)
                if not taken or (self._early is not None and self._buffer.is_full):
                    await self._depart(self._buffer)
                left = left[taken:]
                if self._left is not None:
                    self._left = max(self._left - taken, 0)
        if self._early is not None:
            self._early.filling.came()
            self._check()

    def _expected(self) -> int:
        size = self._size(self.count)
        return size if self._left is None else min(size, max(self._left, MIB))

    def _begin_early(self, buffer: Buffer) -> None:
        """If it does not have to wait for others, is not the only one, and will be full."""
        left = self._left or 0
        is_known = left > buffer.size or (left == buffer.size and self.count)
        if self._stream is not None and self._slots.tokens and is_known:
            self._slots.acquire()
            filling = Filling(buffer)
            sending = self._begun(self._stream(self.count, filling))
            self._early = _Early(filling, sending.addBoth(self._is_over))

    async def _break_off(self) -> None:
        """The rest is not on its way any more."""
        early, self._early = self._early, None
        if early is not None:
            error = self._error
            early.sending.cancel()
            await outcomes(early.sending)
            if error is None and isinstance(self._error, CancelledError):
                self._error = None              # that it was given up is no failure

    async def _depart(self, buffer: Buffer) -> None:
        """Send what is full, unless it is on its way already, and begin anew."""
        early, self._early = self._early, None
        if early is None:
            await self._slots.acquire()
        else:
            early.filling.came()
        number, self.count, self._buffer = self.count, self.count + 1, None
        sending = early.sending if early is not None else self._begun(self._send(number, [buffer.content]))
        self._running.add(sending)
        sending.addBoth(self._arrived, sending, buffer)

    def _begun(self, sending: Coroutine[Deferred[Any], Any, None]) -> Deferred[None]:
        """Of a part that has one of the slots."""
        def free(result: Failure | None) -> Failure | None:
            self._slots.release()
            return result

        return Deferred.fromCoroutine(sending).addBoth(free)

    def _arrived(self, result: Failure | None, sending: Deferred[None], buffer: Buffer) -> None:
        buffer.drop()
        self._running.discard(sending)
        self._is_over(result)

    def _is_over(self, result: Failure | None) -> None:
        if isinstance(result, Failure) and self._error is None:
            self._error = result.value

    def begin_with(self, buffer: Buffer) -> None:
        """Bytes that are stored, and may become part of a larger part.

        :param buffer: dropped from here.
        """
        self._buffer = buffer

    async def shed(self, size: int, least: int) -> None:
        """Send the rest in parts of ``size`` bytes, but for what is behind them if that is less than ``least``; wait
        until all that was sent has arrived.

        :raises Exception: some of it did not.
        """
        self._check()
        if self._buffer is None:
            return await self.settled()
        content = self._buffer.content
        views = [content[at : at + size] for at in range(0, len(content), size)]
        if views and len(views[-1]) < least:
            views.pop()
        first, self.count = self.count, self.count + len(views)
        sending = [Deferred.fromCoroutine(self._send(first + each, [view])) for each, view in enumerate(views)]
        await together(*sending, Deferred.fromCoroutine(self.settled()))
        self._buffer.shift(sum(map(len, views)))
        return None

    async def end(self) -> None:
        """Send the rest as the last part, and wait until all has arrived.

        :raises Exception: some of it did not.
        """
        self._check()
        await self._break_off()                 # fewer have come than it was to have
        if self._buffer is not None:
            await self._depart(self._buffer)
        await self.settled()

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
        await self._break_off()
        for each in list(self._running):
            each.cancel()
        while self._running:
            await outcomes(*(_followed(each) for each in self._running))
        if self._buffer is not None:
            self._buffer.drop()
            self._buffer = None

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
