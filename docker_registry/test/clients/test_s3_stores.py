"""Buckets that others filled are opened where they are, by a daemon, with skopeo and the clients of old."""

from __future__ import annotations

import uuid

from docker_registry.test.clients import test_interop, test_old_stores
from docker_registry.test.clients.daemon import Ours, Theirs
from docker_registry.test.servers.stores import Store, moto, swift


class Bucket:
    """:cvar kind: of store."""

    kind = "moto"

    @property
    def store(self) -> Store:
        return {"moto": moto, "swift": swift}[self.kind]()


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

    kept = (*test_old_stores.OldStoreCase.kept, "prefix")

    def prepare(self) -> None:
        self.prefix = uuid.uuid4().hex
        self.store.fill(self.prefix, self.tree.root)

    def opened(self) -> Ours:
        return Ours(self.tree.root, **self.store.options(storage_path=f"/{self.prefix}"))

    def state(self) -> test_old_stores.State:
        found = self.store.objects(f"{self.prefix}/")
        return {key: (tag,) for key, tag in found.items() if not key.startswith(("docker/", "."))}


class SeedBucketReadingTests(OldBucketCase, test_old_stores.SeedReadingTests):
    pass


class SeedBucketWritingTests(OldBucketCase, test_old_stores.SeedWritingTests):
    pass


class V091BucketReadingTests(OldBucketCase):
    """What depends on the store; the rest is left to the other one."""

    kind = "swift"
    name = "0.9.1"
    only_reads = True
    test_listed = test_old_stores.ReadingTests.test_listed
    test_pulled_by_v1 = test_old_stores.ReadingTests.test_pulled_by_v1
    test_pulled_by_v2 = test_old_stores.ReadingTests.test_pulled_by_v2


class V091BucketWritingTests(OldBucketCase):
    kind = "swift"
    name = "0.9.1"
    test_pushed_to_by_v1 = test_old_stores.WritingTests.test_pushed_to_by_v1
    test_both_forms_are_one = test_old_stores.V091WritingTests.test_both_forms_are_one
