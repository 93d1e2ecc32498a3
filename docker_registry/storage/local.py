"""A directory: the tree of keys is a tree of files.

::

    <root>/
      .lock            held while a daemon runs, with its pid
      .format          the version of what lies here
      .cache/          what can be found out again; of whoever uses the store
      .tmp/            files on their way to their place; emptied at start
      .quarantine/     damaged files, for the operator
      docker/registry/v2/...

Files get to their place by one rename, after their bytes are synced; the directory is synced before anyone is told.
Nothing leaves the root, whatever symbolic links lie below it.
"""

from __future__ import annotations

import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import TypeVar
from urllib.parse import quote

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from docker_registry.deferreds import deferred
from docker_registry.errors import Damaged, NotFound, StorageError, StorageFailed
from docker_registry.storage.directories import Directories
from docker_registry.storage.files import FileReader, LocalWriter, SmallReader, translated, translating
from docker_registry.storage.interface import (
    SMALL,
    Entry,
    IReader,
    IStorage,
    ITaken,
    ITimesReads,
    IWriter,
    Stat,
    is_key,
)
from docker_registry.storage.making import Making, MakingHere
from docker_registry.storage.root import Root, StillEnding
from docker_registry.storage.system import System
from docker_registry.storage.timing import Observe, Timing
from docker_registry.threads import Runner

Entries = list[Entry]
R = TypeVar("R")

AT_ONCE = 128 << 10
"""Bytes up to which an object is read when it is opened."""

VERIFIED = 10_000
"""Objects whose length was compared with the committed one, and need not be again while they stay the same file."""

ORPHANS = 20
"""Seconds that the processes of a daemon have to end when the first of them was killed."""


