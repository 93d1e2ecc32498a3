"""The rules of OCI hold whatever keeps the bytes: the same tests over S3."""

from __future__ import annotations

import os
from unittest import SkipTest

from docker_registry.test.clients import test_conformance_blobs as blobs
from docker_registry.test.clients import test_conformance_manifests as manifests
from docker_registry.test.clients.conformance import Conformance


class Moto(Conformance):
    storage = "moto"

    def setUp(self) -> None:
        if "REGISTRY_URL" in os.environ:
            raise SkipTest("another registry chooses its storage itself")
        super().setUp()


class Swift(Moto):
    storage = "swift"


class MotoEmptyTests(Moto, blobs.EmptyTests):
    pass


class MotoBlobTests(Moto, blobs.Sha256Tests):
    pass


class MotoGroupTests(Moto, manifests.GroupTests):
    pass


class MotoSha512GroupTests(Moto, manifests.Sha512GroupTests):
    """To a store the two are keys of other names: one of the stores has these."""


class MotoRefusedTests(Moto, manifests.RefusedTests):
    pass


class MotoTagTests(Moto, manifests.TagTests):
    pass


class SwiftEmptyTests(Swift, blobs.EmptyTests):
    pass


class SwiftBlobTests(Swift, blobs.Sha256Tests):
    pass


class SwiftGroupTests(Swift, manifests.GroupTests):
    pass


class SwiftTagTests(Swift, manifests.TagTests):
    pass
