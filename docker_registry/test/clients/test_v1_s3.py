"""Protocol v1 over S3: what is pushed, broken off, and seen by the other protocol is the same as over a directory."""

from __future__ import annotations

from docker_registry.test.clients import test_v1_bridge as bridge
from docker_registry.test.clients import test_v1_images as images
from docker_registry.test.clients import test_v1_replay as replay
from docker_registry.test.clients.test_conformance_s3 import Moto


class MotoReplayTests(Moto, replay.ReplayCase):
    def test_everybody(self) -> None:
        """Each of the old clients pulls what another has pushed."""
        self.everybody()


class MotoBrokenPushTests(Moto, images.BrokenPushTests):
    pass


class MotoMovingTests(Moto, bridge.MovingTests):
    pass
