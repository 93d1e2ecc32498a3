"""What is remembered of the contents of layers, and what is read again."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from docker_registry.errors import LayerInvalid
from docker_registry.registry import contents
from docker_registry.registry.images import Image
from docker_registry.registry.registry import Registry
from docker_registry.storage import layout
from docker_registry.test.test_images import ImageCase, image_id, layer

ENTRY = ["a", "f", False, 1, 0, 420, 0, 0]


class ContentsTests(ImageCase):
    """:ivar opened: how often a layer was read."""

    def open(self) -> Registry:
        registry = super().open()
        self.opened = 0
        opening = registry.images.open_layer

        async def open_layer(image: Image, offset: int = 0) -> Any:
            self.opened += 1
            return await opening(image, offset)

        self.patch(registry.images, "open_layer", open_layer)
        return registry

    def complete(self, name: str) -> Image:
        return self.now(self.registry.images.get(image_id(name)))

    def files(self, name: str) -> list[str]:
        return [each[0] for each in json.loads(self.now(self.registry.contents.files(self.complete(name))))]

    def remember(self, name: str, content: bytes) -> None:
        self.successResultOf(self.storage.put(layout.image_files(image_id(name)), content))

    def test_read_once(self) -> None:
        """Whoever asks, and whichever process."""
        self.push_image("a")
        for _ in range(2):
            self.assertEqual(self.files("a"), ["a"])
        self.assertEqual(self.opened, 1)
        self.registry = self.open()
        self.assertEqual((self.files("a"), self.opened), (["a"], 0))

    def test_what_an_old_store_remembered(self) -> None:
        self.push_image("a")
        self.remember("a", json.dumps([ENTRY, ["./b", *ENTRY[1:]]], indent=4).encode())
        self.assertEqual((self.files("a"), self.opened), (["a", "./b"], 0))

    def test_what_an_old_store_remembered_by_half(self) -> None:
        """The layer is read again, and what lies there is left as it is."""
        self.push_image("a")
        for torn in (b"", b"[", json.dumps([ENTRY]).encode()[:-4], b"{}", b"[[1]]", b"null"):
            self.remember("a", torn)
            self.assertEqual(self.files("a"), ["a"])
            kept = self.successResultOf(self.storage.get(layout.image_files(image_id("a"))))
            self.assertEqual(kept, torn)

    def test_not_worth_reading(self) -> None:
        """That is remembered as well, and not for ever: others may know how to read it."""
        self.patch(contents, "REFUSED", 1)
        self.registry = self.open()
        for name in ("x", "y"):
            self.push_image(name, content=b"no archive" * 100)
        for count in (1, 1):
            self.fails(self.registry.contents.files(self.complete("x")), LayerInvalid)
            self.assertEqual(self.opened, count)
        self.fails(self.registry.contents.files(self.complete("y")), LayerInvalid)
        self.fails(self.registry.contents.files(self.complete("x")), LayerInvalid)
        self.assertEqual(self.opened, 3)

    def test_once_for_all_who_ask(self) -> None:
        """Also for one who has gone meanwhile."""
        self.push_image("a")
        waiting: list[Deferred[bytes]] = []
        slow = self.registry.contents._runner.slow

        def held(function: Any, *arguments: Any) -> Any:
            waiting.append(Deferred())
            return waiting[-1].addCallback(lambda _: slow(function, *arguments))

        self.patch(self.registry.contents._runner, "slow", held)
        asked = [Deferred.fromCoroutine(self.registry.contents.files(self.complete("a"))) for _ in range(3)]
        asked[0].cancel()
        self.failureResultOf(asked[0])
        while waiting:
            waiting.pop(0).callback(b"")
        for each in asked[1:]:
            self.assertEqual(json.loads(self.successResultOf(each))[0][0], "a")
        self.assertEqual(self.opened, 1)

    def test_ancestors(self) -> None:
        """No more of them are read than are needed; one without a layer is passed over."""
        self.push_image("a", content=layer("a", "x"))
        self.push_image("b", "a", content=layer("b"))
        self.push_image("c", "b", content=layer("b", "c"))
        self.push_image("d", "c", content=layer("c"))
        found = json.loads(self.now(self.registry.contents.difference(self.complete("d"))))
        self.assertEqual((list(found["changed"]), self.opened), (["c"], 2))
        self.successResultOf(self.storage.delete(layout.image_layer(image_id("b"))))
        found = json.loads(self.now(self.registry.contents.difference(self.complete("c"))))
        self.assertEqual((list(found["created"]), self.opened), (["b", "c"], 3))
