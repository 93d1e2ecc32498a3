"""Buckets that others filled are opened where they are, by a daemon, with skopeo and the clients of old."""

from __future__ import annotations

import uuid

from docker_registry.test.clients import test_interop, test_old_stores
from docker_registry.test.clients.daemon import Ours, Theirs
from docker_registry.test.servers.stores import STORES, Store


class Bucket:
    """:cvar kind: of store."""

    kind = "moto"

    @property
    def store(self) -> Store:
        return STORES[self.kind]()


class MotoInteroperationTests(Bucket, test_interop.InteroperationTests):
    """With registry:2 over the same prefix."""

    def setUp(self) -> None:
        super().setUp()
        self.prefix = f"/{uuid.uuid4().hex}"

    def ours(self) -> Ours:
        return Ours(self.work / "store", **self.store.options(storage_path=self.prefix))

    def theirs(self) -> Theirs:
        return Theirs(self.work / "store", self.store.theirs(self.prefix))


class SwiftInteroperationTests(MotoInteroperationTests):
    kind = "swift"


class OldBucketCase(Bucket, test_old_stores.OldStoreCase):
    """What docker-registry 0.x left in a bucket."""

    def opened(self) -> Ours:
        prefix = uuid.uuid4().hex
        self.below = f"{prefix}/"
        self.store.fill(prefix, self.tree.root)
        return Ours(self.tree.root, **self.store.options(storage_path=f"/{prefix}"))

    def state(self) -> test_old_stores.State:
        found = self.store.objects(self.below)
        return {key: (0, 0, tag) for key, tag in found.items() if not key.startswith(("docker/", "."))}


class SeedBucketTests(OldBucketCase, test_old_stores.SeedTests):
    pass


class V091BucketTests(OldBucketCase, test_old_stores.V091Tests):
    kind = "swift"
    # What does not depend on the store is left to the other one.
    test_found = test_deleted = test_pushed_to_by_v2 = test_a_push_that_was_cut_then_goes_on_now = None  # type: ignore[assignment]
