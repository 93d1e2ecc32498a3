"""Images that docker-registry 0.x left: made ready once, never changed, and gone when they were deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from docker_registry.digest import Digest
from docker_registry.errors import (
    ChecksumMismatch,
    ImageInProgress,
    ImageInvalid,
    ImageNotInProgress,
    ImageUnknown,
    ManifestUnknown,
    RepositoryUnknown,
    TagUnknown,
)
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.registry.registry import Registry
from docker_registry.registry.shared import Shared
from docker_registry.storage import layout
from docker_registry.storage.interface import IReader
from docker_registry.test.clients import old_stores
from docker_registry.test.clients.v1_images import payload_sum
from docker_registry.test.registry_case import LATEST, Direct, Parts, RegistryCase

APP = Repository("team/app")


class Numbers:
    """An `Exclusion` of two processes, in one."""

    def __init__(self, taken: set[int]) -> None:
        self._taken = taken
        self._own: set[int] = set()

    def take(self, number: int) -> bool:
        if number in self._taken - self._own:
            return False
        self._own.add(number)
        self._taken.add(number)
        return True

    def give(self, number: int) -> None:
        self._own.discard(number)
        self._taken.discard(number)


class OldImageCase(RegistryCase):
    """:cvar name: of the tree."""

    name = "seed"

    def setUp(self) -> None:
        super().setUp()
        root = Path(self.mktemp())
        self.tree = old_stores.TREES[self.name](root)
        for path in root.rglob("*"):
            if path.is_file():
                self.successResultOf(self.storage.put(str(path.relative_to(root)), path.read_bytes()))
        self.before = dict(self.storage.objects)

    def digest(self, name: str | Repository, tag: str | Tag = LATEST) -> Digest:
        """What v2 sees."""
        return self.now(self.registry.manifests.get(Repository(str(name)), Tag(str(tag)))).digest

    def image_of(self, name: str | Repository, tag: str | Tag = LATEST) -> str:
        """What v1 sees."""
        return str(self.now(self.registry.image_tags.get(Repository(str(name)), Tag(str(tag)))))

    def assertGone(self, name: str | Repository, tag: str | Tag = LATEST) -> None:
        """Now, and for another process."""
        for registry in (self.registry, self.open()):
            self.fails(registry.manifests.get(Repository(str(name)), Tag(str(tag))), ManifestUnknown)
            self.fails(registry.image_tags.get(Repository(str(name)), Tag(str(tag))), TagUnknown)

    def also(self, tag: str, id: str, directory: str = "team/app") -> None:
        self.successResultOf(self.storage.put(f"repositories/{directory}/tag_{tag}", id.encode()))


class StateTests(OldImageCase):
    def test_sums(self) -> None:
        """Passed on as they are as long as nobody has read the layer, and nothing is decided by them."""
        app, base = (self.tree.images[old_stores.id_of(name)] for name in ("app", "base"))
        found = self.now(self.registry.images.get(ImageId(base.id)))
        self.assertEqual(found.sums[0].partition(":")[0], "tarsum+sha256")
        for name, number in (("garbage", 0), ("quoted", 1), ("wrong", 1), ("again", 0)):
            found = self.now(self.registry.images.get(ImageId(old_stores.id_of(name))))
            self.assertEqual(len(found.sums), number, name)
            self.fails(self.registry.image_pushes.put_checksum(found.id, found.sums), ImageNotInProgress)
        self.digest("sums", "wrong")
        wrong = self.now(self.registry.images.get(ImageId(old_stores.id_of("wrong"))))
        self.assertEqual(wrong.sums, (payload_sum(wrong.content, self.tree.layer(self.tree.images[str(wrong.id)])),))
        self.assertEqual(self.now(self.registry.images.get(ImageId(app.id))).content, app.json)

    def test_what_is_not_there(self) -> None:
        self.fails(self.registry.images.get(ImageId(old_stores.id_of("unfinished"))), ImageInProgress)
        for name in ("no-layer", "half-json", "gone"):
            self.fails(self.registry.images.get(ImageId(old_stores.id_of(name))), ImageUnknown)

    def test_pushed_again(self) -> None:
        """What was left half is pushed from the beginning; half a layer of old is nobody's."""
        for name in ("unfinished", "no-layer", "half-json"):
            image = ImageId(old_stores.id_of(name))
            content = json.dumps({"id": str(image), "parent": old_stores.id_of("base")}).encode()
            self.now(self.registry.image_pushes.put_json(image, content))
            self.fails(self.registry.images.get(image), ImageInProgress)
            self.fails(self.registry.image_pushes.put_checksum(image, ["sha256:" + "0" * 64]), ChecksumMismatch)
            self.now(self.registry.image_pushes.put_layer(image, Parts(b"new")))
            self.now(self.registry.image_pushes.put_checksum(image, [payload_sum(content, b"new")]))
            found = self.now(self.registry.images.get(image))
            reader = self.now(self.registry.images.open_layer(found))
            self.assertEqual(self.successResultOf(reader.read(100)), b"new")

    def test_announced_nonsense(self) -> None:
        """A checksum of 0.6 that is none does not keep a layer from being pushed."""
        image = ImageId(old_stores.id_of("unfinished"))
        self.successResultOf(self.storage.put(layout.image_checksum(image), b"\xff\xfe:\xfd"))
        self.now(self.registry.image_pushes.put_layer(image, Parts(b"new")))
        content = bytes(self.before[layout.image_json(image)].content)
        self.now(self.registry.image_pushes.put_checksum(image, [payload_sum(content, b"new")]))

    def test_json_that_is_none(self) -> None:
        """Nobody has the image, and nothing stands on it, until it is pushed again."""
        image = ImageId(old_stores.id_of("base"))
        for content in (b"", b"\0" * 500, b'{"id": "', b"\xff{}", b"[1]", b"5", b"{}", b"[" * 100_000):
            self.successResultOf(self.storage.put(layout.image_json(image), content))
            self.fails(self.registry.images.get(image), ImageUnknown)
            for name, tag in (("base", LATEST), (APP, LATEST)):
                self.fails(self.registry.manifests.get(Repository(str(name)), tag), ManifestUnknown)
            self.fails(self.registry.image_tags.set(APP, LATEST, image), ImageUnknown)
            self.fails(self.registry.image_pushes.put_layer(image, Parts(b"new")), ImageUnknown)
            child = json.dumps({"id": "c" * 64, "parent": str(image)}).encode()
            self.fails(self.registry.image_pushes.put_json(ImageId("c" * 64), child), ImageInvalid)

    def test_json_that_clients_read_otherwise(self) -> None:
        """v1 passes it on as it is; v2 does not make anything of it, and the tag stays what it is."""
        base = self.tree.images[old_stores.id_of("base")]
        for more in (b'"x": NaN', b'"x": 1e999', b'"x": 1, "x": 2', b'"x": ' + b"[" * 300 + b"]" * 300):
            content = base.json[:-1] + b", " + more + b"}"
            self.successResultOf(self.storage.put(layout.image_json(ImageId(base.id)), content))
            self.assertEqual(self.now(self.registry.images.get(ImageId(base.id))).content, content)
            self.fails(self.registry.manifests.get(Repository("base"), LATEST), ManifestUnknown)
            self.assertEqual(self.image_of("base"), base.id)

    def test_ancestry_that_is_torn_or_missing(self) -> None:
        """The parents say the same."""
        base = old_stores.id_of("base")
        for tag in ("torn", "no-ancestry"):
            image = ImageId(self.image_of("broken", tag))
            self.assertEqual(self.now(self.registry.images.ancestry(image)), [image, ImageId(base)])
            self.digest("broken", tag)


