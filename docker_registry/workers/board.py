"""Memory that all processes of one daemon see: counts, locks, and directories that are being made.

It is a file that has no name and lies on no disk (memfd_create(2)). Each process has a row of numbers in it, which only
that process writes; what all have counted is the sum of their rows. So nothing is torn when one is killed, and a row
that it leaves is gone on with by the process that takes its place.

Locks are locks on single bytes of that file, far beyond its end: open file description locks (fcntl(2)), which the
kernel gives back when their holder dies. Taking one is a system call that never waits and never goes to a disk, so it
needs no thread; and no file is left that anybody would have to remove. They do not depend on the store: one in a bucket
has them as well as one in a directory.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import struct
import threading
from collections.abc import Iterator, Sequence

SLOTS = 62
"""Directories that one process can be known to be making; with more, all it touches count as such."""

_UPLOADS, _CONNECTIONS, _CROWDED, _FIRST = 0, 1, 2, 3
_ROW = _FIRST + SLOTS
_FLOCK = struct.Struct("hhqqi4x")


class Board:
    """:param fd: closed with the process; each process has to have opened it for itself.
    :param row: of this process; 0 is the parent's.
    """

    def __init__(self, fd: int, row: int) -> None:
        self.fd = fd
        self.row = row
        self._numbers = memoryview(mmap.mmap(fd, 0)).cast("q")
        self.making = MakingEverywhere(self._numbers, row)
        self.uploads = CountOfAll(self._numbers, row, _UPLOADS)

    @classmethod
    def make(cls, workers: int) -> Board:
        """:raises OSError: the kernel has none to give."""
        fd = os.memfd_create("docker-registry", os.MFD_CLOEXEC)
        os.ftruncate(fd, (workers + 1) * _ROW * 8)
        return cls(fd, 0)

    def open_again(self) -> int:
        """A descriptor for another process; whoever called closes it.

        One that is only handed on would hold the same locks.

        :raises OSError: there is no /proc.
        """
        return os.open(f"/proc/self/fd/{self.fd}", os.O_RDWR | os.O_CLOEXEC)

    def ended(self, row: int) -> None:
        """The process of ``row`` has no connections any more."""
        self._numbers[row * _ROW + _CONNECTIONS] = 0

    def is_making(self, row: int) -> bool:
        """Whether the process of ``row`` has ended in the middle of making a directory."""
        return any(self._numbers[row * _ROW + _CROWDED : (row + 1) * _ROW])

    def clear(self, row: int) -> None:
        """What the process that had ``row`` was making is durable; nobody has it yet."""
        for at in range(row * _ROW + _CROWDED, (row + 1) * _ROW):
            self._numbers[at] = 0

    # Connections

    def connected(self, count: int) -> None:
        """So many connections this process has now."""
        self._numbers[self.row * _ROW + _CONNECTIONS] = count

    def is_busier(self) -> bool:
        """Whether this worker has clearly more connections than another one."""
        counts = self._numbers[_ROW + _CONNECTIONS :: _ROW]
        return counts[self.row - 1] > min(counts) + 1

    # Exclusion

    def take(self, number: int) -> bool:
        try:
            self._lock(fcntl.F_WRLCK, number)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def give(self, number: int) -> None:
        self._lock(fcntl.F_UNLCK, number)

    def _lock(self, kind: int, number: int) -> None:
        fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, number + len(self._numbers) * 8, 1, 0))


class CountOfAll:
    """A number that each process counts in its row. The parent's own corrects the sum."""

    def __init__(self, numbers: memoryview[int], row: int, column: int) -> None:
        self._numbers = numbers
        self._column = column
        self._own = row * _ROW + column

    def total(self) -> int:
        return sum(self._numbers[self._column :: _ROW])

    def add(self, number: int) -> None:
        self._numbers[self._own] += number

    def correct(self, total: int) -> None:
        self._numbers[self._own] += total - self.total()


class MakingEverywhere:
    """Directories that are being made in any process; see `docker_registry.storage.making`.

    A row has a hash of the path of each. What a process that was killed has left in its row stays there until the
    parent has seen to it.
    """

    def __init__(self, numbers: memoryview[int], row: int) -> None:
        self._numbers = numbers
        self._own = range(row * _ROW + _FIRST, (row + 1) * _ROW)
        self._crowded = row * _ROW + _CROWDED
        self._paths: dict[str, tuple[int, int]] = {}        # where the hash stands, and how many threads make it
        self._lock = threading.Lock()

    def begin(self, path: str) -> None:
        with self._lock:
            at, threads = self._paths.get(path) or (self._note(_hash(path)), 0)
            self._paths[path] = at, threads + 1

    def end(self, path: str) -> None:
        with self._lock:
            at, threads = self._paths.pop(path)
            if threads > 1:
                self._paths[path] = at, threads - 1
            elif at == self._crowded:
                self._numbers[at] -= 1
            else:
                self._numbers[at] = 0

    def _note(self, number: int) -> int:
        """Where."""
        free = next((at for at in self._own if not self._numbers[at]), self._crowded)
        self._numbers[free] = self._numbers[free] + 1 if free == self._crowded else number
        return free

    def above(self, path: str) -> Sequence[str]:
        made = {number for number in self._marks() if number}
        if not made:
            return ()
        crowded = any(self._numbers[_CROWDED :: _ROW])
        parts = path.split("/")
        paths = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        return paths if crowded else [each for each in paths if _hash(each) in made]

    def _marks(self) -> Iterator[int]:
        for at in range(_CROWDED, len(self._numbers), _ROW):
            yield from self._numbers[at : at + SLOTS + 1]


def _hash(path: str) -> int:
    """Never 0."""
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), signed=True) | 1
