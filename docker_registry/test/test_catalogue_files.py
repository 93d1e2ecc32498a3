"""The catalogue's file: shared by processes, lost, damaged, of another version. The store is the truth."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from docker_registry.names import Repository, Tag
from docker_registry.registry import database
from docker_registry.registry.database import Database, DatabaseFailed
from docker_registry.registry.records import SCHEMA, VERSION
from docker_registry.registry.registry import Registry
from docker_registry.registry.rounds import CHECK, RETRY, WAIT
from docker_registry.test.catalogue_case import CatalogueCase
from docker_registry.test.registry_case import LATEST, Direct


class FileCase(CatalogueCase):
    def setUp(self) -> None:
        super().setUp()
        self.cache = Path(self.mktemp()).absolute()
        self.registry = self.open()

    def open(self, *args: Any, **kwargs: Any) -> Registry:
        registry = super().open(*args, **kwargs)
        self.addCleanup(self.close, registry)
        return registry

    def close(self, registry: Registry) -> None:
        registry.stop()
        self.now(registry.close())

    def files(self) -> list[Path]:
        assert self.cache is not None
        return sorted(self.cache.glob("catalogue-*.db"))

    def file(self) -> Path:
        (path,) = self.files()
        return path


class SharedTests(FileCase):
    def test_what_one_process_does_the_other_knows(self) -> None:
        first, second = self.complete(), self.complete(self.open())
        self.put("app", "said", registry=first)
        self.assertEqual(self.names(second), ["app"])
        self.assertEqual(self.search("said", registry=second), [("app", "said")])
        self.now(second.set_private(Repository("app"), True))
        self.assertEqual(self.search("said", registry=first), [])
        self.now(second.manifests.delete_all(Repository("app")))
        self.assertEqual(self.names(first), [])
        self.assertEqual(len(self.files()), 1)

    def test_one_reads_and_the_others_wait(self) -> None:
        self.put("app", "said")
        first, second, third = self.registry, self.open(), self.open()
        for each in (first, second, third):
            each.start()
        for each in (first, second, third):
            self.assertFalse(each.catalogue.is_complete)
            self.assertEqual(self.search("", registry=each), [("app", "said")])
        self.wait(first)
        self.wait(second, int(WAIT) + 1)
        self.wait(third, 1)
        with closing(sqlite3.connect(self.file())) as connection:
            found = connection.execute("SELECT value FROM counters WHERE name = 'complete'").fetchone()
        self.assertEqual(found, (1,))

    def test_the_reader_dies(self) -> None:
        """Then another one reads."""
        first, second = self.registry, self.open()
        self.put("app", "said")
        first.start()
        second.start()
        self.close(first)
        self.wait(second)
        self.assertEqual(self.search("said", registry=second), [("app", "said")])

    def test_changes_while_another_process_reads(self) -> None:
        """What was deleted by one does not come back through the other, which had read it before."""
        for name in ("a", "b", "c"):
            self.put(name, "said")
            self.put(name, tag=Tag("1"))
        self.close(self.registry)
        reading, writing = self.open(), self.open()
        reading.start()                             # has read "a"
        self.now(writing.manifests.delete_all(Repository("a")))
        self.now(writing.manifests.untag(Repository("b"), LATEST))
        self.put("c", "later", registry=writing)
        self.wait(reading)
        self.assertEqual(self.search("", registry=reading), [("b", ""), ("c", "later")])
        self.assertEqual(self.names(reading), ["b", "c"])

    def test_closed(self) -> None:
        """SQLite leaves nothing but the database."""
        self.complete()
        self.put("app")
        self.close(self.registry)
        assert self.cache is not None
        self.assertEqual(sorted(each.name for each in self.cache.iterdir()), [".lock", ".reading", self.file().name])
        with closing(sqlite3.connect(self.file())) as connection:
            self.assertEqual(connection.execute("SELECT name FROM repositories").fetchall(), [("app",)])


class LossTests(FileCase):
    def setUp(self) -> None:
        super().setUp()
        self.complete()
        for number in range(50):
            self.put(f"app{number:02}", f"said {number}")
        self.expected = self.names()
        self.assertEqual(len(self.expected), 50)

    def assertWorks(self, registry: Registry) -> None:
        """Right from the first moment, and complete in time."""
        self.assertEqual(self.names(registry), self.expected)
        self.assertEqual([name for name, _ in self.search("app", registry=registry)], self.expected)
        self.clock.pump([CHECK] * 3)
        self.wait(registry)
        self.assertEqual(self.names(registry), self.expected)
        self.assertEqual(self.search("said 17", registry=registry), [("app17", "said 17")])
        self.assertEqual(len(self.files()), 1)

    def restart(self) -> Registry:
        registry = self.open()
        registry.start()
        return registry

    def test_removed_while_it_is_stopped(self) -> None:
        self.close(self.registry)
        self.file().unlink()
        self.assertWorks(self.restart())

    def test_removed_while_it_runs(self) -> None:
        """By an operator, and with some or all that lies beside it."""
        assert self.cache is not None
        for patterns in (["*.db"], ["*"], ["*.db", ".*"], ["*-wal", "*-shm", "*.db"]):
            for pattern in patterns:
                for path in self.cache.glob(pattern):
                    path.unlink()
            self.assertWorks(self.registry)

    def test_removed_before_a_push(self) -> None:
        """It is in the new file, though it was written to the old one first."""
        other = self.complete(self.open())
        for path in self.files():
            path.unlink()
        self.put("app99", "said", registry=other)
        self.expected.append("app99")
        self.assertEqual(self.names(), [*self.expected])
        self.assertWorks(other)
        self.assertWorks(self.registry)
        self.assertEqual(self.search("app99"), [("app99", "said")])

    def test_damaged(self) -> None:
        """Cut, filled with something else, and scribbled on anywhere; while it is stopped."""
        chance = random.Random(7)
        self.close(self.registry)
        whole = self.file().read_bytes()

        def scribbled() -> bytes:
            damaged = bytearray(whole)
            for _ in range(200):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            return bytes(damaged)

        kinds = [b"", b"SQLite format 3\0", b"no database at all" * 1000, whole[: len(whole) // 2], whole[:100]]
        for content in [*kinds, *(scribbled() for _ in range(20))]:
            path = self.file()
            path.write_bytes(content)
            registry = self.restart()
            self.assertWorks(registry)
            self.close(registry)

    def test_damaged_while_it_runs(self) -> None:
        """Seen when it is read next, or written to."""
        self.now(self.registry.close())
        self.registry = self.complete(self.open())
        path = self.file()
        with path.open("r+b") as file:
            file.write(b"\xff" * path.stat().st_size)
        self.put("app00", "said anew")
        self.assertWorks(self.registry)
        self.assertEqual(self.search("anew"), [("app00", "said anew")])

    def test_of_another_version(self) -> None:
        self.close(self.registry)
        with closing(sqlite3.connect(self.file())) as connection:
            connection.execute(f"PRAGMA user_version = {VERSION + 1}")
            connection.execute("DROP TABLE tags")
        self.assertWorks(self.restart())

    def test_of_somebody_else(self) -> None:
        """A database, and not one of ours."""
        self.close(self.registry)
        path = self.file()
        path.unlink()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE repositories (x)")
        self.assertWorks(self.restart())


class TroubleTests(FileCase):
    """It cannot be written: pushes and listings go on."""

    def test_no_directory(self) -> None:
        assert self.cache is not None
        self.cache.write_text("in the way")
        self.registry.start()
        self.put("app", "said")
        self.assertEqual(self.names(), ["app"])
        self.assertEqual(self.search("app"), [("app", "said")])
        self.clock.advance(1)
        self.assertFalse(self.registry.catalogue.is_complete)
        self.cache.unlink()
        self.clock.advance(RETRY)
        self.wait()
        self.assertEqual(self.search("said"), [("app", "said")])

    def test_locked_by_another_program(self) -> None:
        """What could not be written down is found in the store; until then that answers."""
        self.patch(database, "BUSY", 0.05)
        self.complete()
        self.put("app", "before")
        with closing(sqlite3.connect(self.file(), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            self.put("app2", "meanwhile")
            self.assertFalse(self.registry.catalogue.is_complete)
            self.assertEqual(self.names(), ["app", "app2"])
            self.assertEqual(self.search("", registry=self.registry), [("app", "before"), ("app2", "meanwhile")])
            other.execute("ROLLBACK")
        self.clock.advance(CHECK)
        self.wait()
        self.assertEqual(self.search("meanwhile"), [("app2", "meanwhile")])

    def test_lost_while_another_process_reads(self) -> None:
        """Its round may have been past it: that one is not believed."""
        self.patch(database, "BUSY", 0.05)
        self.put("app", "before")
        self.close(self.registry)
        reading, losing = self.open(), self.complete(self.open())
        reading.start()
        with closing(sqlite3.connect(self.file(), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            self.put("app", "meanwhile", registry=losing)
            other.execute("ROLLBACK")
        self.wait(reading)
        self.wait(losing)
        for each in (reading, losing):
            self.assertEqual(self.search("", registry=each), [("app", "meanwhile")])


class DatabaseTests(FileCase):
    def database(self, directory: Path | None) -> Database:
        made = Database(directory, Direct(), SCHEMA, VERSION)
        self.addCleanup(lambda: self.now(made.close()))
        return made

    def test_all_or_nothing(self) -> None:
        for made in (self.database(None), self.database(self.cache)):
            def work(connection: sqlite3.Connection) -> None:
                connection.execute("DELETE FROM counters")
                raise KeyError("on purpose")

            self.fails(made.write(work), KeyError)
            count = self.now(made.read(lambda each: each.execute("SELECT count(*) FROM counters").fetchone()))
            self.assertEqual(count, (3,))

    def test_closed(self) -> None:
        made = self.database(self.cache)
        self.now(made.close())
        self.fails(made.read(lambda connection: None), DatabaseFailed)

    def test_private_to_its_user(self) -> None:
        """Also in a directory that was there before, whatever the umask is (T52)."""
        self.addCleanup(os.umask, os.umask(0))
        assert self.cache is not None
        made = self.database(self.cache)
        self.now(made.write(lambda connection: connection.execute("DELETE FROM counters")))
        kinds = {path.name.rpartition(".")[2] for path in self.cache.iterdir()}
        self.assertEqual(kinds, {"db", "db-wal", "db-shm", "lock"})
        for path in (self.cache, *self.cache.iterdir()):
            self.assertEqual(path.stat().st_mode & 0o027, 0, path)
