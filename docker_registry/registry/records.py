"""What the catalogue has written down of each repository.

Changes of the registry come in while the store is being read, from any process. Each has a number, and what was read of
the store is older than every change whose number is above that of the moment at which the reading began: there the
change counts, else what was read. So that this holds for what was deleted too, its rows stay, marked as gone, until the
reading has come to its end.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from docker_registry.names import Repository, Tag
from docker_registry.registry import database
from docker_registry.registry.database import Database, DatabaseFailed

VERSION = 1

SCHEMA = (
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO counters VALUES ('change', 1), ('reading', 0), ('complete', 0)",
    # `change`, `described`, `access`, `emptied` are the numbers of the last change to a row as a whole, to its
    # description, to whether it is private, and of its deletion. Where nobody has looked yet is 0: private then.
    """CREATE TABLE repositories (
        name TEXT PRIMARY KEY, gone INTEGER NOT NULL DEFAULT 0, change INTEGER NOT NULL,
        description TEXT NOT NULL DEFAULT '', folded TEXT NOT NULL DEFAULT '', described INTEGER NOT NULL DEFAULT 0,
        private INTEGER NOT NULL DEFAULT 1, access INTEGER NOT NULL DEFAULT 0,
        pushed REAL NOT NULL DEFAULT 0, emptied INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
    """CREATE TABLE tags (
        repository TEXT NOT NULL, name TEXT NOT NULL, gone INTEGER NOT NULL DEFAULT 0, change INTEGER NOT NULL,
        digest TEXT, size INTEGER, pushed REAL, PRIMARY KEY (repository, name)
    ) WITHOUT ROWID""",
)

_MATCHING = "FROM repositories WHERE NOT gone AND NOT private AND (instr(name, ?1) OR instr(folded, ?1))"
_RANK = "CASE WHEN name = ?1 THEN 0 WHEN instr(name, ?1) = 1 THEN 1 WHEN instr(name, ?1) THEN 2 ELSE 3 END, name"


@dataclass(frozen=True, slots=True)
class TagRecord:
    """:ivar digest: of its manifest; ``None`` while there is none, as for an old image that nobody has pulled yet.
    :ivar size: bytes of what a client fetches for it; ``None`` if that is not known.
    :ivar pushed: when it was set, in seconds since the epoch.
    """

    digest: str | None = None
    size: int | None = None
    pushed: float | None = None


@dataclass(frozen=True, slots=True)
class RepositoryRecord:
    """:ivar tags: how many there are.
    :ivar size: bytes of what a client fetches for ``latest``, else for the tag that was set last; ``None`` if that is
        not known.
    :ivar pushed: when a tag was set last, in seconds since the epoch; 0 if none ever was.
    """

    name: str
    description: str
    private: bool
    tags: int
    size: int | None
    pushed: float


