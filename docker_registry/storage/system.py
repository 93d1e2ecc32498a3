"""Every system call of the local store, in one place that tests can watch and break."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

Hook = Callable[[str, str], None]
"""Called before each call with its name and what it is about; it may raise in its place."""

SIZE_ATTRIBUTE = "user.registry.size"
"""The length that an object was committed with, in decimal: a file that was cut or grew since is damaged."""

_OPENAT2 = 437                          # the same number on every architecture
_NO_MAGICLINKS, _BENEATH, _CACHED = 0x02, 0x08, 0x20
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK      # a FIFO in an object's place must not make anyone wait
_IOV = 1024


class _How(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def _syscall(library: ctypes.CDLL) -> Callable[..., int]:
    function = library.syscall
    function.restype = ctypes.c_long
    function.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_How), ctypes.c_size_t]
    return function


_blocking = _syscall(ctypes.CDLL(None, use_errno=True))
_at_once = _syscall(ctypes.PyDLL(None, use_errno=True))     # keeps the interpreter's lock: for what never waits


_sync_file_range = ctypes.CDLL(None).sync_file_range
_sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
_SYNC_FILE_RANGE_WRITE = 2

_syncfs = ctypes.CDLL(None, use_errno=True).syncfs
_syncfs.argtypes = [ctypes.c_int]


@lru_cache(64)
def _how(flags: int, mode: int, resolve: int) -> _How:
    """The kernel only reads it, so one serves all."""
    return _How(flags | os.O_CLOEXEC, mode, resolve)


def _openat2(directory: int, path: str, flags: int, mode: int, resolve: int) -> int:
    call = _at_once if resolve & _CACHED else _blocking
    fd = call(_OPENAT2, directory, path.encode(), _how(flags, mode, resolve), ctypes.sizeof(_How))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return fd


def _has_openat2() -> bool:
    """Linux 5.6, unless a filter of system calls forbids it."""
    try:
        os.close(_openat2(_AT_FDCWD, ".", os.O_RDONLY | os.O_DIRECTORY, 0, _BENEATH))
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EPERM, errno.EINVAL)
    return True


_AT_FDCWD = -100


class System:
    """:param before: see `Hook`.
    :param beneath: whether the kernel resolves paths below a directory by itself; else it is done here, part by part.
    """

    def __init__(self, before: Hook | None = None, beneath: bool | None = None) -> None:
        self._before = before
        self._beneath = _has_openat2() if beneath is None else beneath

    def _note(self, call: str, subject: str | int) -> None:
        if self._before is not None:
            self._before(call, str(subject))

    # Opening: `path` is relative to the directory `root`, and never leaves it, by a symbolic link either.

    def open_file(self, root: int, path: str) -> int:
        self._note("open", path)
        return self._open(root, path, _READ, 0)

    def open_cached(self, root: int, path: str) -> int | None:
        """As `open_file`, if the kernel knows the way without asking the disk; so it never blocks."""
        if not self._beneath:
            return None
        try:
            return _openat2(root, path, _READ, 0, _BENEATH | _NO_MAGICLINKS | _CACHED)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINVAL):
                return None
            raise

    def open_directory(self, root: int, path: str) -> int:
        self._note("open", path)
        return self._open(root, path or ".", os.O_RDONLY | os.O_DIRECTORY, 0)

    def open_new(self, root: int, path: str) -> int:
        """A file to be written from its beginning on, whatever was there."""
        self._note("create", path)
        return self._open(root, path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)

    def open_first(self, root: int, path: str) -> int:
        """As `open_new`.

        :raises FileExistsError: something is there.
        """
        self._note("create", path)
        return self._open(root, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)

    def open_again(self, root: int, path: str) -> int:
        """A file to be written on."""
        self._note("open", path)
        return self._open(root, path, os.O_WRONLY, 0)

    def _open(self, root: int, path: str, flags: int, mode: int) -> int:
        if self._beneath:
            return _openat2(root, path, flags, mode, _BENEATH | _NO_MAGICLINKS)
        *above, name = path.split("/")
        directory = os.dup(root)
        try:
            for part in above:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                os.close(directory)
                directory = inner
            return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=directory)
        finally:
            os.close(directory)

    # Reading

    def fstat(self, fd: int) -> os.stat_result:
        self._note("fstat", fd)
        return os.fstat(fd)

    def committed_size(self, fd: int) -> int | None:
        """The length that `set_size` noted; ``None`` for files of others, and where there are no attributes."""
        self._note("getxattr", fd)
        try:
            return int(os.getxattr(fd, SIZE_ATTRIBUTE))
        except (OSError, ValueError):
            return None

    def pread(self, fd: int, count: int, offset: int) -> bytes:
        self._note("read", fd)
        return os.pread(fd, count, offset)

    def pread_cached(self, fd: int, count: int, offset: int) -> bytes | None:
        """``None`` if the bytes are not all in memory."""
        buffer = bytearray(count)
        try:
            read = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
        except OSError:
            return None
        return bytes(buffer) if read == count else None

    def scan(self, fd: int) -> Iterator[os.DirEntry[str]]:
        self._note("scandir", fd)
        with os.scandir(fd) as entries:
            yield from entries

    # Writing

    def write(self, fd: int, parts: Sequence[bytes]) -> None:
        """All of ``parts``."""
        rest = [memoryview(part) for part in parts if part]
        while rest:
            self._note("write", fd)
            written = os.writev(fd, rest[:_IOV])
            while rest and written >= len(rest[0]):
                written -= len(rest.pop(0))
            if written:
                rest[0] = rest[0][written:]

    def begin_writeback(self, fd: int, offset: int, count: int) -> None:
        """Let the kernel start to write these bytes to the disk, and do not wait for it."""
        self._note("writeback", fd)
        _sync_file_range(fd, offset, count, _SYNC_FILE_RANGE_WRITE)

    def set_size(self, fd: int, size: int) -> None:
        """Note the length of what is complete; file systems without attributes do without the check."""
        self._note("setxattr", fd)
        try:
            os.setxattr(fd, SIZE_ATTRIBUTE, b"%d" % size)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise

    def forget_size(self, fd: int) -> None:
        """The file is to be written on."""
        self._note("removexattr", fd)
        try:
            os.removexattr(fd, SIZE_ATTRIBUTE)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
                raise

    def truncate(self, fd: int, size: int) -> None:
        self._note("truncate", fd)
        os.ftruncate(fd, size)

    def fsync(self, fd: int) -> None:
        self._note("fsync", fd)
        os.fsync(fd)

    def sync_all(self, fd: int) -> None:
        """As `fsync`, of the whole file system."""
        self._note("syncfs", fd)
        if _syncfs(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def touch(self, fd: int, now: float) -> None:
        self._note("utime", fd)
        os.utime(fd, (now, now))

    def mkdir(self, directory: int, name: str) -> None:
        self._note("mkdir", name)
        os.mkdir(name, 0o750, dir_fd=directory)

    def rename(self, source: int, name: str, target: int, new: str) -> None:
        self._note("rename", new)
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)

    def unlink(self, directory: int, name: str) -> None:
        self._note("unlink", name)
        os.unlink(name, dir_fd=directory)

    def remove_tree(self, directory: int, name: str) -> None:
        """Whatever ``name`` is; links in it are removed, not followed."""
        self._note("rmtree", name)
        try:
            os.unlink(name, dir_fd=directory)
        except (IsADirectoryError, PermissionError):
            shutil.rmtree(name, dir_fd=directory)

    def lock(self, fd: int) -> None:
        """:raises BlockingIOError: another process has it."""
        self._note("flock", fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self, fd: int) -> None:
        os.close(fd)
