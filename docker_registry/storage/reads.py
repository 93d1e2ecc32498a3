"""How a local store reads its files: at once where the kernel has them in memory, and none that was cut off."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Callable
from time import perf_counter_ns
from typing import TypeVar

from twisted.internet.defer import Deferred, fail

from docker_registry.digest import Digest
from docker_registry.errors import Damaged, DigestInvalid, StorageError, StorageFailed
from docker_registry.storage.files import FileReader, SmallReader, translated
from docker_registry.storage.interface import SMALL, IReader, Stat, is_key
from docker_registry.storage.root import Root
from docker_registry.storage.system import System
from docker_registry.storage.timing import Observe, Timing
from docker_registry.threads import Runner

R = TypeVar("R")

AT_ONCE = 128 << 10
"""Bytes up to which an object is read when it is opened."""

LINK = len("sha512:") + 128
"""Bytes of the longest link."""

VERIFIED = 10_000
"""Objects whose length was compared with the committed one, and need not be again while they stay the same file."""


class Reads:
    """:param place: where the files are.
    :param cached: whether what the kernel has in memory is read without a thread.
    """

    def __init__(self, place: Root, system: System, runner: Runner, cached: bool) -> None:
        self._place = place
        self._system = system
        self._runner = runner
        self._cached = cached
        self._verified: OrderedDict[str, tuple[int, int, int]] = OrderedDict()
        self._stats: Timing | None = None
        self._gets: Timing | None = None
        self._opens: Timing | None = None

    def time_reads(self, observe: Observe) -> None:
        self._stats, self._gets, self._opens = observe("stat"), observe("get"), observe("open")

    def stat(self, key: str) -> Deferred[Stat]:
        return self._read(self._stats, self._stat, key)

    def get(self, key: str) -> Deferred[bytes]:
        return self._read(self._gets, self._get, key)

    def open(self, key: str, offset: int = 0) -> Deferred[IReader]:
        return self._read(self._opens, self._open, key, offset)

    def _read(self, timing: Timing | None, function: Callable[..., R | None], key: str, *args: int) -> Deferred[R]:
        """Without a thread if nothing has to come from the disk, with one otherwise."""
        began = 0 if timing is None else perf_counter_ns()
        if self._cached:
            try:
                result = function(key, *args, cached=True)
            except StorageError as error:
                failed: Deferred[R] = fail(error)
                return failed if timing is None else timing.until(failed, began)
            if result is not None:
                if timing is not None:
                    timing.ended(began)
                fired: Deferred[R] = Deferred()
                fired.callback(result)
                return fired
        coming: Deferred[R] = self._runner.quick(function, key, *args)  # type: ignore[arg-type]
        return coming if timing is None else timing.until(coming, began)

    def _stat(self, key: str, *, cached: bool = False) -> Stat | None:
        opened = self._opened(key, cached)
        if opened is None:
            return None
        fd, found = opened
        self._system.close(fd)
        return Stat(found.st_size, found.st_mtime)

    def _get(self, key: str, *, cached: bool = False) -> bytes | None:
        opened = self._opened(key, cached)
        if opened is None:
            return None
        fd, found = opened
        try:
            if found.st_size > SMALL:
                raise Damaged(f"{key} has {found.st_size} bytes")
            return self._content(key, fd, 0, found.st_size, cached)
        finally:
            self._system.close(fd)

    def _open(self, key: str, offset: int = 0, *, cached: bool = False) -> IReader | None:
        opened = self._opened(key, cached)
        if opened is None:
            return None
        fd, found = opened
        length = max(found.st_size - offset, 0)
        if length > AT_ONCE:
            return FileReader(self._system, self._runner, key, fd, found.st_size, found.st_mtime, offset)
        try:
            content = self._content(key, fd, offset, length, cached)
        finally:
            self._system.close(fd)
        return None if content is None else SmallReader(content, found.st_size, found.st_mtime)

    def _opened(self, key: str, cached: bool) -> tuple[int, os.stat_result] | None:
        """A descriptor of the object and what the file system says of it; ``None`` if that needs the disk."""
        path = key if key in self._verified else checked(key)      # what was read before is a key
        try:
            call = self._system.open_cached if cached else self._system.open_file
            fd = call(self._place.fd, path)
        except OSError as error:
            raise translated(error, key) from error
        if fd is None:
            return None
        try:
            found = os.fstat(fd) if cached else self._system.fstat(fd)
            if self._is_whole(key, fd, found, cached):
                return fd, found
        except OSError as error:
            self._system.close(fd)
            raise translated(error, key) from error
        except StorageError:
            self._system.close(fd)
            raise
        self._system.close(fd)
        return None

    def _is_whole(self, key: str, fd: int, found: os.stat_result, cached: bool) -> bool:
        """Whether the file is as long as it was committed, or a whole link; no answer without the disk is a no.

        :raises Damaged: it is not.
        """
        if not stat.S_ISREG(found.st_mode):
            raise Damaged(f"{key} is not a file")
        mark = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._verified.get(key) == mark:
            return True
        if cached:
            return False
        committed = self._system.committed_size(fd)
        if committed not in (None, found.st_size) and not self._is_link(key, fd, found.st_size):
            raise Damaged(f"{key} has {found.st_size} bytes instead of {committed}")
        self.remember(key, found)
        return True

    def _is_link(self, key: str, fd: int, size: int) -> bool:
        """Whether the file is a link, a digest and no more, and so tells that it is whole: ``registry:2`` writes over
        links in place, where the length that was noted stays."""
        if size > LINK or not key.endswith("/link"):
            return False
        try:
            Digest.parse(self._system.pread(fd, size, 0).decode("latin-1"))
        except DigestInvalid:
            return False
        return True

    def remember(self, key: str, found: os.stat_result) -> None:
        """This file is known to be whole: nobody needs to ask the disk how long it was to be."""
        self._verified[key] = found.st_ino, found.st_mtime_ns, found.st_size
        while len(self._verified) > VERIFIED:
            self._verified.popitem(last=False)

    def _content(self, key: str, fd: int, offset: int, count: int, cached: bool) -> bytes | None:
        if not count:
            return b""
        if cached:
            return self._system.pread_cached(fd, count, offset)
        try:
            content = self._system.pread(fd, count, offset)
        except OSError as error:
            raise translated(error, key) from error
        if len(content) != count:
            raise Damaged(f"{key} ends early")
        return content

    def forget(self, key: str) -> None:
        """Another file may stand there now, or none."""
        self._verified.pop(key, None)


def checked(key: str) -> str:
    """:raises StorageFailed: no key; nothing else gets to the file system."""
    if not is_key(key):
        raise StorageFailed(f"{key[:200]!r} is no key")
    return key
