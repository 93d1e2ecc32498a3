"""Listings and searches, from the store until the catalogue has read it, from the catalogue then: always the same."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from docker_registry.errors import StorageFailed
from docker_registry.names import Repository, Tag
from docker_registry.registry import rounds
from docker_registry.registry.catalogue import SEARCHES
from docker_registry.registry.descriptions import KEY, LENGTH
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.registry.shared import Shared
from docker_registry.storage import layout
from docker_registry.test.catalogue_case import CatalogueCase
from docker_registry.test.registry_case import LATEST, OTHER, Direct, index
from docker_registry.test.test_images import REPOSITORY as APP
from docker_registry.test.test_images import image_id, layer, payload
from docker_registry.test.test_races import Stepped
from docker_registry.workers.board import Board


class Counting:
    """A store that counts what it is asked, and fails where a test says so."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self.calls: Counter[str] = Counter()
        self.read: list[str] = []
        self.broken = ""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            if name == "get":
                self.read.append(args[0])
            if self.broken and self.broken in args[0]:
                raise StorageFailed(args[0])
            return method(*args, **kwargs)

        return call


class SearchTests(CatalogueCase):
    """The same questions to a catalogue that is complete, and to one that never is."""

    def both(self) -> list[Registry]:
        return [self.open(), self.complete()]

    def found(self, term: str, page: int = 1, count: int = 100) -> list[str]:
        """What both say."""
        first, second = ([name for name, _ in self.search(term, page, count, each)] for each in self.both())
        self.assertEqual(first, second, term)
        return second

    def test_order(self) -> None:
        """Names before descriptions; the whole name, its beginning, anything in it."""
        for name, said in (
            ("a/nginx", ""), ("nginx", ""), ("nginx/b", ""), ("nginx-a", "nginx"), ("web", "like nginx"), ("db", "")
        ):
            self.put(name, said)
        self.complete()
        self.assertEqual(
            [name for name, _ in self.search("nginx")], ["nginx", "nginx-a", "nginx/b", "a/nginx", "web"]
        )
        self.assertEqual(self.search("web"), [("web", "like nginx")])
        self.assertEqual(self.search("postgres"), [])

    def test_same_from_the_store(self) -> None:
        for name in ("a/nginx", "nginx", "nginx/b", "nginx-a", "db"):
            self.put(name, "said")
        self.assertEqual(self.found("nginx"), ["nginx", "nginx-a", "nginx/b", "a/nginx"])
        self.assertEqual(self.found(""), ["a/nginx", "db", "nginx", "nginx-a", "nginx/b"])
        for registry in self.both():
            self.assertEqual(self.search("db", registry=registry), [("db", "said")])

    def test_case(self) -> None:
        self.put("straße".replace("ß", "ss"), "Größe ist NICHT alles")
        self.complete()
        for term in ("GRÖSSE", "größe", "nicht", "STRASSE", " Alles "):
            self.assertEqual(len(self.search(term)), 1, term)

    def test_nothing_in_a_term_is_special(self) -> None:
        self.put("a_b", "100% sure")
        self.put("axb", "100 of 200")
        for term, expected in (("a_b", ["a_b"]), ("100%", ["a_b"]), ("%", ["a_b"]), ("_", ["a_b"]), ("a?b", []),
                               ("a*", []), ("'", []), ('"', []), ("\0", []), ("\udcff", []), ("100\\%", [])):
            self.complete()
            self.assertEqual([name for name, _ in self.search(term)], expected, term)
            self.search(term, registry=self.open())

    def test_pages(self) -> None:
        names = [f"app{number:02}" for number in range(10)]
        for name in names:
            self.put(name)
        for registry in self.both():
            for count in (1, 3, 10, 100):
                pages = [self.search("app", page, count, registry) for page in range(1, 13)]
                self.assertEqual([name for page in pages for name, _ in page], names)
                self.assertLessEqual(max(map(len, pages)), count)
            found = self.now(registry.catalogue.search("app", 99, 5))
            self.assertEqual((found.total, found.entries), (10, ()))
            self.assertEqual(self.now(registry.catalogue.search("app", 10**9, 100)).total, 10)

    def test_private(self) -> None:
        """Not found, by name or description; listed, as everybody may read it."""
        self.put("app", "secret things")
        self.put("app2", "things")
        for registry in self.both():
            self.now(registry.set_private(Repository("app"), True))
            self.assertEqual(self.search("app", registry=registry), [("app2", "things")])
            self.assertEqual(self.search("secret", registry=registry), [])
            self.assertEqual(self.names(registry), ["app", "app2"])
            self.now(registry.set_private(Repository("app"), False))
            self.assertEqual(len(self.search("app", registry=registry)), 2)

    def test_private_before_its_first_push(self) -> None:
        for registry in self.both():
            self.now(self.registry.set_private(OTHER, True))
            self.put("other", registry=registry)
            self.assertEqual(self.search("other", registry=registry), [])
            self.now(registry.manifests.delete_all(OTHER))
        self.assertEqual(self.names(), [])

    def test_two_at_a_time_go_through_the_store(self) -> None:
        """One that was given up makes room for the next."""
        self.put("app", "said")
        stepped = Stepped(self.storage, Random(1))
        registry = self.open(stepped)
        asked = [Deferred.fromCoroutine(registry.catalogue.search("app", 1, 10)) for _ in range(5)]
        self.assertEqual(len(stepped._waiting), SEARCHES)
        asked[0].cancel()
        self.failureResultOf(asked[0], CancelledError)
        asked[4].cancel()
        self.failureResultOf(asked[4], CancelledError)
        stepped.run()
        for each in asked[1:4]:
            self.assertEqual(self.successResultOf(each).total, 1)

    def test_unreadable_before_it_is_complete(self) -> None:
        """What cannot be said to be public is not shown."""
        storage = Counting(self.storage)
        for name in ("app", "app2"):
            self.put(name)
        storage.broken = "app2/_private"
        self.assertEqual(self.search("app", registry=self.open(storage)), [("app", "")])


