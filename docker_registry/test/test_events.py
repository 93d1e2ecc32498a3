"""What is told of changes: what, when, and to whom."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import Deferred

from docker_registry.digest import Digest
from docker_registry.errors import ManifestUnknown
from docker_registry.names import Tag
from docker_registry.registry import events
from docker_registry.registry.events import Event
from docker_registry.test.registry_case import LATEST, OTHER, REPOSITORY
from docker_registry.test.test_images import REPOSITORY as APP
from docker_registry.test.test_images import ImageCase, image_id


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
        self.put_json("a")
        self.tag("a")
        self.told(events.TagSet(APP, LATEST, image_id("a")))
        self.push_image("a")
        digest = self.now(self.registry.tags.resolve(APP, LATEST))
        found = self.now(self.registry.manifests.read(digest))
        self.told(events.ManifestMade(APP, digest, len(found.content), found.document, LATEST, is_pushed=False))
        self.tag("a")
        self.told(
            events.TagSet(APP, LATEST, image_id("a")),
            events.ManifestMade(APP, digest, len(found.content), found.document, LATEST, is_pushed=True),
        )
        self.now(self.registry.image_tags.delete(APP, LATEST))
        self.told(events.TagDeleted(APP, LATEST))

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
        digest = self.now(self.registry.tags.linked(APP, LATEST))
        found = self.now(self.registry.manifests.read(digest))
        made = events.ManifestMade(APP, digest, len(found.content), found.document, LATEST, is_pushed=True)
        self.assertEqual(elsewhere, [replace(made, is_pushed=False)])
        self.told(events.TagSet(APP, LATEST, image_id("a")), made)

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
