"""Containers that others filled are opened where they are, by a daemon, with skopeo and the clients of old."""

from __future__ import annotations

import uuid

from docker_registry.test.clients import test_interop, test_old_stores
from docker_registry.test.clients.daemon import Ours, Theirs
from docker_registry.test.servers.stores import container


class InteroperationTests(test_interop.InteroperationTests):
    """With registry:2 over the same prefix, by the section of its configuration."""

    def setUp(self) -> None:
        super().setUp()
        self.section = container().theirs(uuid.uuid4().hex)

    def ours(self) -> Ours:
        return Ours(self.work / "store", storage="swift", storage_path=None, **self.section)

    def theirs(self) -> Theirs:
        return Theirs(self.work / "store", self.section)


class OldContainerCase(test_old_stores.OldStoreCase):
    """What docker-registry 0.x left in a container."""

    kept = (*test_old_stores.OldStoreCase.kept, "prefix")

    def prepare(self) -> None:
        self.prefix = uuid.uuid4().hex
        container().fill(self.prefix, self.tree.root)

    def opened(self) -> Ours:
        return Ours(self.tree.root, **container().options(storage_path=f"/{self.prefix}"))

    def state(self) -> test_old_stores.State:
        found = container().objects(f"{self.prefix}/")
        return {key: (tag,) for key, tag in found.items() if not key.startswith(("docker/", "."))}


class SeedContainerReadingTests(OldContainerCase):
    """What depends on the store; the rest is left to S3."""

    only_reads = True
    test_listed = test_old_stores.ReadingTests.test_listed
    test_pulled_by_v1 = test_old_stores.ReadingTests.test_pulled_by_v1
    test_pulled_by_v2 = test_old_stores.ReadingTests.test_pulled_by_v2


class V091ContainerWritingTests(OldContainerCase):
    name = "0.9.1"
    test_pushed_to_by_v1 = test_old_stores.WritingTests.test_pushed_to_by_v1
    test_both_forms_are_one = test_old_stores.V091WritingTests.test_both_forms_are_one
