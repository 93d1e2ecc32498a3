"""A process that dies at its N-th system call, and a power cut that takes what was not synced."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from docker_registry.storage.system import System


class Killed(BaseException):
    """The process is no more: nothing catches this, and no call after it does anything."""


class DyingSystem(System):
    """Counts the calls that change something, or make it durable, and dies instead of making number ``last``.

    It knows what the disk may legally have lost then: data that was not synced since it was written, and entries of
    directories that were not synced since they were made, replaced or removed.

    :param last: ``None`` lives for ever.
    """

    CALLS = frozenset({
        "create", "write", "setxattr", "truncate", "fsync", "mkdir", "rename", "unlink", "rmtree", "utime",
    })

    def __init__(self, backup: Path, last: int | None = None) -> None:
        super().__init__(before=self._count)
        self.calls = 0
        self.last = last
        self._backup = backup
        self._data: set[str] = set()                            # files
        self._synced: dict[str, int] = {}                       # how much of a file is durable
        self._entries: dict[str, dict[str, str | None]] = defaultdict(dict)     # directory -> name -> what was there
        self._moved: dict[str, str] = {}                        # from where a file came that a rename brought

    def _count(self, call: str, subject: str) -> None:
        if self.last is not None and self.calls >= self.last:
            raise Killed()
        if call in self.CALLS:
            self.calls += 1
            if self.calls == self.last:
                raise Killed()

    def open_new(self, root: int, path: str) -> int:
        above, _, name = path.rpartition("/")
        directory = os.path.join(_path(root), above).rstrip("/")
        existed = os.path.exists(os.path.join(directory, name))
        fd = super().open_new(root, path)
        self._data.add(os.path.join(directory, name))
        self._synced[os.path.join(directory, name)] = 0
        if not existed:
            self._entries[directory].setdefault(name, None)
        return fd

    def open_first(self, root: int, path: str) -> int:
        fd = super().open_first(root, path)
        self._synced[_path(fd)] = 0
        directory, name = os.path.split(_path(fd))
        self._entries[directory].setdefault(name, None)
        return fd

    def write(self, fd: int, parts: Sequence[bytes]) -> None:
        super().write(fd, parts)
        self._data.add(_path(fd))

    def truncate(self, fd: int, size: int) -> None:
        super().truncate(fd, size)
        self._synced[_path(fd)] = min(size, self._synced.get(_path(fd), 0))

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        self._data.discard(_path(fd))
        self._synced[_path(fd)] = os.fstat(fd).st_size
        self._entries.pop(_path(fd), None)

    def mkdir(self, directory: int, name: str) -> None:
        super().mkdir(directory, name)
        self._entries[_path(directory)].setdefault(name, None)

    def rename(self, source: int, name: str, target: int, new: str) -> None:
        old, to = os.path.join(_path(source), name), os.path.join(_path(target), new)
        kept = self._keep(to)
        super().rename(source, name, target, new)
        self._entries[_path(target)].setdefault(new, kept)
        self._entries[_path(source)].pop(name, None)
        self._moved[to] = old
        self._synced[to] = self._synced.pop(old, 0)
        if old in self._data:
            self._data.discard(old)
            self._data.add(to)

    def unlink(self, directory: int, name: str) -> None:
        kept = self._keep(os.path.join(_path(directory), name))
        super().unlink(directory, name)
        self._entries[_path(directory)].setdefault(name, kept)

    def _keep(self, path: str) -> str | None:
        """Another name for a file, by which it comes back if its own is not durably gone."""
        if not os.path.isfile(path):
            return None
        self._backup.mkdir(exist_ok=True)
        kept = str(self._backup / str(len(os.listdir(self._backup))))
        os.link(path, kept)
        return kept

    def cut_power(self) -> None:
        """Lose all that may be lost."""
        for path in self._data:
            if os.path.isfile(path):
                os.truncate(path, (os.path.getsize(path) + self._synced[path]) // 2)
        for directory, names in self._entries.items():
            for name, before in names.items():
                path = os.path.join(directory, name)
                old = self._moved.get(path, "")
                if os.path.exists(path) and os.path.isdir(os.path.dirname(old)):
                    os.rename(path, old)                # a rename is lost as a whole
                elif os.path.isdir(path):
                    shutil.rmtree(path)
                elif os.path.exists(path):
                    os.unlink(path)
                if before is not None and os.path.isdir(directory):
                    os.link(before, path)


def _path(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")
