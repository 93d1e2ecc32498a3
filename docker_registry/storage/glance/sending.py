"""Bytes on their way to Glance while they come from somewhere else, which is not held up by a Glance that fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from docker_registry.storage.flows import Flow
from docker_registry.storage.glance.records import Record
from docker_registry.storage.glance.shelf import Load, Sum

PutOnce = Callable[[Load], Awaitable[Record]]


class Sending:
    """One piece is held: the next one is taken when the connection has it.

    :param put: sends what it is given to a new image.
    :param sum: of all that is written; somebody else computes it.
    :param discard: removes an image that is not wanted.
    :param has_key: whether the image says what it holds.
    :ivar is_all: whether nothing can be added.
    """

    def __init__(
        self, put: PutOnce, size: int | None, sum: Sum, discard: Callable[[str], None], has_key: bool
    ) -> None:
        self.is_all = False
        self.has_key = has_key
        self._parts: Sequence[bytes] = ()
        self._discard = discard
        self._is_taken = False
        self._wanted: Deferred[None] | None = None          # somebody waits for parts
        self._taken: Deferred[None] | None = None           # somebody waits until they were sent
        self._ended: Record | Failure | None = None
        self._put = put
        self._load = Load(Flow(self._next, size), size, sum)
        self._running: Deferred[Record] | None = None

    def _begin(self) -> None:
        """With the first bytes: many a session has none."""
        if self._running is None:
            self._running = Deferred.fromCoroutine(self._run())
            self._running.addBoth(self._over)

    async def _run(self) -> Record:
        return await self._put(self._load)

    @property
    def is_lost(self) -> bool:
        """Whether it came to nothing."""
        return isinstance(self._ended, Failure)

    async def write(self, parts: Sequence[bytes]) -> None:
        """Fires when they were sent, or nothing can be sent any more."""
        if self._ended is None and any(parts):
            self._parts = parts
            taken = self._taken = Deferred()            # may fire before it is waited for
            self._begin()
            _fire(self._wanted)
            await taken

    def end(self) -> None:
        """There is no more."""
        self.is_all = True
        self._begin()
        _fire(self._wanted)

    async def finish(self) -> Record:
        """What all of it came to.

        :raises StorageError: nothing.
        """
        self.end()
        while self._ended is None:
            taken = self._taken = Deferred()
            await taken
        if isinstance(self._ended, Failure):
            self._ended.raiseException()
        assert isinstance(self._ended, Record)
        self._is_taken = True
        return self._ended

    def give_up(self) -> None:
        """What was sent is not wanted, unless somebody has it. May be called at any time."""
        if isinstance(self._ended, Record) and not self._is_taken:
            self._is_taken = True
            self._discard(self._ended.image)
        if self._running is not None:
            self._running.cancel()

    async def _next(self) -> Sequence[bytes]:
        if not self._parts:
            self._was_sent()
        while not self._parts and not self.is_all:
            self._wanted = Deferred()
            try:
                await self._wanted
            finally:
                self._wanted = None
        parts, self._parts = self._parts, ()
        return parts

    def _was_sent(self) -> None:
        taken, self._taken = self._taken, None
        _fire(taken)

    def _over(self, result: Record | Failure) -> None:
        self._ended = result
        self._was_sent()


def _fire(waiting: Deferred[None] | None) -> None:
    if waiting is not None and not waiting.called:
        waiting.callback(None)
