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
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from docker_registry.deferreds import deferred
from docker_registry.errors import Damaged, NotFound
from docker_registry.storage.directories import Directories
from docker_registry.storage.files import LocalWriter, translated, translating
from docker_registry.storage.interface import (
    Entry,
    IStorage,
    ITaken,
    ITimesReads,
    IWriter,
    is_key,
)
from docker_registry.storage.making import Making, MakingHere
from docker_registry.storage.reads import Reads, checked
from docker_registry.storage.root import Root, StillEnding
from docker_registry.storage.system import System
from docker_registry.threads import Runner

Entries = list[Entry]

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
        self._place = Root(root, self._system, sync)
        self._directories = Directories(self._place, self._system, making or MakingHere(), sync)
        self._joins = joins
        self._reads = reads = Reads(self._place, self._system, runner, cached)
        # Not through methods of this: the hot path has no call to spare.
        self.stat, self.get, self.open, self.time_reads = reads.stat, reads.get, reads.open, reads.time_reads

    def list(self, prefix: str, after: str = "", limit: int = 1000) -> Deferred[Entries]:
        return self._runner.quick(self._list, prefix, after, limit)

    def _list(self, prefix: str, after: str, limit: int) -> Entries:
        try:
            fd = self._system.open_directory(self._place.fd, checked(prefix) if prefix else "")
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
        fd = self._system.open_file(self._place.fd, checked(key))
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
        above, _, last = checked(key).rpartition("/")
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
        path = checked(key)
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
            self._reads.forget(key)
            self.fsync(directory)
        finally:
            self._system.close(directory)

    def create(self, key: str) -> Deferred[IWriter]:
        return self._runner.slow(translating(self._create), key)

    def _create(self, key: str) -> IWriter:
        above, _, last = checked(key).rpartition("/")
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
        above, _, last = checked(key).rpartition("/")
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
        above, _, last = checked(key).rpartition("/")
        directory = self._system.open_directory(self._place.fd, above)
        try:
            self._system.unlink(directory, last)
            self._reads.forget(key)
            self.fsync(directory)
        finally:
            self._system.close(directory)

    def delete_tree(self, prefix: str) -> Deferred[None]:
        return self._runner.slow(translating(self._delete_tree), prefix)

    def _delete_tree(self, prefix: str) -> None:
        """Away in one step, then piece by piece; what a crash leaves of it is removed at the next start."""
        above, _, last = checked(prefix).rpartition("/")
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
        above, _, last = checked(key).rpartition("/")
        directory = self._system.open_directory(self._place.fd, above)
        try:
            self._move_to_quarantine(directory, last, key)
        finally:
            self._system.close(directory)

    def _move_to_quarantine(self, directory: int, name: str, key: str) -> None:
        kept = f"{time.time_ns()}-{quote(key, safe='')[-200:]}"
        self._system.rename(directory, name, self._place.quarantine, kept)
        self._reads.forget(key)
        self.fsync(self._place.quarantine)
        self.fsync(directory)
        self.log.warn("{key} is kept as {path}", key=key, path=self._place.quarantined(kept))

    # For writers

    def fsync(self, fd: int) -> None:
        if self._sync:
            self._system.fsync(fd)

    def vouch(self, key: str, fd: int) -> None:
        self._reads.remember(key, self._system.fstat(fd))

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
