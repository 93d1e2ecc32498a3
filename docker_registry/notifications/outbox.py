"""Events that are still to be sent, on disk: written by every process of the daemon, sent by one of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from docker_registry.registry.database import Database
from docker_registry.threads import Runner

VERSION = 1

SCHEMA = (
    "CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, endpoint TEXT NOT NULL, event TEXT NOT NULL)",
    "CREATE INDEX events_of_an_endpoint ON events (endpoint, number)",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An event for one endpoint.

    :ivar number: in the order of writing; 0 before it is written.
    """

    endpoint: str
    text: str
    number: int = 0


class Outbox:
    """:param directory: of its files, for this alone; ``None`` is in memory.
    :param most: events for one endpoint; the oldest go.
    """

    def __init__(self, directory: Path | None, runner: Runner, most: int) -> None:
        self._most = most
        self._database = Database(directory, runner, SCHEMA, VERSION, "outbox")

    async def add(self, entries: Sequence[Entry]) -> dict[str, int]:
        """Write them down.

        :returns: how many older ones had to go for them, by endpoint.
        :raises DatabaseFailed: they are not written.
        """

        def work(connection: sqlite3.Connection) -> dict[str, int]:
            connection.executemany(
                "INSERT INTO events (endpoint, event) VALUES (?, ?)", [(each.endpoint, each.text) for each in entries]
            )
            gone = {name: self._shorten(connection, name) for name in {each.endpoint for each in entries}}
            return {name: count for name, count in gone.items() if count}

        return await self._database.write(work)

    def _shorten(self, connection: sqlite3.Connection, endpoint: str) -> int:
        excess = _count(connection, endpoint) - self._most
        if excess <= 0:
            return 0
        connection.execute(
            "DELETE FROM events WHERE number IN (SELECT number FROM events WHERE endpoint = ? ORDER BY number LIMIT ?)",
            (endpoint, excess),
        )
        return excess

    async def first(self, endpoint: str, count: int, size: int) -> list[Entry]:
        """The oldest events of an endpoint: at most ``count``, and not more than ``size`` characters but for one.

        :raises DatabaseFailed: they cannot be read now.
        """

        def work(connection: sqlite3.Connection) -> list[Entry]:
            found: list[Entry] = []
            total = 0
            query = "SELECT number, event FROM events WHERE endpoint = ? ORDER BY number LIMIT ?"
            for number, text in connection.execute(query, (endpoint, count)):
                total += len(text)
                if found and total > size:
                    break
                found.append(Entry(endpoint, text, number))
            return found

        return await self._database.read(work)

    async def remove(self, entries: Sequence[Entry]) -> int:
        """They are sent.

        :returns: how many are left for the endpoint.
        :raises DatabaseFailed: they are still there, and will be sent again.
        """

        def work(connection: sqlite3.Connection) -> int:
            connection.executemany("DELETE FROM events WHERE number = ?", [(each.number,) for each in entries])
            return _count(connection, entries[0].endpoint)

        return await self._database.write(work)

    async def count(self, endpoint: str) -> int:
        """How many events wait for an endpoint.

        :raises DatabaseFailed: it cannot be said now.
        """
        return await self._database.read(lambda connection: _count(connection, endpoint))

    async def keep_only(self, endpoints: Sequence[str]) -> None:
        """Forget what was for others, which are in the configuration no more.

        :raises DatabaseFailed: it is all still there.
        """
        marks = ",".join("?" * len(endpoints))

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(f"DELETE FROM events WHERE endpoint NOT IN ({marks})", list(endpoints))

        await self._database.write(work)

    async def take(self) -> int | None:
        """A descriptor that makes this process the one that sends, until it is closed; ``None`` if another one does.

        :raises DatabaseFailed: nobody knows.
        """
        return await self._database.take_reading()

    async def close(self) -> None:
        await self._database.close()


def _count(connection: sqlite3.Connection, endpoint: str) -> int:
    (count,) = connection.execute("SELECT count(*) FROM events WHERE endpoint = ?", (endpoint,)).fetchone()
    return int(count)
