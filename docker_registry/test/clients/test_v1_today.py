"""Today's clients pull what came through protocol v1, and what docker-registry 0.x left."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.test.clients import old_stores
from docker_registry.test.clients.daemon import Ours
from docker_registry.test.clients.engines import Client, Containerd, Docker, Podman, use
from docker_registry.test.clients.tools import need
from docker_registry.test.clients.v1_clients import Docker07, Docker15
from docker_registry.test.clients.v1_images import Contents, chain, contents

IMAGES = {
    "seed": ["base:latest", "team/app:latest", "team/short:latest"],
    "0.7": ["app:latest"],
    "0.9.1": ["a/b/c:latest", "mirrored:latest"],
}
"""One of each kind that there is in the trees."""

XZ = ("/base:latest", "/team/app:latest")
"""Images with a layer that is packed with xz."""


class Ground:
    """A registry over each of the old trees; to the last one images are pushed.

    :ivar pulled: what is to be pulled: its name with the registry's, and what is in it.
    """

    def __init__(self) -> None:
        self._work = Path(tempfile.mkdtemp(prefix="today-"))
        self._registries: list[Ours] = []
        atexit.register(self._leave)
        self.pulled: dict[str, Contents] = {}
        for name, served in IMAGES.items():
            tree = old_stores.TREES[name](self._work / name)
            registry = self._open(tree.root)
            for image in served:
                repository, _, tag = image.partition(":")
                self.pulled[f"{registry.host}/{image}"] = tree.contents(tree.tags[repository][tag])
        for kind in (Docker07, Docker15):
            pushed, name = chain(), f"pushed/{kind.__name__.lower()}"
            kind(registry.host).push(name, "latest", pushed)
            self.pulled[f"{registry.host}/{name}:latest"] = contents([each.archive for each in pushed])

    def _open(self, root: Path) -> Ours:
        registry = Ours(root)
        self._registries.append(registry)
        return registry

    def _leave(self) -> None:
        for registry in self._registries:
            registry.stop()
        shutil.rmtree(self._work, ignore_errors=True)


@cache
def ground() -> Ground:
    return Ground()


class TodayTests(SynchronousTestCase):
    timeout = 300

    def assertPulls(self, kind: type[Client], but: tuple[str, ...] = ()) -> None:
        """Each image; a container would see what was pushed, and nothing that was deleted in a layer above.

        :param but: ends of names that are left out.
        """
        client = use(self, kind)
        for name, expected in ground().pulled.items():
            if not name.endswith(but or "none"):
                client.pull(name)
                seen = contents([client.files(name)])
                self.assertEqual({path: seen.get(path) for path in expected}, expected, name)
                self.assertEqual({"etc/old", "etc/motd", "cache"} & seen.keys() - expected.keys(), set(), name)

    def test_docker(self) -> None:
        need(("dockerd", "docker.io"), ("docker", "docker.io"))
        self.assertPulls(Docker)

    def test_podman(self) -> None:
        need(("podman", "podman"))
        self.assertPulls(Podman)

    def test_containerd(self) -> None:
        need(("containerd", "containerd"), ("ctr", "containerd"))
        self.assertPulls(Containerd, but=XZ)                # which it does not know