class Records:
    """Every method is one transaction.

    :raises DatabaseFailed: (all of them) the database cannot be used now.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def epoch(self) -> int:
        """Grows whenever all that was written is lost."""
        return self._database.epoch

    # Asking

    async def names(self, after: str, limit: int) -> list[str]:
        """At most ``limit`` repositories beyond ``after``, in byte order."""
        def work(connection: sqlite3.Connection) -> list[str]:
            found = connection.execute(
                "SELECT name FROM repositories WHERE name > ? AND NOT gone ORDER BY name LIMIT ?", (after, limit)
            )
            return [name for (name,) in found]

        return await self._database.read(work)

    async def search(self, term: str, start: int, count: int) -> tuple[int, list[tuple[str, str]]]:
        """Repositories that are not private and have ``term``, which is folded, in their name or description.

        :returns: how many there are; of ``count`` of them, the best first, name and description.
        """
        def work(connection: sqlite3.Connection) -> tuple[int, list[tuple[str, str]]]:
            (total,) = connection.execute(f"SELECT count(*) {_MATCHING}", (term,)).fetchone()
            found = connection.execute(
                f"SELECT name, description {_MATCHING} ORDER BY {_RANK} LIMIT ?2 OFFSET ?3", (term, count, start)
            )
            return total, found.fetchall()

        return await self._database.read(work)

    async def matching(self, term: str) -> list[str]:
        """The names of all that `search` finds."""
        def work(connection: sqlite3.Connection) -> list[str]:
            return [name for (name,) in connection.execute(f"SELECT name {_MATCHING}", (term,))]

        return await self._database.read(work)

    async def ranked(self, names: Sequence[str], term: str, start: int, count: int) -> list[str]:
        """``count`` of ``names``, in the order of `search`."""
        def work(connection: sqlite3.Connection) -> list[str]:
            found = connection.execute(
                f"SELECT value AS name FROM json_each(?4) ORDER BY {_RANK} LIMIT ?2 OFFSET ?3",
                (term, count, start, json.dumps(names)),
            )
            return [name for (name,) in found]

        return await self._database.read(work)

    async def repository(self, repository: Repository) -> RepositoryRecord | None:
        def work(connection: sqlite3.Connection) -> RepositoryRecord | None:
            name = (repository.name,)
            row = connection.execute(
                "SELECT name, description, private, pushed FROM repositories WHERE name = ? AND NOT gone", name
            ).fetchone()
            if row is None:
                return None
            (tags,) = connection.execute("SELECT count(*) FROM tags WHERE repository = ? AND NOT gone", name).fetchone()
            (size,) = connection.execute(
                "SELECT size FROM tags WHERE repository = ? AND NOT gone "
                "ORDER BY name = 'latest' DESC, pushed DESC LIMIT 1", name
            ).fetchone() or (None,)
            return RepositoryRecord(row[0], row[1], bool(row[2]), tags, size, row[3])

        return await self._database.read(work)

    async def tags(self, repository: Repository, after: str = "", limit: int = 1000) -> dict[str, TagRecord]:
        """At most ``limit`` tags beyond ``after``, in byte order."""
        def work(connection: sqlite3.Connection) -> dict[str, TagRecord]:
            found = connection.execute(
                "SELECT name, digest, size, pushed FROM tags WHERE repository = ? AND name > ? AND NOT gone "
                "ORDER BY name LIMIT ?", (repository.name, after, limit),
            )
            return {name: TagRecord(*record) for name, *record in found}

        return await self._database.read(work)

    # What happens

    async def push(
        self, repository: Repository, tags: Mapping[Tag, TagRecord], description: str | None
    ) -> int | None:
        """Something was pushed, and ``tags``, if there are any, were set.

        :param description: if it may have changed.
        :returns: the number of the change, if the repository has to be looked at: nobody has done so yet.
        """
        def work(connection: sqlite3.Connection) -> int | None:
            change = _next(connection)
            name = repository.name
            connection.execute(
                "INSERT INTO repositories (name, change, pushed) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET "
                "gone = 0, change = ?2, pushed = max(pushed, ?3)", (name, change, _newest(tags.values())),
            )
            for tag, record in tags.items():
                _put_tag(connection, name, tag.name, record, change)
            if description is not None:
                _describe(connection, name, description, change)
            (access, described) = connection.execute(
                "SELECT access, described FROM repositories WHERE name = ?", (name,)
            ).fetchone()
            return None if access and described else change

        return await self._database.write(work)

    async def look(self, repository: Repository, change: int, private: bool, description: str) -> None:
        """Note what was read of a repository, if it is still there, after ``change``."""
        await self._database.write(
            lambda connection: _look(connection, repository.name, change, private, description)
        )

    async def untag(self, repository: Repository, tags: Sequence[Tag], description: str | None) -> None:
        """``tags`` went."""
        def work(connection: sqlite3.Connection) -> None:
            change = _next(connection)
            for tag in tags:
                _remove_tag(connection, repository.name, tag.name, change)
            if description is not None:
                _describe(connection, repository.name, description, change)

        await self._database.write(work)

    async def remove(self, repository: Repository) -> None:
        """The repository went, with all its tags."""
        await self._database.write(lambda connection: _remove(connection, repository.name, _next(connection)))

    async def set_private(self, repository: Repository, private: bool) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE repositories SET private = ?, access = ? WHERE name = ?",
                (private, _next(connection), repository.name),
            )

        await self._database.write(work)

    # Reading the store

    async def completed(self) -> int:
        """How often the store has been read to its end."""
        return await self._database.read(lambda connection: _counter(connection, "complete"))

    async def begin(self) -> None:
        """The store is going to be read, by nobody else."""
        await self._database.read(database.check)
        await self._database.write(lambda connection: _count(connection, "reading", 1))

    async def change(self) -> int:
        """The number of the last change."""
        return await self._database.read(lambda connection: _counter(connection, "change"))

    async def found_repositories(self, after: str, last: str | None, names: Sequence[str], change: int) -> None:
        """Between ``after`` and ``last``, or the end, the store has ``names``; others went while nobody looked."""
        def work(connection: sqlite3.Connection) -> None:
            for (name,) in connection.execute(
                "SELECT name FROM repositories WHERE name > ?1 AND (?2 IS NULL OR name <= ?2) AND change <= ?3",
                (after, last, change),
            ).fetchall():
                if name not in names:
                    _remove(connection, name, change)
            for name in names:
                connection.execute(
                    "INSERT INTO repositories (name, change) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET "
                    "gone = 0, change = ?2 WHERE change <= ?2", (name, change),
                )

        await self._database.write(work)

    async def found_tags(
        self, repository: Repository, after: str, last: str | None, found: Mapping[str, TagRecord], change: int
    ) -> bool:
        """As `found_repositories`, for tags.

        :returns: whether it could be noted: not if the repository was deleted meanwhile.
        """
        def work(connection: sqlite3.Connection) -> bool:
            name = repository.name
            (emptied,) = connection.execute(
                "SELECT emptied FROM repositories WHERE name = ?", (name,)
            ).fetchone() or (0,)
            if emptied > change:
                return False
            rows = connection.execute(
                "SELECT name, change FROM tags WHERE repository = ?1 AND name > ?2 AND (?3 IS NULL OR name <= ?3)",
                (name, after, last),
            ).fetchall()
            newer = {tag for tag, changed in rows if changed > change}
            for tag, _ in rows:
                if tag not in found and tag not in newer:
                    connection.execute("DELETE FROM tags WHERE repository = ? AND name = ?", (name, tag))
            for tag, record in found.items():
                if tag not in newer:
                    _put_tag(connection, name, tag, record, change)
            connection.execute(
                "UPDATE repositories SET pushed = max(pushed, ?) WHERE name = ?",
                (_newest(found.values()), name),
            )
            return True

        return await self._database.write(work)

    async def end(self, epoch: int) -> None:
        """The store has been read to its end.

        :raises DatabaseFailed: what was read first is not in this database any more.
        """
        def work(connection: sqlite3.Connection) -> None:
            if self.epoch != epoch:
                raise DatabaseFailed("its file was replaced meanwhile")
            connection.execute("DELETE FROM tags WHERE gone")
            connection.execute("DELETE FROM repositories WHERE gone")
            _count(connection, "reading", 0)
            _count(connection, "complete", _counter(connection, "complete") + 1)

        await self._database.write(work)


def _newest(records: Iterable[TagRecord]) -> float:
    return max((record.pushed or 0.0 for record in records), default=0.0)


def _counter(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone() or (None,)
    if not isinstance(value, int):
        raise sqlite3.DatabaseError(f"no number is counted as {name}")
    return value


def _count(connection: sqlite3.Connection, name: str, value: int) -> None:
    connection.execute("UPDATE counters SET value = ? WHERE name = ?", (value, name))


def _next(connection: sqlite3.Connection) -> int:
    """The number of a change that is being noted."""
    change = _counter(connection, "change") + 1
    _count(connection, "change", change)
    return change


def _describe(connection: sqlite3.Connection, name: str, description: str, change: int) -> None:
    connection.execute(
        "UPDATE repositories SET description = ?2, folded = ?3, described = ?4 WHERE name = ?1 AND described < ?4",
        (name, description, description.casefold(), change),
    )


def _look(connection: sqlite3.Connection, name: str, change: int, private: bool, description: str) -> None:
    """What was read counts, unless it was changed after ``change``."""
    connection.execute(
        "UPDATE repositories SET description = ?2, folded = ?3, described = ?4 "
        "WHERE name = ?1 AND max(described, emptied) <= ?4", (name, description, description.casefold(), change),
    )
    connection.execute(
        "UPDATE repositories SET private = ?2, access = ?3 WHERE name = ?1 AND max(access, emptied) <= ?3",
        (name, private, change),
    )


def _put_tag(connection: sqlite3.Connection, repository: str, tag: str, record: TagRecord, change: int) -> None:
    connection.execute(
        "INSERT INTO tags (repository, name, digest, size, pushed, change) VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
        "ON CONFLICT (repository, name) DO UPDATE SET gone = 0, digest = ?3, size = ?4, pushed = ?5, change = ?6",
        (repository, tag, record.digest, record.size, record.pushed, change),
    )


def _remove_tag(connection: sqlite3.Connection, repository: str, tag: str, change: int) -> None:
    if _counter(connection, "reading"):
        _put_tag(connection, repository, tag, TagRecord(), change)
        connection.execute("UPDATE tags SET gone = 1 WHERE repository = ? AND name = ?", (repository, tag))
    else:
        connection.execute("DELETE FROM tags WHERE repository = ? AND name = ?", (repository, tag))


def _remove(connection: sqlite3.Connection, name: str, change: int) -> None:
    connection.execute("DELETE FROM tags WHERE repository = ? AND change <= ?", (name, change))
    if _counter(connection, "reading"):
        connection.execute(
            "INSERT INTO repositories (name, gone, change, emptied) VALUES (?1, 1, ?2, ?2) "
            "ON CONFLICT (name) DO UPDATE SET gone = 1, change = ?2, emptied = ?2, pushed = 0, "
            "description = '', folded = '', described = 0, private = 1, access = 0", (name, change),
        )
    else:
        connection.execute("DELETE FROM repositories WHERE name = ?", (name,))
