"""A part that is sent while its bytes come: so the store begins with it earlier, and less of its work is left to be
waited for at the end.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from docker_registry.storage.objects.budget import Buffer

AHEAD = 16 << 20
"""Bytes that have come and that the store has not taken, at most: more of them, and it would be behind at the end."""


class Filling:
    """The part's bytes, which stay until all of them have arrived: they may have to be sent again.

    :param buffer: that is being filled.
    :ivar size: of the whole part.
    """

    def __init__(self, buffer: Buffer) -> None:
        self.size = buffer.size
        self._buffer = buffer
        self._taken = 0
        self._is_followed = True
        self._is_given_up = False
        self._waiting: list[Deferred[None]] = []

    # Of whoever fills it

    def came(self) -> None:
        """There is more of it."""
        self._changed()

    async def followed(self) -> None:
        """There is more of it: wait until the store has taken most of what came, or takes no more until it is whole."""
        self._changed()
        while self._is_followed and self._buffer.filled - self._taken > AHEAD:
            await self._change()

    def left(self) -> None:
        """Nobody takes any more of it."""
        self._is_followed = False
        self._changed()

    def give_up(self) -> None:
        """No more of it will come: whoever waits for that ends as if he were cancelled. He may be at work just now, in
        telling whoever fills it, and would not hear that he is."""
        self._is_given_up = True
        self._changed()

    # Of whoever sends it

    async def beyond(self, at: int, least: int = 1) -> memoryview:
        """What came behind the first ``at`` bytes, as soon as there is something; nothing behind the last one.

        :param least: bytes, unless fewer are left.
        """
        while self._buffer.filled < min(at + least, self.size):
            await self._change()
        return self._buffer.content[at:]

    async def whole(self) -> memoryview:
        """All of it, as soon as it has come."""
        self.left()
        while self._buffer.filled < self.size:
            await self._change()
        return self._buffer.content

    def taken(self, count: int) -> None:
        """The store has the first ``count`` bytes."""
        self._taken = count
        self._changed()

    async def _change(self) -> None:
        if self._is_given_up:
            raise CancelledError()
        change: Deferred[None] = Deferred()
        self._waiting.append(change)
        await change

    def _changed(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:                 # whoever waited was cancelled
                each.callback(None)
