"""One at a time, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twisted.internet.defer import DeferredLock

from docker_registry.names import Repository


class RepositoryLocks:
    """What is checked under a repository's lock stays true until it is released.

    Held while a manifest's references are checked and its links are set, and while anything is deleted: so a manifest
    that was accepted never misses a blob (D10).
    """

    def __init__(self) -> None:
        self._locks: dict[Repository, DeferredLock] = {}

    @asynccontextmanager
    async def held(self, repository: Repository) -> AsyncIterator[None]:
        lock = self._locks.setdefault(repository, DeferredLock())
        await lock.acquire()
        try:
            yield
        finally:
            lock.release()
            if not lock.locked and not lock.waiting:
                self._locks.pop(repository, None)
