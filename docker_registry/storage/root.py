"""The directory of a local store, taken by one daemon: by its first process, which others may join."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

from docker_registry.errors import StorageError, StorageFailed
from docker_registry.storage.system import System

FORMAT = 1
"""Of the tree; a newer one is not touched."""

TMP, QUARANTINE = ".tmp", ".quarantine"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class StillEnding(StorageFailed):
    """The process that took the directory has ended, and others that had joined it have not yet."""


class Root:
    """:param path: made if it is not there.
    :ivar fd: of the directory, once it is taken; -1 otherwise, as the others.
    :ivar tmp: of the directory for files on their way.
    :ivar quarantine: of the directory for damaged files.
    :ivar lock: of the file that is locked. The lock stays until the last process that has the descriptor ends.
    """

    def __init__(self, path: Path, system: System, sync: bool) -> None:
        self.path = path
        self.fd = self.tmp = self.quarantine = self.lock = -1
        self._system = system
        self._sync = sync
        self._names = itertools.count()

    def take(self) -> None:
        """Lock it, and see to it that it can be used.

        :raises StillEnding: another registry has it that is about to end.
        :raises StorageError: it cannot; the text says what to do.
        """
        self._use(self._take)

    def join(self) -> None:
        """Use what another process of this daemon has taken.

        :raises StorageError: it cannot be used; the text says what to do.
        """
        self._use(lambda: None)

    def _use(self, prepare: Callable[[], None]) -> None:
        try:
            self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
            self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            prepare()
            if self.tmp < 0:
                self._open_own()
        except OSError as error:
            self.release()
            raise StorageFailed(f"storage_path {self.path} cannot be used: {error.strerror}") from error
        except StorageError:
            self.release()
            raise

    def _take(self) -> None:
        self._take_lock()
        self._open_own()
        for name in os.listdir(self.tmp):           # the lock is ours: nobody is using these any more
            self._system.remove_tree(self.tmp, name)
        self._check_format()
        self._check_case()
        if self._sync:
            self._system.fsync(self.fd)

    def release(self) -> None:
        """Give up all that `take` took. May be called twice."""
        for fd in (self.tmp, self.quarantine, self.lock, self.fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self.tmp = self.quarantine = self.lock = -1

    def sweep(self, process: int) -> None:
        """Remove what a process that has ended left on its way."""
        for name in os.listdir(self.tmp):
            if name.startswith(f"{process}-"):
                self._system.remove_tree(self.tmp, name)

    def new_name(self) -> str:
        """For a file in `tmp`."""
        return f"{os.getpid()}-{next(self._names)}"

    def quarantined(self, name: str) -> str:
        """Where an operator finds the damaged file ``name``."""
        return str(self.path / QUARANTINE / name)

    def _open_own(self) -> None:
        self.tmp, self.quarantine = (self._open(name) for name in (TMP, QUARANTINE))

    def _open(self, name: str) -> int:
        (self.path / name).mkdir(mode=0o750, exist_ok=True)
        return os.open(name, _DIRECTORY, dir_fd=self.fd)

    def _take_lock(self) -> None:
        self.lock = os.open(".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640, dir_fd=self.fd)
        try:
            self._system.lock(self.lock)
        except BlockingIOError:
            pid = os.pread(self.lock, 20, 0).decode("ascii", "replace").strip()
            if pid.isdecimal() and not _is_running(int(pid)):
                raise StillEnding(
                    f"storage_path {self.path} is used by workers of a registry, process {pid}, that has ended: "
                    "stop them first"
                ) from None
            raise StorageFailed(
                f"storage_path {self.path} is used by another registry, process {pid}: stop that first"
            ) from None
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, b"%d\n" % os.getpid(), 0)

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


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
