"""What is asked of a store in more than one step."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from docker_registry.errors import Damaged
from docker_registry.storage.asking import is_there, pages, whole
from docker_registry.storage.files import SmallReader
from docker_registry.storage.interface import SMALL, IStorage
from docker_registry.test.test_storage_local import LARGE, LocalCase


class AskingTests(LocalCase):
    def put(self, *keys: str, content: bytes = b"x") -> None:
        for key in keys:
            self.successResultOf(self.storage.put(key, content))

    def test_is_there(self) -> None:
        self.put("a", "cut")
        self.path("cut").write_bytes(b"")
        self.path("folder").mkdir()
        store = IStorage(self.storage)
        found = [self.now(is_there(store, key)) for key in ("a", "cut", "folder", "b", "a/b")]
        self.assertEqual(found, [True, True, True, False, False])

    def test_pages(self) -> None:
        """What is deleted while it is looked at keeps nobody from the rest."""
        self.put(*(f"p/{number}" for number in range(5)))

        async def walk() -> list[list[str]]:
            told = []
            async for page in pages(IStorage(self.storage), "p", 2):
                told.append([entry.name for entry in page])
                for entry in page:
                    await self.storage.delete(f"p/{entry.name}")
            return told

        self.assertEqual(self.now(walk()), [["0", "1"], ["2", "3"], ["4"]])
        self.assertEqual(self.now(walk()), [])

    def test_whole(self) -> None:
        self.put("a", content=b"ab" * LARGE)
        for kept in (0, 1):
            reader: Any = self.successResultOf(self.storage.open("a", kept))
            self.assertEqual(self.now(whole(reader, "a")), (b"ab" * LARGE)[kept:])
            self.assertEqual(reader.fileno(), -1, "it is closed")

    def test_too_large(self) -> None:
        reader = SmallReader(b"x", SMALL + 1, 0.0)
        failure = self.failureResultOf(Deferred.fromCoroutine(whole(reader, "key")), Damaged)
        self.assertEqual(str(failure.value), f"key has {SMALL + 1} bytes")
        self.assertEqual(self.successResultOf(reader.read(1)), b"")
