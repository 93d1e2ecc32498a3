"""Objects of a local store that are open for reading or writing."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from typing import ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from docker_registry.deferreds import together
from docker_registry.errors import Damaged, NotFound, StorageError, StorageFailed, StorageFull
from docker_registry.storage.interface import Digester, ICopying, IFile, IReader, IWriter
from docker_registry.storage.system import System
from docker_registry.threads import Runner

P = ParamSpec("P")
R = TypeVar("R")

JOINED = 512 << 10
"""Bytes up to which parts are put together: each call gives the interpreter's lock away, and waits to have it back."""

WRITEBACK = 8 << 20
"""Bytes after which the disk begins to work on an upload, so that little is left to wait for at its end."""

APART = 256 << 10
"""Bytes from which on hashing has a thread of its own: with less than that the hop costs more than it brings."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OUTSIDE = frozenset({errno.EXDEV, errno.ELOOP})


def translated(error: OSError, key: str) -> StorageError:
    """What an error of the operating system means for the object at ``key``."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)) or error.errno == errno.ENAMETOOLONG:
        return NotFound(key)
    if error.errno in _FULL:
        return StorageFull(f"{key}: {error.strerror}")
    if isinstance(error, IsADirectoryError):
        return Damaged(f"{key} is a directory")
    if error.errno in _OUTSIDE:
        return NotFound(f"{key} leads out of the store")
    return StorageFailed(f"{key}: {error.strerror}")


def translating(function: Callable[P, R]) -> Callable[P, R]:
    """Let ``function``, whose first argument is a key, raise storage's errors."""

    def translate(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except OSError as error:
            raise translated(error, str(args[0])) from error

    return translate


def show(parts: Sequence[bytes], digesters: Sequence[Digester]) -> None:
    for part in _joined(parts):
        for digester in digesters:
            digester.update(part)


def showing(runner: Runner, parts: Sequence[bytes], digesters: Sequence[Digester]) -> list[Deferred[None]]:
    """`show`, with a thread for each of them where that is worth it."""
    if sum(map(len, parts)) < APART:
        return [runner.slow(show, parts, digesters)]
    return [runner.slow(show, parts, [each]) for each in digesters]


@implementer(IReader)
class SmallReader:
    """An object that was read when it was opened."""

    def __init__(self, content: bytes, size: int, modified: float) -> None:
        self.size = size
        self.modified = modified
        self._content = content

    def read(self, count: int) -> Deferred[bytes]:
        piece, self._content = self._content[:count], self._content[count:]
        return succeed(piece)

    def close(self) -> None:
        self._content = b""


@implementer(IFile, IReader)
class FileReader:
    """An object that is read, or sent, from its file."""

    def __init__(self, system: System, runner: Runner, key: str, fd: int, size: int, modified: float, at: int) -> None:
        self.size = size
        self.modified = modified
        self._system = system
        self._runner = runner
        self._key = key
        self._fd = fd
        self._at = at

    def fileno(self) -> int:
        return self._fd

    def read(self, count: int) -> Deferred[bytes]:
        return self._runner.quick(self._read, count)

    def _read(self, count: int) -> bytes:
        try:
            piece = self._system.pread(self._fd, min(count, max(self.size - self._at, 0)), self._at)
        except OSError as error:
            raise translated(error, self._key) from error
        if not piece and self._at < self.size:
            raise Damaged(self._key)
        self._at += len(piece)
        return piece

    def close(self) -> None:
        if self._fd >= 0:
            self._system.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        """Whoever asked for it may have gone while something else was waited for, and nobody else knows of it."""
        self.close()


class Directory(Protocol):
    """What a writer asks of its store."""

    def fsync(self, fd: int) -> None: ...

    def vouch(self, key: str, fd: int) -> None:
        """The file at ``key`` is as it should be."""

    def begin_writeback(self, fd: int, offset: int, count: int) -> None: ...

    def publish(self, source: int, name: str, key: str, sync: Callable[[], None]) -> None: ...


@implementer(IWriter, ICopying)
class LocalWriter:
    """:param directory: where the file lies; this writer closes it."""

    log = Logger()

    def __init__(
        self, storage: Directory, system: System, runner: Runner, key: str, fd: int, directory: int, offset: int
    ) -> None:
        self.offset = offset
        self.mark = ""
        self.is_spare = self.in_turn = False
        self._storage = storage
        self._system = system
        self._runner = runner
        self._key = key
        self._fd = fd
        self._directory = directory
        self._begun = offset                    # up to here the kernel was told to write to the disk
        self._is_entered = offset > 0           # whether the directory's entry is durable

    def write(self, parts: Sequence[bytes], digesters: Sequence[Digester] = ()) -> Deferred[None]:
        if self.in_turn or sum(map(len, parts)) < APART or not digesters:
            return self._runner.slow(translating(self._write), self._key, parts, digesters)
        return Deferred.fromCoroutine(self._write_apart(parts, digesters))

    async def _write_apart(self, parts: Sequence[bytes], digesters: Sequence[Digester]) -> None:
        await together(
            *showing(self._runner, parts, digesters),
            self._runner.slow(translating(self._write), self._key, parts, ()),
        )

    def _write(self, key: str, parts: Sequence[bytes], digesters: Sequence[Digester]) -> None:
        for part in _joined(parts):
            self._system.write(self._fd, [part])
            show([part], digesters)
        self.offset += sum(map(len, parts))
        if self.offset - self._begun >= WRITEBACK and not self.is_spare:
            self._storage.begin_writeback(self._fd, self._begun, self.offset - self._begun)
            self._begun = self.offset

    def sync(self) -> Deferred[int]:
        return self._runner.slow(translating(self._make_durable), self._key)

    def _make_durable(self, key: str) -> int:
        self._storage.fsync(self._fd)
        if not self._is_entered:
            self._storage.fsync(self._directory)
            self._is_entered = True
        self._storage.vouch(key, self._fd)
        return self.offset

    def commit(self, key: str) -> Deferred[None]:
        return self._runner.slow(translating(self._commit), key)

    def _commit(self, key: str) -> None:
        self._storage.publish(self._directory, self._key.rpartition("/")[2], key, self._sync_whole)
        self._close()

    def _sync_whole(self) -> None:
        self._storage.fsync(self._fd)
        # Not earlier: a length that outlives the bytes would condemn an upload that goes on after a power cut.
        self._system.set_size(self._fd, self.offset)

    def abandon(self) -> Deferred[None]:
        return self._runner.slow(self._abandon)

    def _abandon(self) -> None:
        if self._fd >= 0:
            try:
                self._system.unlink(self._directory, self._key.rpartition("/")[2])
            except OSError as error:
                self.log.warn("{key} could not be removed: {reason}", key=self._key, reason=error.strerror)
            self._close()

    def close(self) -> Deferred[None]:
        self._close()
        return succeed(None)

    def _close(self) -> None:
        if self._fd >= 0:
            self._system.close(self._fd)
            self._system.close(self._directory)
            self._fd = self._directory = -1


def _joined(parts: Sequence[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer parts."""
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        if waiting and size + len(part) > JOINED:
            yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
            waiting, size = [], 0
        waiting.append(part)
        size += len(part)
    if waiting:
        yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