class DescriptionTests(CatalogueCase):
    def said(self, name: str = "app") -> str:
        """The description of a repository, which is the same from the store."""
        (found,) = [said for each, said in self.search(name) if each == name]
        self.assertEqual(self.now(self.open().catalogue.search(name, 1, 1)).entries[0].description, found)
        return found

    def setUp(self) -> None:
        super().setUp()
        self.complete()

    def test_annotation_then_label(self) -> None:
        self.put("app", "annotation", label="label")
        self.assertEqual(self.said(), "annotation")
        self.put("app", label="label")
        self.assertEqual(self.said(), "label")
        self.put("app")
        self.assertEqual(self.said(), "")

    def test_only_latest_speaks(self) -> None:
        self.put("app", "one", Tag("1.0"))
        self.assertEqual(self.said(), "")
        self.put("app", "latest")
        self.put("app", "two", Tag("2.0"))
        self.assertEqual(self.said(), "latest")
        self.now(self.registry.manifests.untag(Repository("app"), LATEST))
        self.assertEqual(self.said(), "")

    def test_latest_is_deleted_by_digest(self) -> None:
        digest = self.put("app", "said")
        self.put("app", "other", Tag("other"))
        self.now(self.registry.manifests.delete(Repository("app"), digest))
        self.assertEqual(self.said(), "")

    def test_latest_besides_a_digest(self) -> None:
        """A push by digest that sets tags (distribution-spec after 1.1)."""
        app = Repository("app")
        digest = self.put("app", "said", Tag("1"))
        content = self.now(self.registry.manifests.read(digest)).content
        self.now(self.registry.manifests.put(app, digest, content, None, [Tag("2"), LATEST]))
        self.assertEqual(self.said(), "said")

    def test_index(self) -> None:
        """Its own annotation, that of its image for linux/amd64, the label of that."""
        app = Repository("app")
        arm, amd = self.put("app", "arm", Tag("arm")), self.put("app", label="amd", tag=Tag("amd"))
        contents = [self.now(self.registry.manifests.read(each)).content for each in (arm, amd)]
        listed = json.loads(index(*contents))
        for each, architecture in zip(listed["manifests"], ("arm64", "amd64"), strict=True):
            each["platform"] = {"os": "linux", "architecture": architecture}
        self.push(json.dumps(listed).encode(), LATEST, app)
        self.assertEqual(self.said(), "amd")
        self.push(json.dumps({**listed, "annotations": {KEY: "index"}}).encode(), LATEST, app)
        self.assertEqual(self.said(), "index")
        self.push(index(*contents), LATEST, app)
        self.assertEqual(self.said(), "arm")
        self.push(index(), LATEST, app)
        self.assertEqual(self.said(), "")

    def test_v1(self) -> None:
        """From the image's JSON, while it is pushed and when it is."""
        name, members = APP.name, {"config": {"Labels": {KEY: "by v1"}}}
        content = self.put_json("a", **members)
        self.tag("a")
        self.assertEqual(self.said(name), "by v1")
        self.put_layer("a", b"layer")
        self.confirm("a", payload(content, b"layer"))
        self.assertEqual(self.said(name), "by v1")
        self.put_json("b")
        self.tag("b")
        self.assertEqual(self.said(name), "")

    def test_one_line_that_is_not_too_long(self) -> None:
        for said, expected in (
            ("  two\nlines\t ", "two lines"),
            ("\x1b[31mred\x07\u202eder\x00", "[31mred der"),
            ("\ud800x", "x"),
            ("é" * 5000, "é" * LENGTH),
            ("\n" * 100_000 + "late", ""),
            (" ".join("ab" * 2000), " ".join("ab" * 250)[:-1] + "b"),
        ):
            self.put("app", label=said)
            self.assertEqual(self.said(), expected[:LENGTH].rstrip())
            self.assertLessEqual(len(self.said()), LENGTH)

    def test_labels_that_are_none(self) -> None:
        """Whatever clients push as a configuration."""
        app = Repository("app")
        for config in (b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"config": 1}', b'{"config": {"Labels": []}}',
                       json.dumps({"config": {"Labels": {KEY: 5}}}).encode(), b" " * (5 << 20) + b"{}"):
            self.put("app", "before")
            described = self.describe(config, app)
            described["mediaType"] = "application/vnd.oci.image.config.v1+json"
            manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                        "config": described, "layers": []}
            self.push(json.dumps(manifest).encode(), LATEST, app)
            self.assertEqual(self.said(), "", config[:50])

    def test_configuration_is_gone(self) -> None:
        """The push stands, and so does the reading of the store."""
        self.put("app", label="said")
        for key in [key for key in self.storage.objects if key.endswith("/data")]:
            self.successResultOf(self.storage.delete(key))
        self.assertEqual(self.search("app", registry=self.complete(self.open())), [("app", "")])


