"""Tags that are lost, made again of what their manifests are called."""

from __future__ import annotations

from twisted.internet.defer import fail

from docker_registry.digest import Digest
from docker_registry.errors import ManifestUnknown, OutOfService
from docker_registry.names import Repository, Tag
from docker_registry.registry.naming import Naming
from docker_registry.registry.registry import Registry
from docker_registry.registry.restoring import DEEPEST, Restoring
from docker_registry.storage import layout
from docker_registry.test.registry_case import OTHER, RegistryCase, index
from docker_registry.test.test_naming import Names

APP = Repository("team/app")
ONE = Tag("1.0")


class RestoringTests(RegistryCase):
    def setUp(self) -> None:
        super().setUp()
        self.names = Names()
        self.registry.events.subscribe(Naming(self.names, self.registry.tags, self.clock).hear)

    def lose(self, *repositories: Repository) -> Registry:
        """What the store knows of repositories, when all names are set; a registry that begins anew."""
        self.clock.advance(0)
        for repository in repositories:
            for tree in (layout.tags(repository), layout.manifests(repository), layout.layers(repository)):
                self.successResultOf(self.storage.delete_tree(tree))
        self.registry = self.open()
        return self.registry

    def restore(self) -> dict[str, str]:
        """Why some stay lost, by their names."""
        restoring = Restoring(self.storage, self.names, self.registry)
        missing = self.now(restoring.missing())
        return {f"{each.repository}:{each.tag}": self.now(restoring.restore(each)) for each in missing}

    def test_images(self) -> None:
        """The repository has them again with all their blobs; what has its tag is left alone."""
        one = self.push(self.image(b"layer", repository=APP), ONE, APP)
        kept = self.push(self.image(b"kept", repository=OTHER), ONE, OTHER)
        registry = self.lose(APP)
        self.fails(registry.manifests.get(APP, ONE), ManifestUnknown)
        self.assertEqual(self.restore(), {"team/app:1.0": ""})
        self.assertEqual(self.now(registry.manifests.get(APP, ONE)).digest, one)
        self.assertEqual(self.now(registry.blobs.size(APP, Digest.of(b"layer"))), 5)
        self.assertEqual(self.now(registry.catalogue.page("", 9)), [OTHER, APP])
        self.assertEqual(self.now(registry.tags.linked(OTHER, ONE)), kept)
        self.assertEqual(self.restore(), {})

    def test_index(self) -> None:
        """With what it is made of, though only the index has a name."""
        images = [self.image(each, repository=APP) for each in (b"amd", b"arm")]
        for each in images:
            self.push(each, None, APP)
        whole = self.push(index(*images), ONE, APP)
        registry = self.lose(APP)
        self.assertEqual(self.restore(), {"team/app:1.0": ""})
        self.assertEqual(self.now(registry.manifests.get(APP, ONE)).digest, whole)
        for each in images:
            self.assertEqual(self.now(registry.manifests.get(APP, Digest.of(each))).content, each)

    def test_what_is_lost_for_good(self) -> None:
        image = self.image(b"layer", repository=APP)
        self.push(image, ONE, APP)
        self.push(self.image(b"other", repository=APP), Tag("2.0"), APP)
        self.lose(APP)
        self.successResultOf(self.storage.delete(layout.blob(Digest.of(b"layer"))))
        gone = Digest.of(b"gone")
        self.names.called["team/app:3.0"], self.names.groups["team/app:3.0"] = layout.blob(gone), str(APP)
        self.assertEqual(self.restore(), {
            "team/app:1.0": f"what it refers to is lost: {Digest.of(b'layer')}",
            "team/app:2.0": "",
            "team/app:3.0": f"the bytes of {gone} are lost",
        })

    def test_out_of_service(self) -> None:
        """What somebody has deactivated keeps no other from its tag."""
        one, two = (self.push(self.image(each, repository=APP), Tag(each.decode()), APP) for each in (b"1.0", b"2.0"))
        registry = self.lose(APP)
        get = self.storage.get
        self.patch(self.storage, "get", lambda key: fail(OutOfService("why")) if key == layout.blob(one) else get(key))
        self.assertEqual(self.restore(), {"team/app:1.0": "why", "team/app:2.0": ""})
        self.assertEqual(self.now(registry.tags.linked(APP, Tag("2.0"))), two)

    def test_names_that_are_none_of_tags(self) -> None:
        """People may call images what they like."""
        key = layout.blob(self.push(self.image(b"layer", repository=APP), ONE, APP))
        self.lose(APP)
        self.names.called.clear()
        for name, group, of in (
            ("ubuntu", "ubuntu", key), ("team/app:1.0", "team/other", key), ("Team/App:1.0", "Team/App", key),
            ("team/app:.", "team/app", key), ("team/app:1.0 ", "team/app", key), (":", "", key),
            ("team/app:2.0", "team/app", "images/x/json"), ("team/app:3.0", "team/app", ""),
        ):
            self.names.called[name], self.names.groups[name] = of, group
        self.assertEqual(self.restore(), {})

    def test_indexes_of_indexes(self) -> None:
        """Deeper than anybody makes them: nobody waits for the end."""
        top = self.image(b"layer", repository=APP)
        self.push(top, None, APP)
        for _ in range(DEEPEST + 1):
            top = index(top)
            self.push(top, None, APP)
        self.push(top, ONE, APP)
        self.lose(APP)
        self.assertEqual(self.restore(), {"team/app:1.0": f"more than {DEEPEST} indexes lead to each other"})
