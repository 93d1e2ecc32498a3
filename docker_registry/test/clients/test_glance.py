"""The rules of OCI and clients of both protocols over a daemon whose content is in Glance."""

from __future__ import annotations

from docker_registry.test.clients import test_conformance_blobs as blobs
from docker_registry.test.clients import test_conformance_manifests as manifests
from docker_registry.test.clients import test_v1_bridge as bridge
from docker_registry.test.clients import test_v1_images as v1_images
from docker_registry.test.clients import test_v1_replay as replay
from docker_registry.test.clients.test_conformance_s3 import Moto


class Glance(Moto):
    storage = "glance"


class GlanceEmptyTests(Glance, blobs.EmptyTests):
    pass


class GlanceBlobTests(Glance, blobs.Sha256Tests):
    pass


class GlanceGroupTests(Glance, manifests.GroupTests):
    pass


class GlanceTagTests(Glance, manifests.TagTests):
    pass


class GlanceReplayTests(Glance, replay.ReplayCase):
    def test_everybody(self) -> None:
        """Each of the old clients pulls what another has pushed."""
        self.everybody()


class GlanceBrokenPushTests(Glance, v1_images.BrokenPushTests):
    pass


class GlanceMovingTests(Glance, bridge.MovingTests):
    pass
