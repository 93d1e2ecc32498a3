"""An SQLite database that several processes share, and that may be lost at any moment.

It holds what can be found out again, or is worth less than a registry that runs: so whatever is wrong with its file, it
is replaced by an empty one.

::

    <directory>/
      <name>-<8 hex>.db            the database; beside it -wal and -shm, which are SQLite's
      .lock                        held while it is opened or replaced
      .reading                     held by the process that fills it, or empties it

A file that takes the place of another has a name of its own: SQLite removes ``-wal`` by its name when a database is
closed, and a process that still has the old one open would remove that of the new one.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from docker_registry.deferreds import Shield
from docker_registry.threads import Runner

R = TypeVar("R")

BUSY = 5.0
"""Seconds to wait for the transaction of another process."""

WAL_BYTES = 16 << 20
"""What stays of the log of changes after it was written to the database."""

_PASSING = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL,        # others are at it
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM,
}
"""What is no fault of the file's content."""


class DatabaseFailed(Exception):
    """It cannot be used now; the text says why."""


class Database:
    """One connection, used by one thread at a time. It is opened when it is needed first.

    :param directory: where its file is, or is made; ``None`` is in memory.
    :param schema: statements that make its tables.
    :param version: of the schema; a file of another one is replaced.
    :param name: what it is about; its file has it.
    :ivar epoch: grows whenever what was there is gone.
    """

    log = Logger()

    def __init__(
        self, directory: Path | None, runner: Runner, schema: Sequence[str], version: int, name: str = "catalogue"
    ) -> None:
        self.epoch = 0
        self._directory = directory
        self._runner = runner
        self._schema = schema
        self._version = version
        self._name = name
        self._connection: sqlite3.Connection | None = None
        self._path: Path | None = None
        self._mark: tuple[int, int] | None = None
        self._turn = DeferredLock()
        self._shield = Shield()
        self._closed = False

    async def read(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """What ``work`` makes of the database as it is at one moment. It runs in a thread, and may run twice.

        :raises DatabaseFailed: the database cannot be used now.
        """
        return await self._shield(self._in_turn("BEGIN", work))

    async def write(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """As `read`, for what changes something: all of it is done, or nothing."""
        return await self._shield(self._in_turn("BEGIN IMMEDIATE", work))

    async def _in_turn(self, begin: str, work: Callable[[sqlite3.Connection], R]) -> R:
        await self._turn.acquire()
        try:
            return await self._runner.slow(self._attempt, begin, work)
        finally:
            self._turn.release()

    async def take_reading(self) -> int | None:
        """A descriptor that makes this process the one that fills the database, until it is closed; ``None`` if
        another one is at it. In memory nobody else can be: then it is -1.

        :raises DatabaseFailed: the directory cannot be used.
        """
        return await self._runner.slow(self._take_reading)

    def _take_reading(self) -> int | None:
        if self._directory is None:
            return -1
        try:
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            fd = os.open(self._directory / ".reading", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise DatabaseFailed(f"{self._directory}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if isinstance(error, BlockingIOError):
                return None
            raise DatabaseFailed(f"{self._directory}/.reading: {error.strerror}") from error
        return fd

    async def close(self) -> None:
        """Let go of the file, when what was begun is done. Nothing is read or written afterwards."""
        await self._shield.idle()
        self._closed = True
        await self._runner.slow(self._forget)

    # In a thread

    def _attempt(self, begin: str, work: Callable[[sqlite3.Connection], R]) -> R:
        """What is done in a file that meanwhile was removed is done again, in the one that took its place."""
        for _ in range(3):
            try:
                result = self._transaction(self._open(), begin, work)
                if self._is_in_place():
                    return result
                self._forget()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if not _is_damage(error):
                    raise DatabaseFailed(f"{self._path or self._directory}: {error}") from error
                self._replace(error)
            except OSError as error:
                raise DatabaseFailed(f"{self._directory}: {error.strerror}") from error
        raise DatabaseFailed(f"{self._directory}: its file goes as fast as it is made")

    def _transaction(self, connection: sqlite3.Connection, begin: str, work: Callable[[sqlite3.Connection], R]) -> R:
        connection.execute(begin)
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):       # what went wrong may have ended it already
                connection.execute("ROLLBACK")
            raise
        return result

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise DatabaseFailed("closed")
        if self._connection is None:
            if self._directory is None:
                self._connection = self._connect(":memory:")
            else:
                self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
                with self._locked():
                    self._connection = self._open_file(self._directory)
            self.epoch += 1
        return self._connection

    def _open_file(self, directory: Path) -> sqlite3.Connection:
        for path in sorted(directory.glob(f"{self._name}-*.db")):
            try:
                connection = self._connect(path)
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if not _is_damage(error):
                    raise
                self.log.warn("{path} cannot be read ({error}): it is made anew", path=str(path), error=str(error))
                _remove(path)
            else:
                self._path, self._mark = path, _mark(path)
                return connection
        path = directory / f"{self._name}-{secrets.token_hex(4)}.db"
        # SQLite's own would be for everybody to read; those beside it get the same rights (T52).
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
        connection = self._connect(path)
        self._path, self._mark = path, _mark(path)
        return connection

    def _connect(self, path: Path | str) -> sqlite3.Connection:
        """:raises sqlite3.Error: the file is no database, or of another version."""
        connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")       # consistent after a power cut, if not up to date
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            self._transaction(connection, "BEGIN IMMEDIATE", self._make)
        except BaseException:
            connection.close()
            raise
        return connection

    def _make(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in self._schema:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {self._version}")
        elif version != self._version:
            raise _OtherVersion(f"it has version {version}, and this is {self._version}")

    def _replace(self, error: Exception) -> None:
        """Away with the file, unless another process was faster."""
        self.log.warn("{path} is damaged ({error}): it is made anew", path=str(self._path), error=str(error))
        with self._locked():
            if self._path is not None and self._is_in_place():
                _remove(self._path)
        self._forget()

    def _is_in_place(self) -> bool:
        return self._path is None or _mark(self._path) == self._mark

    def _forget(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):       # of a file that is damaged, or gone
                self._connection.close()
        self._connection = self._path = self._mark = None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._directory is None:
            yield
            return
        fd = os.open(self._directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


class _OtherVersion(sqlite3.DatabaseError):
    """Of a newer registry, or an older one."""


def check(connection: sqlite3.Connection) -> None:
    """Look at every page.

    :raises sqlite3.DatabaseError: one of them is damaged.
    """
    with closing(connection.execute("PRAGMA quick_check(1)")) as cursor:
        (found,) = cursor.fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def _is_damage(error: Exception) -> bool:
    if isinstance(error, UnicodeDecodeError):       # of what is stored, or of what SQLite says about it
        return True
    if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, sqlite3.ProgrammingError):
        return False
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF not in _PASSING


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _remove(path: Path) -> None:
    for suffix in ("-wal", "-shm", ""):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
