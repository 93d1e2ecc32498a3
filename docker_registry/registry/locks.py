"""One at a time, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from twisted.internet.defer import DeferredLock


class Locks:
    """What is checked under the lock of a repository, or of an image of protocol v1, stays true until it is released.

    A repository's is held while a manifest's references are checked and its links are set, and while anything is
    deleted: so a manifest that was accepted never misses a blob (D10). An image's is held while it changes its state.
    """

    def __init__(self) -> None:
        self._locks: dict[Hashable, DeferredLock] = {}

    @asynccontextmanager
    async def held(self, name: Hashable) -> AsyncIterator[None]:
        lock = self._locks.setdefault(name, DeferredLock())
        await lock.acquire()
        try:
            yield
        finally:
            lock.release()
            if not lock.locked and not lock.waiting:
                self._locks.pop(name, None)
