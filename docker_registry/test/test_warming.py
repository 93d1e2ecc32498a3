"""An old store is made ready as a whole: what there is to do, what is left, and how it goes on after it was stopped."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.errors import ImageUnknown, StorageFailed, StorageFull
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.progress import Lines, in_words
from docker_registry.registry.warming import Warming
from docker_registry.storage import layout
from docker_registry.storage.interface import IReader
from docker_registry.test.clients import old_stores
from docker_registry.test.registry_case import LATEST
from docker_registry.test.test_old_images import APP, OldImageCase
from docker_registry.warm import Command

UNSERVED = {
    "broken:cut": "is cut, no archive",
    "broken:dead": "is not there",
    "broken:half-json": "no JSON that can be read",
    "broken:nothing": "it names no image",
    "broken:path": "it names no image",
    "no-layer:latest": "has no layer",
    "unfinished:latest": "was not pushed to its end",
}


class WarmingCase(OldImageCase):
    def setUp(self) -> None:
        super().setUp()
        self.warming = Warming(self.storage, self.registry)

    @property
    def layers(self) -> set[ImageId]:
        """Of images that a tag stands on."""
        return {ImageId(each.id) for tags in (*self.tree.tags.values(), *self.tree.v1_only.values())
                for id in tags.values() if id in self.tree.images for each in self.tree.chain(id)}


class WarmingTests(WarmingCase):
    def test_everything(self) -> None:
        """Then no pull reads a layer, and v2 has what v1 has."""
        work = self.now(self.warming.survey())
        self.assertEqual(work.layers.keys(), self.layers)
        self.assertEqual(work.size, sum(
            len(self.before[layout.image_old_layer(image)].content) for image in work.layers
        ))
        self.now(self.warming.read(work))
        self.assertEqual(self.warming.bytes_read, work.size)
        left = self.now(self.warming.set_tags(work))
        self.assertEqual(self.warming.tags_set, len(work.tags))
        self.assertEqual([f"{each.repository}:{each.tag}" for each in left], sorted(UNSERVED))
        for each in left:
            self.assertIn(UNSERVED[f"{each.repository}:{each.tag}"], each.reason)
        self.patch(self.storage, "open", None)
        for name, tags in self.tree.tags.items():
            for tag in tags:
                self.digest(name, tag)
        self.assertEqual({key: self.storage.objects.get(key) for key in self.before}, self.before)

    def test_goes_on(self) -> None:
        """What was read is not read again, and what was set is left alone."""
        self.digest(APP)
        work = self.now(self.warming.survey())
        self.assertNotIn((APP, LATEST), work.tags)
        self.assertIn((APP, Tag("1.0")), work.tags)
        chain = {ImageId(each.id) for each in self.tree.chain(old_stores.id_of("again"))}
        self.assertEqual(work.layers.keys(), self.layers - chain)
        self.now(self.warming.read(work))
        self.registry = self.open()
        again = Warming(self.storage, self.registry)
        work = self.now(again.survey())
        self.assertEqual((work.layers, again.bytes_read), ({}, 0))
        self.now(again.set_tags(work))
        self.assertEqual({f"{name}:{tag}" for name, tag in self.now(again.survey()).tags}, UNSERVED.keys())

    def test_changed_meanwhile(self) -> None:
        """Another one deletes a tag, or an image, after it was looked for."""
        work = self.now(self.warming.survey())
        self.now(self.registry.image_tags.delete(APP, LATEST))
        self.successResultOf(self.storage.delete_tree(layout.image(ImageId(old_stores.id_of("garbage")))))
        self.now(self.warming.read(work))
        left = {f"{each.repository}:{each.tag}" for each in self.now(self.warming.set_tags(work))}
        self.assertEqual(left, {*UNSERVED, "sums:garbage", "team/app:latest"})
        self.assertGone(APP)
        self.fails(self.registry.images.get(ImageId(old_stores.id_of("garbage"))), ImageUnknown)

    def test_a_layer_that_cannot_be_read(self) -> None:
        """The disk fails for one of them: the tags on it are named, the others are made ready."""
        bad = layout.image_old_layer(ImageId(old_stores.id_of("again")))
        opening = self.storage.open

        def opened(key: str, offset: int = 0) -> Deferred[IReader]:
            if key == bad:
                failed: Deferred[IReader] = Deferred()
                failed.errback(StorageFailed(f"{key}: Input/output error"))
                return failed
            return opening(key, offset)

        self.patch(self.storage, "open", opened)
        work = self.now(self.warming.survey())
        self.now(self.warming.read(work))
        left = {f"{each.repository}:{each.tag}": each.reason for each in self.now(self.warming.set_tags(work))}
        self.assertEqual(left.keys(), {*UNSERVED, "team/app:latest"})
        self.assertIn("Input/output error", left["team/app:latest"])

    def test_no_room(self) -> None:
        """That ends it: what comes after would fail, too."""
        asked: list[str] = []

        def put(key: str, content: bytes) -> Deferred[None]:
            asked.append(key)
            failed: Deferred[None] = Deferred()
            failed.errback(StorageFull(f"{key}: No space left on device"))
            return failed

        work = self.now(self.warming.survey())
        self.patch(self.storage, "put", put)
        self.fails(self.warming.read(work), StorageFull)
        self.assertLess(len(asked), 3)
        said: list[str] = []
        command = Command(self.clock, self.storage, self.registry, False, said.append, said.append)
        self.assertEqual(self.now(command.run()), 1)
        self.assertIn("No space left on device: mend that and run it again", said[-1])

    def test_thousands(self) -> None:
        """A tag on each of three thousand images in a hundred repositories, some on ten others."""
        parent = None
        for number in range(3000):
            name = f"i{number}"
            content = f'{{"id": "{old_stores.id_of(name)}"' + (f', "parent": "{parent}"}}' if parent else "}")
            self.put(f"images/{old_stores.id_of(name)}/json", content)
            self.put(f"images/{old_stores.id_of(name)}/layer", "not compressed")
            self.also(f"t{number}", old_stores.id_of(name), f"many/r{number % 100}")
            parent = None if number % 10 == 9 else old_stores.id_of(name)
        work = self.now(self.warming.survey())
        self.assertEqual(len(work.layers), 3000 + len(self.layers))
        self.now(self.warming.read(work))
        self.assertEqual(len(self.now(self.warming.set_tags(work))), len(UNSERVED))
        self.assertEqual(len(self.now(self.registry.tags.page(Repository("many/r7"), "", 1000))), 30)

    def put(self, key: str, content: str) -> None:
        self.successResultOf(self.storage.put(key, content.encode()))


class CommandTests(WarmingCase):
    def run_command(self) -> tuple[int, list[str], list[str]]:
        said: list[str] = []
        told: list[str] = []
        command = Command(self.clock, self.storage, self.registry, False, said.append, told.append)
        return self.now(command.run()), said, told

    def test_what_is_left(self) -> None:
        status, said, told = self.run_command()
        self.assertEqual(status, 3)
        tags = sum(map(len, self.tree.tags.values()))
        self.assertEqual(said[-1], f"{tags + len(UNSERVED)} tags, {len(self.layers)} layers to read, 0 MB")
        self.assertEqual([line.partition(" cannot be served by v2: ")[0] for line in told[:-1]], sorted(UNSERVED))
        self.assertEqual(told[-1], f"{tags} tags are ready, {len(UNSERVED)} left")

    def test_all_is_ready(self) -> None:
        for name in ("broken", "no-layer", "unfinished"):
            self.now(self.registry.image_tags.delete_all(Repository(name)))
        status, _, told = self.run_command()
        tags = sum(len(tags) for name, tags in self.tree.tags.items() if name != "broken")
        self.assertEqual((status, told), (0, [f"{tags} tags are ready"]))
        self.assertEqual(self.run_command()[0::2], (0, ["0 tags are ready"]))


class LinesTests(SynchronousTestCase):
    def test_estimate(self) -> None:
        clock = Clock()
        said: list[str] = []
        lines = Lines("reading", 1000, clock, said.append)
        for second in range(60):
            lines.show(second)
            clock.advance(1)
        self.assertEqual(said[0], "reading: 1 %, about 16 min left")
        self.assertEqual(said[1], "reading: 2 %, about 16 min left")
        self.assertEqual(len(said), 5)

    def test_words(self) -> None:
        for seconds, words in ((1, "less than a minute"), (60, "about 1 min"), (3599, "about 1 h 0 min")):
            self.assertEqual(in_words(seconds), words)