class RecordTests(CatalogueCase):
    """What is kept of a repository, and that every change comes in before it is answered."""

    def setUp(self) -> None:
        super().setUp()
        self.complete()

    def record(self, name: str = "app") -> tuple[int, int | None, float] | None:
        found = self.now(self.registry.catalogue.repository(Repository(name)))
        return None if found is None else (found.tags, found.size, found.pushed - 1_800_000_000)

    def test_at_once(self) -> None:
        self.assertEqual(self.names(), [])
        self.put("b")
        self.put("a")
        self.assertEqual(self.names(), ["a", "b"])
        self.assertEqual(self.search("a"), [("a", "")])
        self.now(self.registry.manifests.delete_all(Repository("a")))
        self.assertEqual((self.names(), self.search("a")), (["b"], []))
        self.put("a", "again")
        self.assertEqual((self.names(), self.search("a")), (["a", "b"], [("a", "again")]))

    def test_pages(self) -> None:
        names = ["a", "a-b", "a-b/c", "a.b", "a/b", "a0", "b"]
        for name in names:
            self.put(name)
        for after in ("", "a/", "a-", "zz", *names):
            for limit in (0, 1, 3, 100):
                found = [each.name for each in self.now(self.registry.catalogue.page(after, limit))]
                self.assertEqual(found, [name for name in sorted(names) if name > after][:limit], (after, limit))

    def test_tags_and_sizes(self) -> None:
        self.assertIsNone(self.record())
        start = self.clock.seconds() - 1_800_000_000
        self.put("app", "x", Tag("1"))
        self.clock.advance(5)
        self.put("app", "x", Tag("2"))
        self.assertEqual(self.record(), (2, 7, start + 5))
        self.push(self.image(b"layer", b"another", repository=Repository("app")), LATEST, Repository("app"))
        self.assertEqual(self.record(), (3, 14, start + 5))
        self.now(self.registry.manifests.untag(Repository("app"), LATEST))
        self.assertEqual(self.record(), (2, 7, start + 5))

    def test_size_of_an_index(self) -> None:
        """Everything in it, each blob once."""
        app = Repository("app")
        images = [self.image(b"common", each, repository=app) for each in (b"one", b"three")]
        for each in images:
            self.push(each, None, app)
        self.push(index(*images), LATEST, app)
        found = self.record()
        assert found is not None
        self.assertEqual(found[:2], (1, len(b"{}common" + b"one" + b"three")))

    def test_last_manifest(self) -> None:
        """As the store has it: what holds no manifest is not listed."""
        digest = self.put("app")
        self.now(self.registry.manifests.untag(Repository("app"), LATEST))
        self.assertEqual(self.names(), ["app"])
        self.now(self.registry.manifests.delete(Repository("app"), digest))
        self.assertEqual(self.names(), self.names(self.open()))
        self.assertEqual(self.names(), [])

    def test_v1(self) -> None:
        self.put_json("a")
        self.tag("a")
        self.assertEqual(self.names(), [APP.name])
        self.push_image("a")
        self.now(self.registry.tags.resolve(APP, LATEST))
        found = self.now(self.registry.catalogue.repository(APP))
        assert found is not None
        self.assertEqual(found.tags, 1)
        self.assertGreater(found.size or 0, 0)
        self.now(self.registry.image_tags.delete(APP, LATEST))
        self.now(self.registry.image_tags.delete_all(APP))
        self.assertEqual(self.names(), [])


