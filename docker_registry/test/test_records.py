"""What was read of the store, and what changed since it was read."""

from __future__ import annotations

import sqlite3

from docker_registry.names import Repository, Tag
from docker_registry.registry.database import Database, DatabaseFailed
from docker_registry.registry.records import SCHEMA, VERSION, Records, TagRecord
from docker_registry.test.registry_case import LATEST, Direct, RegistryCase

APP = Repository("app")
OLD, NEW = TagRecord("sha256:old", 1, 1.0), TagRecord("sha256:new", 2, 2.0)


class RecordsTests(RegistryCase):
    """`before` is the moment at which the store was read; what stands behind it happened later."""

    def setUp(self) -> None:
        super().setUp()
        self.database = Database(None, Direct(), SCHEMA, VERSION)
        self.records = Records(self.database)
        self.now(self.records.push(APP, {LATEST: OLD}, "old"))
        self.now(self.records.begin())
        self.before = self.now(self.records.change())

    def read(self, *tags: str) -> bool:
        """The store was read before, and is written down now."""
        self.now(self.records.found_repositories("", None, ["app"], self.before))
        self.now(self.records.look(APP, self.before, False, "old"))
        return self.now(self.records.found_tags(APP, "", None, dict.fromkeys(tags, OLD), self.before))

    def tags(self) -> dict[str, TagRecord]:
        return self.now(self.records.tags(APP))

    def test_pushed_again(self) -> None:
        self.now(self.records.push(APP, {LATEST: NEW}, "new"))
        self.assertTrue(self.read("latest", "1"))
        self.assertEqual(self.tags(), {"1": OLD, "latest": NEW})
        found = self.now(self.records.repository(APP))
        assert found is not None
        self.assertEqual((found.description, found.private, found.pushed), ("new", False, 2.0))

    def test_pushed_since(self) -> None:
        """What the store did not have then is there; what it did not have although it was known is not."""
        self.now(self.records.push(Repository("new"), {LATEST: NEW}, "new"))
        self.now(self.records.found_repositories("", None, [], self.before))
        self.assertEqual(self.now(self.records.names("", 10)), ["new"])

    def test_tag_deleted(self) -> None:
        """Also one that nobody had written down."""
        self.now(self.records.untag(APP, [LATEST, Tag("1")], ""))
        self.read("latest", "1", "2")
        self.assertEqual(list(self.tags()), ["2"])
        self.now(self.records.end(self.database.epoch))
        self.assertEqual(list(self.tags()), ["2"])

    def test_deleted(self) -> None:
        self.now(self.records.remove(APP))
        self.assertFalse(self.read("latest"))
        self.assertEqual(self.now(self.records.names("", 10)), [])
        self.assertIsNone(self.now(self.records.repository(APP)))

    def test_deleted_and_pushed_again(self) -> None:
        """Nothing of before comes back, and the repository is looked at anew: it may be private by now."""
        self.now(self.records.remove(APP))
        change = self.now(self.records.push(APP, {Tag("2"): NEW}, None))
        assert change is not None
        self.assertFalse(self.read("latest"))
        self.assertEqual(self.tags(), {"2": NEW})
        self.assertEqual(self.now(self.records.matching("")), [])
        self.now(self.records.look(APP, change, True, "new"))
        self.read("latest")
        found = self.now(self.records.repository(APP))
        assert found is not None
        self.assertEqual((found.description, found.private), ("new", True))

    def test_nothing_is_left_of_what_went(self) -> None:
        self.now(self.records.untag(APP, [LATEST], ""))
        self.now(self.records.remove(Repository("other")))
        self.now(self.records.end(self.database.epoch))
        self.assertEqual((self.count("tags"), self.count("repositories")), (0, 1))
        self.now(self.records.remove(APP))
        self.assertEqual(self.count("repositories"), 0)

    def count(self, table: str) -> int:
        def work(connection: sqlite3.Connection) -> int:
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            return int(count)

        return self.now(self.database.read(work))

    def test_end_in_another_file(self) -> None:
        """What was read is not in it."""
        completed = self.now(self.records.completed())
        self.fails(self.records.end(self.database.epoch - 1), DatabaseFailed)
        self.assertEqual(self.now(self.records.completed()), completed)
