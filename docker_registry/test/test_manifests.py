"""Manifests, tags, referrers and their deletion (T10, T11, T30, D8, D10, D13, C7, C10)."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from docker_registry.digest import Digest
from docker_registry.errors import (
    BlobInUse,
    BlobUnknown,
    DeletionDisabled,
    DigestMismatch,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    StoreUnavailable,
)
from docker_registry.names import Repository, Tag
from docker_registry.registry.documents import Descriptor
from docker_registry.registry.manifests import BULK, HASTY, Manifest, Manifests
from docker_registry.registry.recent import Recent
from docker_registry.registry.referrers import SLICE, Referrer
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.storage import layout
from docker_registry.storage.local import LocalStorage
from docker_registry.test.registry_case import LATEST, OTHER, REPOSITORY, Direct, RegistryCase, index


class PushAndPullTests(RegistryCase):
    def get(self, reference: Tag | Digest, repository: Repository = REPOSITORY) -> bytes:
        return self.now(self.registry.manifests.get(repository, reference)).content

    def assertUnknown(self, reference: Tag | Digest, repository: Repository = REPOSITORY) -> None:
        self.fails(self.registry.manifests.get(repository, reference), ManifestUnknown)

    def test_by_tag_and_digest(self) -> None:
        content = self.image(b"layer")
        digest = self.push(content)
        self.assertEqual(self.get(LATEST), content)
        self.assertEqual(self.get(digest), content)
        self.registry = self.open()
        self.assertEqual(self.get(LATEST), content)
        self.assertUnknown(Tag("other"))
        self.assertUnknown(digest, OTHER)

    def test_large(self) -> None:
        """Beyond what is parsed in passing."""
        content = self.image(b"layer", annotations={"a": "x" * 100_000})
        self.assertEqual(self.get(self.push(content)), content)

    def test_too_large(self) -> None:
        self.fails(self.registry.manifests.put(REPOSITORY, LATEST, b" " * ((4 << 20) + 1), None), ManifestTooLarge)

    def test_digest_differs(self) -> None:
        content = self.image(b"layer")
        self.fails(
            self.registry.manifests.put(REPOSITORY, Digest.of(content), content + b"  ", None), DigestMismatch
        )
        self.assertUnknown(Digest.of(content))

    def test_sha512(self) -> None:
        """A tag remembers the algorithm it was made with."""
        content = self.image(b"layer")
        digest = Digest.of(content, "sha512")
        self.now(self.registry.manifests.put(REPOSITORY, digest, content, None, [LATEST]))
        self.assertEqual(self.now(self.registry.manifests.get(REPOSITORY, LATEST)).digest, digest)
        self.assertUnknown(Digest.of(content))

    def test_many_tags(self) -> None:
        content = self.image(b"layer")
        tags = [Tag(f"t{number}") for number in range(10)]
        self.now(self.registry.manifests.put(REPOSITORY, Digest.of(content), content, None, tags))
        for tag in tags:
            self.assertEqual(self.get(tag), content)

    def test_missing_blobs(self) -> None:
        """Each is named, and what another repository holds does not count (T30)."""
        content = self.image(b"here", b"there", repository=OTHER)
        self.push_blob(b"{}")
        error = self.fails(self.registry.manifests.put(REPOSITORY, LATEST, content, None), ManifestBlobUnknown)
        self.assertEqual(set(error.digests), {str(Digest.of(b"here")), str(Digest.of(b"there"))})
        self.assertUnknown(LATEST)

    def test_size_differs(self) -> None:
        content = json.loads(self.image(b"layer"))
        content["layers"][0]["size"] += 1
        self.fails(
            self.registry.manifests.put(REPOSITORY, LATEST, json.dumps(content).encode(), None), ManifestInvalid
        )

    def test_foreign_layer(self) -> None:
        foreign = {
            "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "digest": str(Digest.of(b"elsewhere")),
            "size": 9,
        }
        content = json.loads(self.image(b"layer"))
        content["layers"].append(foreign)
        self.push(json.dumps(content).encode())

    def test_index(self) -> None:
        children = [self.image(b"amd64"), self.image(b"arm64")]
        self.push(children[0], None)
        error = self.fails(
            self.registry.manifests.put(REPOSITORY, LATEST, index(*children), None), ManifestBlobUnknown
        )
        self.assertEqual(error.digests, (str(Digest.of(children[1])),))
        self.push(children[1], None)
        self.push(index(*children))
        self.assertEqual(self.get(LATEST), index(*children))

    def test_many_references(self) -> None:
        """More than are looked at in one turn."""
        layers = [b"%d" % number for number in range(450)]
        content = self.image(*layers)
        self.push(content)
        self.now(self.registry.manifests.untag(REPOSITORY, LATEST))
        self.now(self.registry.blobs.unlink(REPOSITORY, Digest.of(layers[420])))
        error = self.fails(self.registry.manifests.put(REPOSITORY, LATEST, content, None), ManifestBlobUnknown)
        self.assertEqual(error.digests, (str(Digest.of(layers[420])),))

    def test_others_have_their_turn(self) -> None:
        """However much is in memory, others are served while the references of a manifest are looked at (E9)."""
        turns: list[str] = []

        class Turning(Direct):
            def quick(self, function: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
                turns.append(function.__name__)
                return super().quick(function, *args, **kwargs)

        layers = [b"%d" % number for number in range(450)]
        content = self.image(*layers)
        children = [self.image(annotations={"n": str(number)}) for number in range(201)]
        for child in children:
            self.push(child, None)
        self.registry = Registry(self.storage, Turning(), self.clock, self.settings, self.clock.seconds)
        self.push(content)
        self.assertEqual(len(turns), 2)
        self.push(index(*children))
        self.assertEqual(len(turns), 3)
        self.now(self.registry.manifests.delete_blob(REPOSITORY, self.push_blob(b"not used")))
        self.assertEqual(len(turns), 4)

    def test_many_that_are_missing(self) -> None:
        """Ten thousand children that are not there are compared with each other by nobody."""
        compared: list[object] = []

        def compare(one: object, other: object) -> bool:
            compared.append(other)
            return one is other

        self.patch(Descriptor, "__eq__", compare)
        content = index(*(b"%d" % number for number in range(300)))
        error = self.fails(self.registry.manifests.put(REPOSITORY, LATEST, content, None), ManifestBlobUnknown)
        self.assertEqual(len(error.digests), 300)
        self.assertLess(len(compared), 3000)

    def test_tag_moves(self) -> None:
        first, second = self.image(b"1"), self.image(b"2")
        self.push(first)
        self.push(second)
        self.assertEqual(self.get(LATEST), second)
        self.assertEqual(self.get(Digest.of(first)), first)

    def test_unreadable_link(self) -> None:
        self.push(self.image(b"layer"))
        for content in (b"", b"sha256:", b"\xff", b"md5:abc"):
            self.successResultOf(self.storage.put(layout.tag_link(REPOSITORY, LATEST), content))
            self.assertUnknown(LATEST)

    def test_damaged(self) -> None:
        """Bytes that do not have the digest are not served, and the next push heals it (B2, C7)."""
        content = self.image(b"layer")
        for broken in (b"", content[:-1], content.replace(b"layers", b"LAYERS"), b"{}"):
            digest = self.push(content)
            self.registry = self.open()
            self.successResultOf(self.storage.put(layout.blob(digest), broken))
            self.assertUnknown(digest)
            self.push(content)
            self.assertEqual(self.get(digest), content)

    def test_memory_is_bounded(self) -> None:
        cache: Recent[Digest, Manifest] = Recent(5000)
        self.registry.manifests._cache = cache
        pushed = [self.image(b"%d" % number) for number in range(20)]
        for content in pushed:
            self.push(content, None)
        for content in pushed:
            self.assertEqual(self.get(Digest.of(content)), content)
        kept = [content for content in pushed if cache.get(Digest.of(content)) is not None]
        self.assertEqual(kept, pushed[-len(cache) :])
        self.assertEqual(cache.held, BULK * sum(map(len, kept)))
        self.assertGreater(cache.held, 3000)
        self.assertLessEqual(cache.held, 5000)

    def test_large_ones_are_parsed_one_at_a_time(self) -> None:
        """Each takes many times its bytes meanwhile; small ones do not wait for them."""
        waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

        class Slow(Direct):
            def slow(self, function: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
                if function.__module__ != Manifests.__module__:
                    return super().slow(function, *args, **kwargs)
                waiting.append((partial(function, *args, **kwargs), Deferred()))
                return waiting[-1][1]

        self.registry = Registry(self.storage, Slow(), self.clock, self.settings, self.clock.seconds)
        small, large = self.image(b"layer"), self.image(b"layer", annotations={"x": "y" * HASTY})
        pushes = [
            Deferred.fromCoroutine(self.registry.manifests.put(REPOSITORY, Tag(f"t{number}"), content, None))
            for number, content in enumerate([large, b"{" + large, large, small])
        ]
        pushes[2].cancel()
        self.failureResultOf(pushes[2], CancelledError)
        self.successResultOf(pushes[3])
        self.assertEqual(len(waiting), 1)
        waiting[0][1].callback(waiting[0][0]())
        self.successResultOf(pushes[0])
        self.assertEqual(len(waiting), 2)
        waiting[1][1].errback(self.failureOf(waiting[1][0]))
        self.failureResultOf(pushes[1], ManifestInvalid)
        self.assertEqual(len(waiting), 2)

    def failureOf(self, call: Callable[[], Any]) -> Failure:
        try:
            call()
        except Exception:
            return Failure()
        raise AssertionError("it did not fail")


class TagTests(RegistryCase):
    def page(self, after: str = "", limit: int = 1000) -> list[str]:
        return self.now(self.registry.tags.page(REPOSITORY, after, limit))

    def test_order_and_pages(self) -> None:
        content = self.image(b"layer")
        names = ["B", "a", "1.0", "_x", "a-b", "a.b", "Z", "0"]
        for name in names:
            self.push(content, Tag(name))
        self.assertEqual(self.page(), sorted(names))
        self.assertEqual(self.page("Q"), ["Z", "_x", "a", "a-b", "a.b"])
        self.assertEqual(self.page("a", 1), ["a-b"])
        self.assertEqual(self.page(limit=0), [])

    def test_half_deleted_tag_is_not_listed(self) -> None:
        """A crash can leave what a tag has been without what it is."""
        content = self.image(b"layer")
        for name in ("a", "b", "c"):
            self.push(content, Tag(name))
        self.successResultOf(self.storage.delete(layout.tag_link(REPOSITORY, Tag("b"))))
        self.assertEqual(self.page(), ["a", "c"])
        self.assertEqual(self.page(limit=2), ["a", "c"])


class DeletionTests(RegistryCase):
    def test_tag(self) -> None:
        content = self.image(b"layer")
        digest = self.push(content)
        self.push(content, Tag("kept"))
        self.now(self.registry.manifests.untag(REPOSITORY, LATEST))
        self.fails(self.registry.manifests.get(REPOSITORY, LATEST), ManifestUnknown)
        self.fails(self.registry.manifests.untag(REPOSITORY, LATEST), ManifestUnknown)
        for reference in (Tag("kept"), digest):
            self.now(self.registry.manifests.get(REPOSITORY, reference))

    def test_manifest_takes_its_tags(self) -> None:
        content, other = self.image(b"layer"), self.image(b"other")
        digest = self.push(content)
        self.push(content, Tag("too"))
        self.push(other, Tag("kept"))
        self.now(self.registry.manifests.delete(REPOSITORY, digest))
        for reference in (LATEST, Tag("too"), digest):
            self.fails(self.registry.manifests.get(REPOSITORY, reference), ManifestUnknown)
        self.fails(self.registry.manifests.delete(REPOSITORY, digest), ManifestUnknown)
        self.assertEqual(self.now(self.registry.tags.page(REPOSITORY, "", 10)), ["kept"])

    def test_manifest_in_one_repository_only(self) -> None:
        content = self.image(b"layer")
        self.image(b"layer", repository=OTHER)
        digest = self.push(content)
        self.push(content, repository=OTHER)
        self.now(self.registry.manifests.delete(REPOSITORY, digest))
        self.now(self.registry.manifests.get(OTHER, digest))
        self.fails(self.registry.manifests.get(REPOSITORY, digest), ManifestUnknown)

    def test_manifest_whose_bytes_are_lost(self) -> None:
        digest = self.push(self.image(b"layer"))
        self.registry = self.open()
        self.successResultOf(self.storage.delete(layout.blob(digest)))
        self.now(self.registry.manifests.delete(REPOSITORY, digest))
        self.assertEqual(self.now(self.registry.tags.page(REPOSITORY, "", 10)), [])

    def test_blob(self) -> None:
        """Gone here, kept elsewhere, also after it was asked for elsewhere (C10)."""
        digest = self.push_blob(b"layer")
        self.push_blob(b"layer", OTHER)
        self.now(self.registry.manifests.delete_blob(REPOSITORY, digest))
        self.assertEqual(self.now(self.registry.blobs.size(OTHER, digest)), 5)
        for attempt in (
            self.registry.blobs.size(REPOSITORY, digest),
            self.registry.blobs.open(REPOSITORY, digest),
            self.registry.manifests.delete_blob(REPOSITORY, digest),
        ):
            self.fails(attempt, BlobUnknown)
        self.push_blob(b"layer")
        self.assertEqual(self.now(self.registry.blobs.size(REPOSITORY, digest)), 5)

    def test_blob_in_use(self) -> None:
        """A manifest that was accepted never misses a blob (D10)."""
        manifest = self.push(self.image(b"layer"))
        layer = Digest.of(b"layer")
        error = self.fails(self.registry.manifests.delete_blob(REPOSITORY, layer), BlobInUse)
        self.assertEqual(error.manifest, str(manifest))
        self.now(self.registry.manifests.delete(REPOSITORY, manifest))
        self.now(self.registry.manifests.delete_blob(REPOSITORY, layer))

    def test_repository_in_part(self) -> None:
        """Whatever a store comes to before it fails: no manifest stays that its subject does not list."""
        signed = self.push(self.image(b"layer"))
        subject = {"mediaType": "application/json", "digest": str(signed), "size": 1}
        signature = self.push(self.image(b"signature", subject=subject), None)
        delete_tree = self.storage.delete_tree

        def fails(tree: str) -> Deferred[None]:
            if tree != layout.manifests(REPOSITORY):
                return delete_tree(tree)
            first = min(key for key in self.storage.objects if key.startswith(tree))    # as a bucket has them
            return delete_tree(first).addCallback(lambda _: fail(StoreUnavailable("busy")))

        self.patch(self.storage, "delete_tree", fails)
        self.fails(self.registry.manifests.delete_all(REPOSITORY), StoreUnavailable)
        self.assertIsNone(self.now(self.registry.referrers.find(REPOSITORY, signed).next()))
        self.fails(self.registry.manifests.get(REPOSITORY, signature), ManifestUnknown)

    def test_switched_off(self) -> None:
        """For tags as well."""
        digest = self.push(self.image(b"layer"))
        self.settings = Settings(delete_enabled=False)
        self.registry = self.open()
        for attempt in (
            self.registry.manifests.untag(REPOSITORY, LATEST),
            self.registry.manifests.delete(REPOSITORY, digest),
            self.registry.manifests.delete_blob(REPOSITORY, Digest.of(b"layer")),
        ):
            self.fails(attempt, DeletionDisabled)
        self.now(self.registry.manifests.get(REPOSITORY, LATEST))


class BlobTests(RegistryCase):
    def test_mount(self) -> None:
        digest = self.push_blob(b"layer", OTHER)
        self.assertTrue(self.now(self.registry.blobs.mount(REPOSITORY, digest, OTHER)))
        self.assertEqual(self.now(self.registry.blobs.size(REPOSITORY, digest)), 5)

    def test_mount_of_what_is_not_there(self) -> None:
        digest = self.push_blob(b"layer", OTHER)
        for source in (REPOSITORY, Repository("nowhere")):
            self.assertFalse(self.now(self.registry.blobs.mount(REPOSITORY, digest, source)))
        self.assertFalse(self.now(self.registry.blobs.mount(REPOSITORY, Digest.of(b"none"), None)))
        self.fails(self.registry.blobs.size(REPOSITORY, digest), BlobUnknown)

    def test_mount_from_wherever_it_is(self) -> None:
        """Remembered, or found."""
        content = self.image(b"layer", repository=OTHER)
        self.push(content, repository=OTHER)
        for registry in (self.registry, self.open()):
            target = Repository(f"target{id(registry)}")
            self.assertTrue(self.now(registry.blobs.mount(target, Digest.of(b"layer"), None)))
            self.assertEqual(self.now(registry.blobs.size(target, Digest.of(b"layer"))), 5)

    def test_lease(self) -> None:
        """Asked for after an hour, a link is young again; before, nothing is written."""
        digest = self.push_blob(b"layer")
        link = layout.layer_link(REPOSITORY, digest)
        made = self.clock.seconds()
        self.clock.advance(3599)
        self.now(self.registry.blobs.size(REPOSITORY, digest))
        self.assertEqual(self.successResultOf(self.storage.stat(link)).modified, made)
        self.clock.advance(2)
        self.now(self.registry.blobs.size(REPOSITORY, digest))
        self.assertEqual(self.successResultOf(self.storage.stat(link)).modified, made + 3601)

    def test_emptied(self) -> None:
        """A blob cut to nothing is not served, and the next push heals it (C7)."""
        digest = self.push_blob(b"layer")
        self.successResultOf(self.storage.put(layout.blob(digest), b""))
        self.fails(self.registry.blobs.open(REPOSITORY, digest), BlobUnknown)
        self.push_blob(b"layer")
        self.assertEqual(self.now(self.registry.blobs.size(REPOSITORY, digest)), 5)


class CatalogueTests(RegistryCase):
    NAMES = ["a", "a-b", "a-b/c", "a.b", "a/b", "a/b/c", "a0", "b", "b/uploads", "blobs", "manifests/tags", "z/z/z/z"]

    def setUp(self) -> None:
        super().setUp()
        for name in self.NAMES:
            repository = Repository.parse(name)
            self.push(self.image(b"layer", repository=repository), repository=repository)
        self.now(self.registry.uploads.start(Repository("only/uploads")))
        self.push_blob(b"layer", Repository("only/blobs"))

    def test_byte_order(self) -> None:
        found = [each.name for each in self.now(self.registry.catalogue.page("", 100))]
        self.assertEqual(found, sorted(self.NAMES))

    def test_pages(self) -> None:
        """Of every size, beyond every name and beside it, and with levels that are read in parts."""
        names = sorted(self.NAMES)
        for level in (1, 2, 3, 100):
            self.patch(__import__("docker_registry.registry.walk", fromlist=["LEVEL"]), "LEVEL", level)
            for after in ["", "0", "a/", "a-", "a/a", "zz", *names]:
                for limit in (0, 1, 2, 5, 100):
                    found = [each.name for each in self.now(self.registry.catalogue.page(after, limit))]
                    expected = [name for name in names if name > after][:limit]
                    self.assertEqual(found, expected, (level, after, limit))

    def test_holds_anything(self) -> None:
        known = {"a/b": True, "only/blobs": True, "only/uploads": False, "none": False, "z": False}
        for name, expected in known.items():
            self.assertEqual(self.now(self.registry.catalogue.holds_anything(Repository(name))), expected, name)


class ReferrersTests(RegistryCase):
    def refer(self, number: int, subject: bytes, **members: Any) -> bytes:
        described = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": str(Digest.of(subject)),
                     "size": len(subject)}
        content = self.image(b"%d" % number, subject=described, **members)
        self.push(content, None)
        return content

    def page(self, subject: bytes, after: str = "", limit: int = 1000) -> list[Digest]:
        return [each.digest for each in self.find(subject, after, limit)]

    def find(self, subject: bytes, after: str = "", limit: int = 1000) -> list[Referrer]:
        search = self.registry.referrers.find(REPOSITORY, Digest.of(subject), after)
        found: list[Referrer] = []
        while len(found) < limit and (referrer := self.now(search.next())) is not None:
            found.append(referrer)
        return found

    def test_listed_in_pages(self) -> None:
        """The subject need not be there."""
        subject = b"not pushed"
        contents = [self.refer(number, subject) for number in range(7)]
        digests = sorted((Digest.of(each) for each in contents), key=str)
        self.assertEqual(self.page(subject), digests)
        self.assertEqual(self.page(subject, limit=3), digests[:3])
        self.assertEqual(self.page(subject, str(digests[2]), 3), digests[3:6])
        self.assertEqual(self.page(b"another"), [])

    def test_sha512(self) -> None:
        content = self.refer(1, b"subject")
        long = Digest.of(content, "sha512")
        self.now(self.registry.manifests.put(REPOSITORY, long, content, None))
        short = Digest.of(content)
        self.assertEqual(self.page(b"subject"), [short, long])
        self.assertEqual(self.page(b"subject", str(short)), [long])
        self.assertEqual(self.page(b"subject", str(long)), [])

    def test_what_is_said(self) -> None:
        content = self.refer(1, b"subject", artifactType="a/b", annotations={"k": "v"})
        (referrer,) = self.find(b"subject")
        self.assertEqual(
            (referrer.digest, referrer.size, referrer.artifact_type, dict(referrer.annotations)),
            (Digest.of(content), len(content), "a/b", {"k": "v"}),
        )

    def test_deleted(self) -> None:
        """A referrer goes from the list; deleting the subject leaves it."""
        subject = self.image(b"layer")
        self.push(subject)
        digest = Digest.of(self.refer(1, subject))
        self.now(self.registry.manifests.delete(REPOSITORY, Digest.of(subject)))
        self.assertEqual(self.page(subject), [digest])
        self.now(self.registry.manifests.delete(REPOSITORY, digest))
        self.assertEqual(self.page(subject), [])

    def test_deleted_before_others(self) -> None:
        """However many went that stand before it in the order, what is there is found."""
        digest = Digest.of(self.refer(1, b"subject"))
        for number in range(SLICE + 1):
            gone = Digest(digest.algorithm, f"{number:064x}")
            link = layout.referrer_link(REPOSITORY, Digest.of(b"subject"), gone)
            self.successResultOf(self.storage.put(link, str(gone).encode()))
        self.assertEqual(self.page(b"subject"), [digest])

    def test_nothing_is_left_of_a_deleted_one(self) -> None:
        """Of a directory that stays, listings would take notice for ever."""
        root = Path(self.mktemp())
        storage = LocalStorage(root, Direct(), self.clock, sync=False)
        self.successResultOf(storage.start())
        self.addCleanup(storage.close)
        self.registry = Registry(storage, Direct(), self.clock, self.settings, self.clock.seconds)
        digest = Digest.of(self.refer(1, b"subject"))
        self.now(self.registry.manifests.delete(REPOSITORY, digest))
        self.assertEqual([path for path in root.rglob(f"*{digest.hex}*") if "referrers" in path.parts], [])

    def test_old_tags(self) -> None:
        """What clients listed under a tag, before there was anything else, is listed too."""
        subject = self.image(b"layer")
        old = self.image(b"signature")
        self.push(old, None)
        self.push(index(old), Tag(f"sha256-{Digest.of(subject).hex}"))
        native = self.refer(1, subject)
        self.assertEqual(self.page(subject), sorted([Digest.of(old), Digest.of(native)], key=str))
