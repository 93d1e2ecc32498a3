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
    """

    def __init__(self, put: PutOnce, size: int | None, sum: Sum) -> None:
        self._parts: Sequence[bytes] = ()
        self._is_all = False
        self._wanted: Deferred[None] | None = None          # somebody waits for parts
        self._taken: Deferred[None] | None = None           # somebody waits until they were sent
        self._ended: Record | Failure | None = None
        self._running = Deferred.fromCoroutine(self._run(put, Load(Flow(self._next, size), size, sum)))
        self._running.addBoth(self._over)

    async def _run(self, put: PutOnce, load: Load) -> Record:
        return await put(load)

    async def write(self, parts: Sequence[bytes]) -> None:
        """Fires when they were sent, or nothing can be sent any more."""
        if self._ended is None and any(parts):
            self._parts = parts
            taken = self._taken = Deferred()            # may fire before it is waited for
            _fire(self._wanted)
            await taken

    async def finish(self) -> Record:
        """There is no more.

        :raises StorageError: it came to nothing.
        """
        self._is_all = True
        _fire(self._wanted)
        while self._ended is None:
            taken = self._taken = Deferred()
            await taken
        if isinstance(self._ended, Failure):
            self._ended.raiseException()
        assert isinstance(self._ended, Record)
        return self._ended

    def give_up(self) -> None:
        """What was sent is not wanted. May be called at any time."""
        self._running.cancel()

    async def _next(self) -> Sequence[bytes]:
        if not self._parts:
            self._was_sent()
        while not self._parts and not self._is_all:
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
