"""Memory that all transfers of a store share."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from docker_registry.errors import StoreUnavailable

PATIENCE = 60.0
"""Seconds that somebody waits for memory that slow transfers hold."""


class Budget:
    """Bytes, given in the order in which they were asked for.

    :param option: the one that says how much there is.
    :ivar left: that nobody has.
    """

    def __init__(self, total: int, clock: IReactorTime, option: str) -> None:
        self.left = total
        self._total = total
        self._clock = clock
        self._option = option
        self._waiting: deque[tuple[Deferred[None], int]] = deque()

    async def take(self, count: int) -> int:
        """``count`` bytes, or all that there are if it is more; whoever took them gives them back.

        :raises StoreUnavailable: others have them, and go on having them.
        """
        count = min(count, self._total)
        if self._waiting or self.left < count:
            waiting: Deferred[None] = Deferred(self._leave)
            self._waiting.append((waiting, count))
            try:
                await waiting.addTimeout(PATIENCE, self._clock)
            except TimeoutError:
                raise StoreUnavailable(f"the memory for parts of uploads is in use: raise {self._option}") from None
        else:
            self.left -= count
        return count

    def give(self, count: int) -> None:
        self.left += count
        self._serve()

    def _leave(self, waiting: Deferred[None]) -> None:
        self._waiting = deque(each for each in self._waiting if each[0] is not waiting)
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][1] <= self.left:
            waiting, count = self._waiting.popleft()
            self.left -= count
            waiting.callback(None)
