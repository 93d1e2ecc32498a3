"""The rules of OCI, and protocol v1, over Swift by its own API: those in which a store's own ways could show. All of
them pass over the same Swift by its S3 API."""

from __future__ import annotations

from docker_registry.test.clients import test_conformance_blobs as blobs
from docker_registry.test.clients import test_conformance_manifests as manifests
from docker_registry.test.clients import test_v1_images as images
from docker_registry.test.clients import test_v1_replay as replay
from docker_registry.test.clients.test_conformance_s3 import Moto


class Container(Moto):
    storage = "container"


class ContainerEmptyTests(Container, blobs.EmptyTests):
    pass


class ContainerBlobTests(Container, blobs.Sha256Tests):
    pass


class ContainerTagTests(Container, manifests.TagTests):
    pass


class ContainerReplayTests(Container, replay.ReplayCase):
    def test_everybody(self) -> None:
        """Each of the old clients pulls what another has pushed."""
        self.everybody()


class ContainerBrokenPushTests(Container, images.BrokenPushTests):
    pass