class PreparingTests(OldImageCase):
    def test_nothing_old_changes(self) -> None:
        for name, tags in {**self.tree.tags, **self.tree.v1_only}.items():
            for tag, id in tags.items():
                self.assertEqual(self.image_of(name, tag), id)
                if tag in self.tree.tags.get(name, {}):
                    self.digest(name, tag)
                else:
                    self.fails(self.registry.manifests.get(Repository(name), Tag(tag)), ManifestUnknown)
                self.assertEqual(self.image_of(name, tag), id)
        self.assertEqual({key: self.storage.objects.get(key) for key in self.before}, self.before)
        added = self.storage.objects.keys() - self.before.keys()
        self.assertEqual({key.rpartition("/")[2] for key in added if not key.startswith("docker/")},
                         {"_layer", "_manifest"})

    def test_once_whoever_asks(self) -> None:
        """Twenty at a time, for tags of several repositories: each layer is read once."""
        opened: dict[str, int] = {}
        waiting: list[tuple[Deferred[IReader], Any]] = []
        opening = self.storage.open

        def held(key: str, offset: int = 0) -> Deferred[IReader]:
            if not key.startswith("images/"):
                return opening(key, offset)
            opened[key] = opened.get(key, 0) + 1
            answer: Deferred[IReader] = Deferred()
            waiting.append((answer, lambda: opening(key, offset)))
            return answer

        self.patch(self.storage, "open", held)
        asked = [("team/app", "latest"), ("team/app", "1.0"), ("team/sub/app", "latest"), ("base", "latest")] * 5
        pulls = [Deferred.fromCoroutine(self.registry.manifests.get(Repository(name), Tag(tag))) for name, tag in asked]
        pulls[0].cancel()                       # its client goes away, and the others have not to wait longer for that
        self.failureResultOf(pulls.pop(0))
        while waiting:
            answer, go_on = waiting.pop(0)
            go_on().chainDeferred(answer)
        digests = {self.successResultOf(pull).digest for pull in pulls}
        self.assertEqual(len(digests), 3)
        layers = [f"images/{old_stores.id_of(name)}/layer" for name in ("base", "app", "again")]
        self.assertEqual(opened, dict.fromkeys(layers, 1))
        for registry in (self.registry, self.open()):
            self.now(registry.manifests.get(APP, LATEST))
        self.assertEqual(sum(opened.values()), 3)

    def test_once_in_all_processes(self) -> None:
        """Who comes second waits for the first, and reads nothing."""
        taken: set[int] = set()
        one, other = (
            Registry(self.storage, Direct(), self.clock, self.settings, self.clock.seconds, Shared(Numbers(taken)))
            for _ in range(2)
        )
        reading = self.noted_open()
        answer = self.hold_layer()
        pulls = [Deferred.fromCoroutine(each.manifests.get(Repository("base"), LATEST)) for each in (one, other)]
        self.clock.pump([0.02] * 10)
        answer()
        self.clock.pump([0.02] * 20)
        self.assertEqual(len({self.successResultOf(pull).digest for pull in pulls}), 1)
        self.assertEqual(reading, [f"images/{old_stores.id_of('base')}/layer"])
        self.assertEqual(taken, set())

    def noted_open(self) -> list[str]:
        """What of the images is opened from now on."""
        opened: list[str] = []
        opening = self.storage.open

        def note(key: str, offset: int = 0) -> Deferred[IReader]:
            if key.startswith("images/"):
                opened.append(key)
            return opening(key, offset)

        self.patch(self.storage, "open", note)
        return opened

    def test_set_meanwhile(self) -> None:
        """A v2 push that comes while the old image is read is what the tag stands for."""
        manifest = self.image(b"new", repository=APP)
        answer = self.hold_layer()
        pull = Deferred.fromCoroutine(self.registry.manifests.get(APP, LATEST))
        digest = self.push(manifest, LATEST, APP)
        answer()
        self.assertEqual(self.successResultOf(pull).digest, digest)
        self.assertEqual(self.digest(APP), digest)

    def test_deleted_meanwhile(self) -> None:
        """It does not come back, and neither does its repository."""
        for delete in (
            lambda registry: registry.image_tags.delete(Repository("base"), LATEST),
            lambda registry: registry.image_tags.delete_all(Repository("base")),
        ):
            self.setUp()
            answer = self.hold_layer()
            pull = Deferred.fromCoroutine(self.registry.manifests.get(Repository("base"), LATEST))
            self.now(delete(self.registry))
            answer()
            self.failureResultOf(pull, ManifestUnknown)
            self.assertGone("base")
            self.assertNotIn(Repository("base"), self.now(self.registry.catalogue.page("", 100)))

    def hold_layer(self) -> Any:
        """Whoever opens a layer waits until the answer is called."""
        gate: Deferred[None] = Deferred()
        opening = self.storage.open

        async def held(key: str, offset: int) -> IReader:
            if key.startswith("images/") and not gate.called:
                waiting: Deferred[None] = Deferred()
                gate.addCallback(waiting.callback)
                await waiting
            return await opening(key, offset)

        self.patch(self.storage, "open", lambda key, offset=0: Deferred.fromCoroutine(held(key, offset)))
        return lambda: gate.callback(None)


