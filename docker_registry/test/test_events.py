"""What is told of changes: what, when, and to whom."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from docker_registry.digest import Digest
from docker_registry.errors import ManifestUnknown, NotFound
from docker_registry.names import Tag
from docker_registry.registry import events
from docker_registry.registry.events import Event
from docker_registry.test.registry_case import LATEST, OTHER, REPOSITORY
from docker_registry.test.test_images import REPOSITORY as APP
from docker_registry.test.test_images import ImageCase, image_id, layer, payload


class EventTests(ImageCase):
    def setUp(self) -> None:
        super().setUp()
        self.heard: list[Event] = []
        self.registry.events.subscribe(self.hear)

    async def hear(self, event: Event) -> None:
        self.heard.append(event)

    def told(self, *expected: Event) -> None:
        self.assertEqual(self.heard, list(expected))
        self.heard.clear()

    def test_push_and_delete(self) -> None:
        digest = self.push_blob(b"layer")
        self.told(events.BlobPushed(REPOSITORY, digest, 5))
        self.assertTrue(self.now(self.registry.blobs.mount(OTHER, digest, REPOSITORY)))
        self.told(events.BlobMounted(OTHER, digest, 5, REPOSITORY))
        content = self.image(b"layer")
        self.heard.clear()
        manifest = self.push(content, LATEST)
        document = self.now(self.registry.manifests.read(manifest)).document
        self.told(events.ManifestPushed(REPOSITORY, manifest, len(content), document, (LATEST,)))
        self.now(self.registry.manifests.put(REPOSITORY, manifest, content, None, [Tag("a"), Tag("b")]))
        self.told(events.ManifestPushed(REPOSITORY, manifest, len(content), document, (Tag("a"), Tag("b"))))
        self.now(self.registry.manifests.untag(REPOSITORY, Tag("a")))
        self.told(events.TagDeleted(REPOSITORY, Tag("a")))
        self.now(self.registry.manifests.delete(REPOSITORY, manifest))
        self.told(events.ManifestDeleted(REPOSITORY, manifest, (Tag("b"), LATEST)))
        self.now(self.registry.manifests.delete_blob(REPOSITORY, digest))
        self.told(events.BlobDeleted(REPOSITORY, digest))
        self.now(self.registry.manifests.delete_all(REPOSITORY))
        self.told(events.RepositoryDeleted(REPOSITORY))

    def test_nothing_happened(self) -> None:
        digest = Digest.of(b"nothing")
        self.assertFalse(self.now(self.registry.blobs.mount(OTHER, digest, REPOSITORY)))
        self.fails(self.registry.manifests.untag(REPOSITORY, LATEST), ManifestUnknown)
        self.fails(self.registry.manifests.delete(REPOSITORY, digest), ManifestUnknown)
        self.told()

    def test_v1(self) -> None:
        """A tag stands for an image, and then for the manifest that it makes."""
        self.push_image("a")
        self.tag("a")
        self.told(events.TagSet(APP, LATEST, image_id("a")), self.made())
        self.now(self.registry.tags.resolve(APP, LATEST))
        self.now(self.registry.image_tags.delete(APP, LATEST))
        self.told(events.TagDeleted(APP, LATEST))

    def made(self, tag: Tag = LATEST, is_pushed: bool = True) -> events.ManifestMade:
        """What is told of the manifest that a tag stands for."""
        digest = self.now(self.registry.tags.linked(APP, tag))
        found = self.now(self.registry.manifests.read(digest))
        return events.ManifestMade(APP, digest, len(found.content), found.document, tag, is_pushed)

    def test_tag_before_its_image(self) -> None:
        """That it was pushed is told when the image is whole, once, and nothing is left of the waiting."""
        self.put_json("a")
        self.tag("a")
        self.tag("a", Tag("b"))
        self.told(*(events.TagSet(APP, tag, image_id("a")) for tag in (LATEST, Tag("b"))))
        self.fails(self.registry.tags.resolve(APP, LATEST), NotFound)
        self.push_image("a")
        made = [self.made(), self.made(Tag("b"))]
        self.assertCountEqual(self.heard, made)
        self.heard.clear()
        for tag in (LATEST, Tag("b")):
            self.now(self.registry.tags.resolve(APP, tag))
        self.told()
        self.assertEqual([key for key in self.keys() if "awaited" in key], [])

    def test_tag_before_its_ancestors(self) -> None:
        """Whichever of them is whole last, in another process; what was noted survives the process that did it."""
        self.put_json("a")
        self.put_json("b", "a")
        self.put_json("c", "b")
        self.tag("c")
        self.registry = self.open()
        self.heard.clear()
        self.registry.events.subscribe(self.hear)
        for name, parent in (("c", "b"), ("a", None), ("b", "a")):
            self.told()
            self.push_image(name, parent)
        self.told(self.made())
        self.assertEqual([key for key in self.keys() if "awaited" in key], [])

    def test_whole_while_it_is_noted(self) -> None:
        """The image may become whole between the look at it and the note that it is missing."""
        described = self.put_json("a")
        self.put_layer("a", layer("a"))
        note = self.registry.image_tags._untold.note

        async def late(*waiting: Any) -> None:
            self.confirm("a", payload(described, layer("a")))
            await note(*waiting)

        self.patch(self.registry.image_tags._untold, "note", late)
        self.tag("a")
        self.told(events.TagSet(APP, LATEST, image_id("a")), self.made())
        self.assertEqual([key for key in self.keys() if "awaited" in key], [])

    def test_first_pull_of_what_waited(self) -> None:
        """The process that made the image whole died before it made the manifest: a pull does, and tells of it."""
        described = self.put_json("a")
        self.put_layer("a", layer("a"))
        self.tag("a")
        self.pushes.completed = lambda image: None
        self.confirm("a", payload(described, layer("a")))
        self.told(events.TagSet(APP, LATEST, image_id("a")))
        self.registry = self.open()
        self.registry.events.subscribe(self.hear)
        for _ in range(2):
            self.now(self.registry.tags.resolve(APP, LATEST))
        self.told(self.made())

    def test_does_not_wait_any_more(self) -> None:
        """A tag that was set or deleted meanwhile: of the image that it waited for nothing is told."""
        self.push_image("other")
        for number, change in enumerate((
            lambda: self.now(self.registry.image_tags.delete(APP, LATEST)),
            lambda: self.push(self.image(b"layer", repository=APP), LATEST, APP),
            lambda: self.tag("other"),
        )):
            self.put_json(f"a{number}")
            self.tag(f"a{number}")
            change()
            self.heard.clear()
            self.push_image(f"a{number}")
            self.told()
            self.assertEqual([key for key in self.keys() if "awaited" in key], [])

    def test_old_store(self) -> None:
        """Of what docker-registry 0.x left nobody is told that it was pushed, when somebody pulls it."""
        self.push_image("a")
        self.successResultOf(self.storage.put(f"repositories/{APP}/tag_latest", str(image_id("a")).encode()))
        self.now(self.registry.tags.resolve(APP, LATEST))
        self.told(self.made(is_pushed=False))

    def test_pulled_before_it_is_made(self) -> None:
        """By another process, which makes the manifest: that it was pushed is told by the one that was pushed to."""
        self.put_json("a")
        self.push_image("a")
        other = self.open()

        async def pull(event: Event) -> None:
            if isinstance(event, events.TagSet):
                await other.tags.resolve(APP, LATEST)

        self.registry.events.subscribe(pull)
        elsewhere: list[Event] = []

        async def hear(event: Event) -> None:
            elsewhere.append(event)

        other.events.subscribe(hear)
        self.tag("a")
        self.assertEqual(elsewhere, [self.made(is_pushed=False)])
        self.told(events.TagSet(APP, LATEST, image_id("a")), self.made())

    def test_access(self) -> None:
        self.now(self.registry.set_private(APP, True))
        self.told(events.AccessChanged(APP, True))
        self.assertTrue(self.now(self.registry.old.is_private(APP)))

    def test_answered_when_heard(self) -> None:
        """Who pushes is answered when those who listen have heard of it."""
        listening: Deferred[None] = Deferred()

        async def listen(event: Event) -> None:
            await listening

        content = self.image()
        self.registry.events.subscribe(listen)
        pushing = Deferred.fromCoroutine(self.registry.manifests.put(REPOSITORY, LATEST, content, None))
        self.assertNoResult(pushing)
        listening.callback(None)
        self.assertEqual(self.successResultOf(pushing).digest, Digest.of(content))

    def test_pulls(self) -> None:
        """Are told to those who asked for them; the others hear of changes only."""
        pulled = events.BlobPulled(REPOSITORY, Digest.of(b"layer"), 5)
        self.assertFalse(self.registry.events.of_pulls)
        heard: list[Event] = []

        async def listen(event: Event) -> None:
            heard.append(event)

        self.registry.events.subscribe(listen, pulls=True)
        self.assertTrue(self.registry.events.of_pulls)
        self.now(self.registry.events.tell(pulled))
        self.told()
        digest = self.push_blob(b"layer")
        pushed = events.BlobPushed(REPOSITORY, digest, 5)
        self.told(pushed)
        self.assertEqual(heard, [pulled, pushed])

    def test_observer_fails(self) -> None:
        """It is logged, the others hear it, and the push stands."""
        async def fail(event: Event) -> None:
            raise RuntimeError("no")

        heard: list[Event] = []

        async def listen(event: Event) -> None:
            heard.append(event)

        self.registry.events.subscribe(fail)
        self.registry.events.subscribe(listen)
        digest = self.push_blob(b"layer")
        self.assertEqual(heard, [events.BlobPushed(REPOSITORY, digest, 5)])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