class RoundTests(CatalogueCase):
    def test_answers_until_then(self) -> None:
        """From the first moment on: names from the store, descriptions of what is shown."""
        self.put("app", "said")
        other = self.open()
        self.assertFalse(other.catalogue.is_complete)
        self.assertEqual(self.names(other), ["app"])
        self.assertEqual(self.search("app", registry=other), [("app", "said")])

    def test_what_it_finds(self) -> None:
        """Everything that a push would have written down, of both protocols."""
        self.put("app", "said", Tag("1"))
        self.put("app", "said")
        self.put("b/c", label="label")
        self.push_image("a")
        self.tag("a")
        self.now(self.registry.set_private(Repository("b/c"), True))
        first, second = self.complete(), self.complete(self.open())
        for name in ("app", "b/c", APP.name):
            found = self.now(first.catalogue.repository(Repository(name)))
            self.assertIsNotNone(found)
            self.assertEqual(self.now(second.catalogue.repository(Repository(name))), found)
        self.assertEqual(self.search("", registry=second), [("app", "said"), (APP.name, "")])

    def test_old_store(self) -> None:
        """A tag of docker-registry 0.x, whose image nobody has asked for through v2."""
        image = image_id("old")
        content = json.dumps({"id": str(image), "config": {"Labels": {KEY: "as old as v1"}}}).encode()
        for key, value in (
            (layout.image_json(image), content),
            (layout.image_ancestry(image), json.dumps([str(image)]).encode()),
            (layout.image_old_layer(image), layer("old")),
            ("repositories/team/app/tag_latest", str(image).encode()),
        ):
            self.successResultOf(self.storage.put(key, value))
        pushed = self.clock.seconds()
        self.clock.advance(86400)
        for registry in (self.open(), self.complete()):
            self.assertEqual(self.names(registry), [APP.name])
            self.assertEqual(self.search("v1" if registry is self.registry else "app", registry=registry),
                             [(APP.name, "as old as v1")])
        self.assertPushed(pushed, None)
        self.now(self.registry.manifests.get(APP, LATEST))      # for v2 it is made now, and was pushed then
        self.assertPushed(pushed, 1)
        self.registry = self.complete(self.open())
        self.assertPushed(pushed, 1)

    def assertPushed(self, pushed: float, at_least: int | None) -> None:
        found = self.now(self.registry.catalogue.repository(APP))
        assert found is not None
        self.assertEqual((found.tags, found.pushed), (1, pushed))
        self.assertEqual((found.size or 0) >= at_least if at_least else found.size, bool(at_least) or None)

    def test_vanished(self) -> None:
        """What went while nobody looked, between, before and behind what is there."""
        self.cache = Path(self.mktemp())
        first = self.complete(self.open())
        for name in ("a", "b", "c", "d", "e"):
            self.put(name, "said", registry=first)
            self.put(name, "said", Tag("1"), registry=first)
        first.stop()
        for name in ("a", "c", "e"):
            self.successResultOf(self.storage.delete_tree(f"docker/registry/v2/repositories/{name}"))
        self.successResultOf(self.storage.delete_tree(layout.tag(Repository("b"), Tag("1"))))
        second = self.complete(self.open())
        self.assertEqual(self.names(second), ["b", "d"])
        self.assertEqual(self.search("said", registry=second), [("b", "said"), ("d", "said")])
        counts = [self.now(second.catalogue.repository(Repository(name))) for name in ("b", "d")]
        self.assertEqual([each.tags for each in counts if each], [1, 2])

    def test_changed_meanwhile(self) -> None:
        """What another registry moved is read again; of what it did not no more than the time is looked at."""
        self.cache = Path(self.mktemp())
        first = self.complete(self.open())
        for name in ("app", "other"):
            self.put(name, "before", Tag("1"), registry=first)
        first.stop()
        self.clock.advance(10)
        self.push(self.image(b"longer", repository=Repository("app")), Tag("1"), Repository("app"))
        storage = Counting(self.storage)
        second = self.complete(self.open(storage))
        sizes = [self.now(second.catalogue.repository(Repository(name))) for name in ("app", "other")]
        self.assertEqual([each.size for each in sizes if each], [len(b"{}longer"), len(b"{}layer")])
        self.assertIn(layout.tag_link(Repository("app"), Tag("1")), storage.read)
        self.assertNotIn(layout.tag_link(Repository("other"), Tag("1")), storage.read)

    def test_many(self) -> None:
        """More than a page of repositories, and more tags than a slice."""
        self.patch(rounds, "PAGE", 3)
        self.patch(rounds, "SLICE", 2)
        for number in range(10):
            self.put(f"app{number}")
        for number in range(7):
            self.put("app5", tag=Tag(f"t{number}"))
        registry = self.complete(self.open())
        self.assertEqual(self.names(registry), [f"app{number}" for number in range(10)])
        found = self.now(registry.catalogue.repository(Repository("app5")))
        self.assertEqual(found.tags if found else None, 8)

    def test_unreadable(self) -> None:
        """A link or a manifest that cannot be read hinders nothing."""
        self.put("a", "said")
        self.put("b", "said")
        digest = self.put("c", "said")
        self.successResultOf(self.storage.put(layout.tag_link(Repository("a"), LATEST), b"\xff\xff"))
        self.successResultOf(self.storage.put(layout.blob(digest), b"damaged"))
        registry = self.complete(self.open())
        self.assertEqual(self.names(registry), ["a", "b", "c"])
        self.assertEqual(self.search("", registry=registry)[:2], [("a", ""), ("b", "")])

    def test_a_repository_that_fails(self) -> None:
        """It is listed, and the others are found."""
        storage = Counting(self.storage)
        for name in ("a", "b", "c"):
            self.put(name, "said")
        storage.broken = "b/_manifests/tags"
        registry = self.complete(self.open(storage))
        self.assertEqual(self.names(registry), ["a", "b", "c"])
        self.assertEqual([name for name, _ in self.search("said", registry=registry)], ["a", "c"])
        storage.broken = ""
        self.clock.pump([1000] * 4)
        self.wait(registry)
        self.assertEqual(len(self.search("said", registry=registry)), 3)

    def test_the_store_fails(self) -> None:
        """Then nothing is complete; the next attempt is."""
        storage = Counting(self.storage)
        for number in range(20):
            self.put(f"app{number:02}")
        storage.broken = "_manifests/tags"
        registry = self.open(storage)
        registry.start()
        self.addCleanup(registry.stop)
        self.clock.pump([1] * 50)
        self.assertFalse(registry.catalogue.is_complete)
        self.assertEqual(len(self.names(registry)), 20)
        storage.broken = ""
        self.wait(registry)
        self.assertEqual(len(self.names(registry)), 20)

    def test_refresh(self) -> None:
        """What another machine pushed is there after the next round, and not before: listings cost nothing."""
        registry = self.complete(self.open(settings=Settings(catalogue_refresh=100.0)))
        self.put("app", "from elsewhere")
        self.assertEqual(self.names(registry), [])
        self.clock.pump([1] * 110)
        self.assertEqual(self.search("", registry=registry), [("app", "from elsewhere")])

    def test_once(self) -> None:
        """A store that nobody else writes to is read when the registry starts."""
        storage = Counting(self.storage)
        registry = self.complete(self.open(storage))
        self.clock.pump([1] * 10)
        storage.calls.clear()
        self.clock.pump([10] * 300)
        self.assertEqual(storage.calls, Counter())
        self.assertTrue(registry.catalogue.is_complete)

    def test_several_processes_that_share_none(self) -> None:
        """What each had in its memory would be its own alone: the store answers all of them."""
        shared = Shared(exclusion=Board.make(2))
        first, second = (
            Registry(self.storage, Direct(), self.clock, self.settings, self.clock.seconds, shared) for _ in range(2)
        )
        for each in (first, second):
            each.start()
            self.addCleanup(each.stop)
        self.clock.pump([1] * 20)
        self.put("app", "said", registry=first)
        for each in (first, second):
            self.assertFalse(each.catalogue.is_complete)
            self.assertEqual(self.names(each), ["app"])
            self.assertEqual(self.search("app", registry=each), [("app", "said")])

    def test_stopped_in_the_middle(self) -> None:
        for number in range(5):
            self.put(f"app{number}")
        registry = self.open()
        registry.start()
        registry.stop()
        self.clock.pump([1] * 100)
        self.assertFalse(registry.catalogue.is_complete)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_questions_do_not_grow_with_the_store(self) -> None:
        """However many repositories there are, the store is not asked."""
        storage = Counting(self.storage)
        registry = self.complete(self.open(storage))
        for size in (1, 10, 50):
            for number in range(size):
                self.put(f"app{number:02}", "said", registry=registry)
            storage.calls.clear()
            self.assertEqual(len(self.names(registry)), size)
            self.assertEqual(len(self.search("said", registry=registry)), size)
            self.assertEqual(storage.calls, Counter())
