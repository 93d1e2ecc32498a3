"""The directory of a local store, taken by one process."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from docker_registry.errors import StorageError, StorageFailed
from docker_registry.storage.system import System

FORMAT = 1
"""Of the tree; a newer one is not touched."""

TMP, QUARANTINE = ".tmp", ".quarantine"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Root:
    """:param path: made if it is not there.
    :ivar fd: of the directory, once it is taken; -1 otherwise, as the other two.
    :ivar tmp: of the directory for files on their way.
    :ivar quarantine: of the directory for damaged files.
    """

    def __init__(self, path: Path, system: System, sync: bool) -> None:
        self.path = path
        self.fd = self.tmp = self.quarantine = -1
        self._lock = -1
        self._system = system
        self._sync = sync
        self._names = itertools.count()

    def take(self) -> None:
        """Lock it, and see to it that it can be used.

        :raises StorageError: it cannot; the text says what to do.
        """
        try:
            self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
            self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._take_lock()
            self.tmp, self.quarantine = (self._open(name) for name in (TMP, QUARANTINE))
            for name in os.listdir(self.tmp):       # the lock is ours: nobody is using these any more
                self._system.remove_tree(self.tmp, name)
            self._check_format()
            self._check_case()
            if self._sync:
                self._system.fsync(self.fd)
        except OSError as error:
            self.release()
            raise StorageFailed(f"storage_path {self.path} cannot be used: {error.strerror}") from error
        except StorageError:
            self.release()
            raise

    def release(self) -> None:
        """Give up all that `take` took. May be called twice."""
        for fd in (self.tmp, self.quarantine, self._lock, self.fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self.tmp = self.quarantine = self._lock = -1

    def new_name(self) -> str:
        """For a file in `tmp`."""
        return f"{os.getpid()}-{next(self._names)}"

    def quarantined(self, name: str) -> str:
        """Where an operator finds the damaged file ``name``."""
        return str(self.path / QUARANTINE / name)

    def _open(self, name: str) -> int:
        (self.path / name).mkdir(mode=0o750, exist_ok=True)
        return os.open(name, _DIRECTORY, dir_fd=self.fd)

    def _take_lock(self) -> None:
        self._lock = os.open(".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640, dir_fd=self.fd)
        try:
            self._system.lock(self._lock)
        except BlockingIOError:
            pid = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip()
            raise StorageFailed(
                f"storage_path {self.path} is used by another registry, process {pid}: stop that first"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)

    def _check_format(self) -> None:
        try:
            found = (self.path / ".format").read_text("ascii").strip()
        except FileNotFoundError:
            self._mark()
            return
        if not found.isdigit() or int(found) > FORMAT:
            raise StorageFailed(
                f"storage_path {self.path} has format {found[:20]!r}, and this registry knows {FORMAT}: "
                "run the version that wrote it, or a newer one"
            )

    def _mark(self) -> None:
        name = self.new_name()
        fd = self._system.open_new(self.tmp, name)
        try:
            self._system.write(fd, [b"%d\n" % FORMAT])
            if self._sync:
                self._system.fsync(fd)
        finally:
            self._system.close(fd)
        self._system.rename(self.tmp, name, self.fd, ".format")

    def _check_case(self) -> None:
        """Where ``A`` and ``a`` are one file, two tags would be."""
        name = f"Case-{self.new_name()}"
        self._system.close(self._system.open_new(self.tmp, name))
        try:
            if (self.path / TMP / name.lower()).exists():
                raise StorageFailed(f"storage_path {self.path} takes A and a for the same: use another file system")
        finally:
            self._system.unlink(self.tmp, name)
