"""Memory that all transfers of a store share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from mmap import MADV_DONTNEED, MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_PRIVATE, mmap

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from docker_registry.errors import StorageFailed, StoreUnavailable

PATIENCE = 60.0
"""Seconds that somebody waits for memory that slow transfers hold."""

SPARE = 384 << 20
"""Bytes of memory that nobody has and that the system does not get back yet: to be given new pages costs as much as
half of what is done with them."""

KEPT = 15.0
"""Seconds for which nobody has any before the system gets back all: layers of an image come one after the other."""


class Buffer:
    """Room for bytes, outside the heap: it goes back to the system as a whole.

    Bytes come in pieces of all sizes. Kept as they came, they would leave holes in the heap that take as much again.

    :param give: takes back how many bytes it had, and the memory.
    :ivar size: bytes that there is room for.
    :ivar filled: bytes that were kept.
    """

    def __init__(self, memory: mmap, size: int, give: Callable[[mmap, int], None]) -> None:
        self.size = size
        self._give = give
        self._map = memory
        self.filled = 0

    def add(self, piece: memoryview) -> int:
        """Keep the beginning of ``piece``; how much of it there was room for."""
        count = min(len(piece), self.size - self.filled)
        self._map[self.filled : self.filled + count] = piece[:count]
        self.filled += count
        return count

    @property
    def content(self) -> memoryview:
        """Those."""
        return memoryview(self._map)[: self.filled]

    @property
    def is_full(self) -> bool:
        return self.filled == self.size

    def shift(self, count: int) -> None:
        """Forget the first ``count`` bytes."""
        self.filled -= count
        self._map.move(0, count, self.filled)

    def cut(self, count: int) -> None:
        """Forget all but the first ``count`` bytes."""
        self.filled = min(self.filled, count)

    def drop(self) -> None:
        """May be called twice."""
        size, self.size = self.size, 0
        self.filled = 0
        if size:
            self._give(self._map, size)


class Budget:
    """Bytes, given in the order in which they were asked for.

    :param option: the one that says how much there is.
    :ivar total: how much that is.
    :ivar left: that nobody has.
    """

    def __init__(self, total: int, clock: IReactorTime, option: str) -> None:
        self.left = total
        self.total = total
        self._clock = clock
        self._option = option
        self._waiting: deque[tuple[Deferred[None], int]] = deque()
        self._spare: deque[mmap] = deque()
        self._most = SPARE                      # that is spare, at most
        self._end: IDelayedCall | None = None   # of what is spare

    async def take(self, count: int) -> Buffer:
        """Room for ``count`` bytes; whoever took it drops it.

        :raises StorageFailed: there will never be as many.
        :raises StoreUnavailable: others have them, and go on having them.
        """
        if count > self.total:
            raise StorageFailed(f"a part of {count} bytes does not fit into the memory: raise {self._option}")
        if self._waiting or self.left < count:
            waiting: Deferred[None] = Deferred(self._leave)
            self._waiting.append((waiting, count))
            try:
                await waiting.addTimeout(PATIENCE, self._clock)
            except TimeoutError:
                raise StoreUnavailable(f"the memory for parts of uploads is in use: raise {self._option}") from None
        else:
            self.left -= count
        return Buffer(self._memory(count), count, self._give)

    def _memory(self, count: int) -> mmap:
        """As much as that, which `left` is without already."""
        self._stay()
        found = next((each for each in self._spare if len(each) == count), None)
        if found is not None:
            self._spare.remove(found)
        self._trim(min(self._most, self.left))
        return _new_memory(count) if found is None else found

    def _give(self, memory: mmap, count: int) -> None:
        self.left += count
        if _is_free(memory):
            self._spare.append(memory)
        else:
            memory.madvise(MADV_DONTNEED)       # whoever still looks, of a transfer that failed, may see anything
        self._serve()
        self._trim(min(self._most, self.left))
        if self.left == self.total and self._spare:
            self._end = self._clock.callLater(KEPT, self._trim, 0)

    def close(self) -> None:
        """Keep nothing for others any more."""
        self._stay()
        self._most = 0
        self._trim(0)

    def _stay(self) -> None:
        """Somebody has some."""
        if self._end is not None and self._end.active():
            self._end.cancel()
        self._end = None

    def _trim(self, most: int) -> None:
        """Let the system have what is spare beyond so many bytes."""
        while sum(map(len, self._spare)) > most:
            self._spare.popleft().close()

    def _leave(self, waiting: Deferred[None]) -> None:
        self._waiting = deque(each for each in self._waiting if each[0] is not waiting)
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][1] <= self.left:
            waiting, count = self._waiting.popleft()
            self.left -= count
            waiting.callback(None)


def _new_memory(count: int) -> mmap:
    memory = mmap(-1, max(count, 1), MAP_PRIVATE | MAP_ANONYMOUS)
    with suppress(OSError):                     # a kernel without large pages: each small one costs a fault
        memory.madvise(MADV_HUGEPAGE)
    return memory


def _is_free(memory: mmap) -> bool:
    """Whether nobody looks at it: only then others may write there."""
    try:
        memory.resize(len(memory))
    except BufferError:
        return False
    return True