class DeletingTests(OldImageCase):
    def test_v2_push_wins(self) -> None:
        for prepared in (False, True):
            tag = "1.0" if prepared else "latest"
            if prepared:
                self.digest(APP, tag)
            digest = self.push(self.image(b"new", repository=APP), Tag(tag), APP)
            self.assertEqual(self.digest(APP, tag), digest)
            self.assertNotIn(f"repositories/team/app/tag_{tag}", self.storage.objects)
            self.now(self.registry.manifests.untag(APP, Tag(tag)))
            self.assertGone(APP, tag)

    def test_by_digest(self) -> None:
        """All tags on the image go, also those that nobody has asked for since."""
        for tag in ("a", "b", "c"):
            self.also(tag, old_stores.id_of("app"))
        digest = self.digest(APP, "b")
        self.now(self.registry.manifests.delete(APP, digest))
        for tag in ("a", "b", "c", "1.0"):
            self.assertGone(APP, tag)
        self.assertEqual(self.image_of(APP), old_stores.id_of("again"))
        self.assertEqual(self.image_of("team/sub/app"), old_stores.id_of("app"))

    def test_repository(self) -> None:
        self.digest(APP)
        self.now(self.registry.image_tags.delete_all(APP))
        for tag in ("latest", "1.0"):
            self.assertGone(APP, tag)
        self.fails(self.registry.image_tags.all(APP), RepositoryUnknown)
        self.assertFalse([key for key in self.storage.objects if "team/app/" in key])
        self.assertEqual(self.image_of("team/sub/app"), old_stores.id_of("app"))

    def test_set_by_v1(self) -> None:
        """On an image of the store, prepared or not."""
        self.digest(APP)
        for name in ("base", "app"):
            self.now(self.registry.image_tags.set(APP, LATEST, ImageId(old_stores.id_of(name))))
            self.assertEqual(self.image_of(APP), old_stores.id_of(name))
            layers = json.loads(self.now(self.registry.manifests.get(APP, LATEST)).content)["layers"]
            self.assertEqual(len(layers), 1 if name == "base" else 2)