@implementer(IStorage, ITaken, ITimesReads)
class LocalStorage:
    """:param root: made if it is not there.
    :param sync: whether anything is made durable; without, a power cut may lose what was acknowledged.
    :param cached: whether what the kernel has in memory is read without a thread.
    :param making: what is known of directories that are being made; of other processes too, if there are any.
    :param joins: whether another process of this daemon has taken the directory, and this one joins in.
    """

    log = Logger()

    def __init__(
        self,
        root: Path,
        runner: Runner,
        clock: IReactorTime,
        *,
        sync: bool = True,
        system: System | None = None,
        cached: bool = True,
        making: Making | None = None,
        joins: bool = False,
    ) -> None:
        self._runner = runner
        self._clock = clock
        self._sync = sync
        self._system = system or System()
        self._cached = cached
        self._place = Root(root, self._system, sync)
        self._directories = Directories(self._place, self._system, making or MakingHere(), sync)
        self._joins = joins
        self._verified: OrderedDict[str, tuple[int, int, int]] = OrderedDict()
        self._stats: Timing | None = None
        self._gets: Timing | None = None
        self._opens: Timing | None = None

    # Reading

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
        path = key if key in self._verified else _checked(key)      # what was read before is a key
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
        """Whether the file is as long as it was committed; no answer without the disk is a no.

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
        if committed is not None and committed != found.st_size:
            raise Damaged(f"{key} has {found.st_size} bytes instead of {committed}")
        self._remember(key, found)
        return True

    def _remember(self, key: str, found: os.stat_result) -> None:
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

    def list(self, prefix: str, after: str = "", limit: int = 1000) -> Deferred[Entries]:
        return self._runner.quick(self._list, prefix, after, limit)

    def _list(self, prefix: str, after: str, limit: int) -> Entries:
        try:
            fd = self._system.open_directory(self._place.fd, _checked(prefix) if prefix else "")
        except OSError as error:
            problem = translated(error, prefix)
            if isinstance(problem, NotFound):
                return []
            raise problem from error
        try:
            found = [
                Entry(entry.name, entry.is_dir(follow_symlinks=False))
                for entry in self._system.scan(fd)
                if entry.name > after and is_key(entry.name) and not entry.name.startswith(".")
            ]
        except OSError as error:
            raise translated(error, prefix) from error
        finally:
            self._system.close(fd)
        return sorted(found, key=lambda entry: entry.name)[:limit]      # ASCII: byte order

    def touch(self, key: str) -> Deferred[None]:
        return self._runner.quick(translating(self._touch), key)

    def _touch(self, key: str) -> None:
        fd = self._system.open_file(self._place.fd, _checked(key))
        try:
            self._system.touch(fd, self._clock.seconds())
        finally:
            self._system.close(fd)

    # Writing

    def put(self, key: str, content: bytes) -> Deferred[None]:
        return self._runner.slow(translating(self._put), key, content)

    def _put(self, key: str, content: bytes) -> None:
        if content or not self._enter(key):
            self._put_by_rename(key, content)

    def _enter(self, key: str) -> bool:
        """An empty object is a name and no more: it is there as a whole as soon as it is there.

        :returns: whether it is; else something stands there already.
        """
        above, _, last = _checked(key).rpartition("/")
        directory = self._directories.open(above)
        try:
            fd = self._system.open_first(directory, last)
            try:
                self.fsync(directory)
                self.vouch(key, fd)
            finally:
                self._system.close(fd)
        except FileExistsError:
            return False
        finally:
            self._system.close(directory)
        return True

    def _put_by_rename(self, key: str, content: bytes) -> None:
        name = self._place.new_name()
        fd = self._system.open_new(self._place.tmp, name)
        try:
            self._system.write(fd, [content])
            self._system.set_size(fd, len(content))
            self.publish(self._place.tmp, name, key, partial(self.fsync, fd))
            self.vouch(key, fd)
        except BaseException:
            with suppress(OSError):
                self._system.remove_tree(self._place.tmp, name)
            raise
        finally:
            self._system.close(fd)

    def publish(self, source: int, name: str, key: str, sync: Callable[[], None]) -> None:
        """Move a file to its place; whatever stands there gives way.

        :param sync: makes the file durable; called when its directory is there.
        """
        path = _checked(key)
        above, _, last = path.rpartition("/")
        directory, made = self._directories.reach(above)
        try:
            try:
                sync()
            finally:
                self._directories.settle(above, made)
            try:
                self._system.rename(source, name, directory, last)
            except IsADirectoryError:
                self._move_to_quarantine(directory, last, key)
                self._system.rename(source, name, directory, last)
            self._verified.pop(key, None)
            self.fsync(directory)
        finally:
            self._system.close(directory)

    def create(self, key: str) -> Deferred[IWriter]:
        return self._runner.slow(translating(self._create), key)

    def _create(self, key: str) -> IWriter:
        above, _, last = _checked(key).rpartition("/")
        directory = self._directories.open(above)
        try:
            fd = self._system.open_new(directory, last)
        except BaseException:
            self._system.close(directory)
            raise
        try:
            self._system.forget_size(fd)        # of what was there, and was not published
            return LocalWriter(self, self._system, self._runner, key, fd, directory, 0)
        except BaseException:
            self._system.close(fd)
            self._system.close(directory)
            raise

    def resume(self, key: str, offset: int) -> Deferred[IWriter]:
        return self._runner.slow(translating(self._resume), key, offset)

    def _resume(self, key: str, offset: int) -> IWriter:
        above, _, last = _checked(key).rpartition("/")
        directory = self._system.open_directory(self._place.fd, above)
        try:
            fd = self._system.open_again(directory, last)
        except BaseException:
            self._system.close(directory)
            raise
        try:
            size = self._system.fstat(fd).st_size
            if size < offset:
                raise Damaged(f"{key} has {size} bytes instead of {offset}")
            self._system.forget_size(fd)
            if size > offset:
                self._system.truncate(fd, offset)
            os.lseek(fd, offset, os.SEEK_SET)
            return LocalWriter(self, self._system, self._runner, key, fd, directory, offset)
        except BaseException:
            self._system.close(fd)
            self._system.close(directory)
            raise

    def delete(self, key: str) -> Deferred[None]:
        return self._runner.slow(translating(self._delete), key)

    def _delete(self, key: str) -> None:
        above, _, last = _checked(key).rpartition("/")
        directory = self._system.open_directory(self._place.fd, above)
        try:
            self._system.unlink(directory, last)
            self._verified.pop(key, None)
            self.fsync(directory)
        finally:
            self._system.close(directory)

    def delete_tree(self, prefix: str) -> Deferred[None]:
        return self._runner.slow(translating(self._delete_tree), prefix)

    def _delete_tree(self, prefix: str) -> None:
        """Away in one step, then piece by piece; what a crash leaves of it is removed at the next start."""
        above, _, last = _checked(prefix).rpartition("/")
        name = self._place.new_name()
        try:
            directory = self._system.open_directory(self._place.fd, above)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            self._system.rename(directory, last, self._place.tmp, name)
            self.fsync(directory)
        except FileNotFoundError:
            return
        finally:
            self._system.close(directory)
        self._system.remove_tree(self._place.tmp, name)

    def quarantine(self, key: str) -> Deferred[None]:
        return self._runner.slow(translating(self._take_out), key)

    def _take_out(self, key: str) -> None:
        above, _, last = _checked(key).rpartition("/")
        directory = self._system.open_directory(self._place.fd, above)
        try:
            self._move_to_quarantine(directory, last, key)
        finally:
            self._system.close(directory)

    def _move_to_quarantine(self, directory: int, name: str, key: str) -> None:
        kept = f"{time.time_ns()}-{quote(key, safe='')[-200:]}"
        self._system.rename(directory, name, self._place.quarantine, kept)
        self._verified.pop(key, None)
        self.fsync(self._place.quarantine)
        self.fsync(directory)
        self.log.warn("{key} is kept as {path}", key=key, path=self._place.quarantined(kept))

    # For writers

    def fsync(self, fd: int) -> None:
        if self._sync:
            self._system.fsync(fd)

    def vouch(self, key: str, fd: int) -> None:
        self._remember(key, self._system.fstat(fd))

    def begin_writeback(self, fd: int, offset: int, count: int) -> None:
        if self._sync:
            self._system.begin_writeback(fd, offset, count)

    # Life

    @deferred
    async def start(self) -> None:
        """Take the directory for this daemon, or join in.

        What a parent process that was killed has left behind stops by itself: that is waited for.

        :raises StorageError: it cannot be used; the text says what to do.
        """
        patience = ORPHANS
        while True:
            try:
                await self._runner.slow(self._place.join if self._joins else self._place.take)
                return
            except StillEnding:
                if patience <= 0:
                    raise
            patience -= 1
            await deferLater(self._clock, 1.0)

    def keeper(self) -> int:
        return self._place.lock

    def settle(self, process: int) -> Deferred[None]:
        return self._runner.slow(self._settle_after, process)

    def _settle_after(self, process: int) -> None:
        self._place.sweep(process)
        if self._sync:
            self._system.sync_all(self._place.fd)

    def close(self) -> Deferred[None]:
        self._place.release()
        return succeed(None)


def _checked(key: str) -> str:
    """:raises StorageFailed: no key; nothing else gets to the file system."""
    if not is_key(key):
        raise StorageFailed(f"{key[:200]!r} is no key")
    return key
