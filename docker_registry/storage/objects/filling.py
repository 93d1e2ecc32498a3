"""A part that is sent while its bytes come: so the store begins with it earlier, and less of its work is left to be
waited for at the end.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from docker_registry.storage.objects.budget import Buffer


class Filling:
    """The part's bytes, which stay until all of them have arrived: they may have to be sent again.

    :param buffer: that is being filled.
    :ivar size: of the whole part.
    """

    def __init__(self, buffer: Buffer) -> None:
        self.size = buffer.size
        self._buffer = buffer
        self._waiting: list[Deferred[None]] = []

    def came(self) -> None:
        """There is more of it."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:                 # whoever waited was cancelled
                each.callback(None)

    async def beyond(self, at: int, least: int = 1) -> memoryview:
        """What came behind the first ``at`` bytes, as soon as there is something; nothing behind the last one.

        :param least: bytes, unless fewer are left.
        """
        while self._buffer.filled < min(at + least, self.size):
            change: Deferred[None] = Deferred()
            self._waiting.append(change)
            await change
        return self._buffer.content[at:]

    async def whole(self) -> memoryview:
        """All of it, as soon as it has come."""
        await self.beyond(0, self.size)
        return self._buffer.content
