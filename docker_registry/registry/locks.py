"""One at a time, by name."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from docker_registry.deferreds import Turns
from docker_registry.registry.shared import Exclusion

FIRST, LONGEST = 0.001, 0.016
"""Seconds after which is asked again for what another process has: each time twice as many, up to the second."""


class Locks:
    """What is checked under the lock of a repository, or of an image of protocol v1, stays true until it is released.

    A repository's is held while a manifest's references are checked and its links are set, and while anything is
    deleted: so a manifest that was accepted never misses a blob (D10). An image's is held while it changes its state,
    and an upload session's while a request works on it (D3).

    Between processes a name is two numbers, of which two names may well have the same: then they wait for each other.
    Whoever wants the second waits holding the first, so that a process with many requests does not keep others from it.

    :param clock: measures how long is waited for another process.
    :param exclusion: of other processes; ``None`` where there are none.
    """

    def __init__(self, clock: IReactorTime, exclusion: Exclusion | None = None) -> None:
        self._clock = clock
        self._exclusion = exclusion
        self._turns: Turns[Hashable] = Turns()

    @asynccontextmanager
    async def held(self, name: Hashable) -> AsyncIterator[None]:
        """Wait until nobody has it, in this process or another, and have it in the block."""
        number = _number(name) if self._exclusion else 0
        async with self._turns.held(number or name):
            if self._exclusion is None:
                yield
                return
            await self._take(self._exclusion, number)
            try:
                yield
            finally:
                self._exclusion.give(number)

    @contextmanager
    def tried(self, name: Hashable) -> Iterator[bool]:
        """Whether nobody has it; if so, have it in the block. Nobody waits."""
        number = _number(name) if self._exclusion else 0
        with self._turns.tried(number or name) as is_free:
            if not is_free or (self._exclusion is not None and not self._exclusion.take(number)):
                yield False
                return
            try:
                yield True
            finally:
                if self._exclusion is not None:
                    self._exclusion.give(number)

    async def _take(self, exclusion: Exclusion, number: int) -> None:
        turn = number + 1
        await self._until(exclusion, turn)
        try:
            await self._until(exclusion, number)
        finally:
            exclusion.give(turn)

    async def _until(self, exclusion: Exclusion, number: int) -> None:
        pause = FIRST
        while not exclusion.take(number):
            await deferLater(self._clock, pause)
            pause = min(2 * pause, LONGEST)


def _number(name: Hashable) -> int:
    """An even one, the same in every process; the odd one after it is for waiting. A repository is no image."""
    digest = hashlib.blake2b(f"{type(name).__name__} {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 3 << 1 | 1 << 61
