"""Pages of a file that are to be in memory before they are sent: the reactor must not wait for a disk."""

from __future__ import annotations

import os

from twisted.python.failure import Failure

from docker_registry.threads import Runner

AHEAD = 8 << 20
"""Bytes that the kernel is asked to read ahead."""

STEP = 192 << 10
"""Bytes that are read at a time, and thrown away."""


class Pages:
    """:param end: of what will be sent."""

    def __init__(self, fd: int, start: int, end: int, runner: Runner) -> None:
        self._fd = fd
        self._asked = start                         # the kernel is reading ahead up to here
        self._end = end
        self._runner = runner

    async def fetch(self, at: int, count: int) -> None:
        """:raises OSError: of reading."""
        if self._asked < self._end and at + AHEAD // 2 >= self._asked:
            ahead = min(AHEAD, self._end - self._asked)
            if not _is_at_hand(self._fd, self._asked + ahead - 1):
                self._runner.quick(_advise, os.dup(self._fd), self._asked, ahead).addErrback(_no_matter)
            self._asked += ahead
        if not _is_at_hand(self._fd, at) or not _is_at_hand(self._fd, at + count - 1):
            await self._runner.slow(_read_through, os.dup(self._fd), at, count)


def _is_at_hand(fd: int, at: int) -> bool:
    """Whether the byte is in memory; where the kernel does not tell, it is taken to be."""
    try:
        return os.preadv(fd, [bytearray(1)], at, os.RWF_NOWAIT) >= 0
    except BlockingIOError:
        return False
    except OSError:
        return True                                 # sending will say what is wrong


def _advise(fd: int, at: int, count: int) -> None:
    """Works on a descriptor of its own: the sender may have ended meanwhile."""
    try:
        os.posix_fadvise(fd, at, count, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(fd)


def _read_through(fd: int, at: int, count: int) -> None:
    """As `_advise`, and comes back when the bytes are there."""
    buffer = bytearray(STEP)
    try:
        end = at + count
        while at < end and (read := os.preadv(fd, [memoryview(buffer)[: end - at]], at)):
            at += read
    finally:
        os.close(fd)


def _no_matter(failure: Failure) -> None:
    """What was not read ahead is read when it is needed."""
    failure.trap(OSError)
