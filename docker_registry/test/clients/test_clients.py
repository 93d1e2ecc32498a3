"""Today's clients push and pull over a real port: each what another pushed, each twice, each a layer of 300 MB."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.test.clients import images
from docker_registry.test.clients.daemon import Ours
from docker_registry.test.clients.engines import Buildah, Client, Containerd, Docker, Podman, use
from docker_registry.test.clients.proxy import CuttingProxy
from docker_registry.test.clients.tools import need, run


class Ground:
    """A registry that has the first image; trial knows no set-up for a class."""

    def __init__(self) -> None:
        self.work = Path(tempfile.mkdtemp(prefix="clients-"))
        atexit.register(self.leave)
        images.make(self.work / "layout")
        self.registry = Ours(self.work / "registry")

    def leave(self) -> None:
        self.registry.stop()
        shutil.rmtree(self.work, ignore_errors=True)


@cache
def ground() -> Ground:
    """The one of all tests: making 300 MB takes a while."""
    return Ground()


class ClientTests(SynchronousTestCase):
    timeout = 900

    def setUp(self) -> None:
        need(("skopeo", "skopeo"))
        self.work, self.registry = ground().work, ground().registry
        self.copy("oci:{work}/layout:image", "docker://{host}/skopeo/image:1")

    def copy(self, source: str, target: str, *options: str) -> None:
        """skopeo's copy, byte for byte."""
        names = {"work": self.work, "host": self.registry.host}
        run(
            "skopeo", "copy", "--quiet", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false",
            *options, source.format(**names), target.format(**names),
        )

    def digest(self, name: str) -> str:
        """What the registry says that ``name`` (with its tag) is."""
        repository, tag = name.split(":")
        status, headers, _ = self.registry.request("HEAD", f"/v2/{repository}/manifests/{tag}")
        self.assertEqual(status, 200)
        return headers["Docker-Content-Digest"]

    def assertPulls(self, name: str) -> None:
        """skopeo pulls it, and what it gets has the digest that the registry names."""
        target = Path(tempfile.mkdtemp(dir=self.work))
        self.copy(f"docker://{{host}}/{name}", f"oci:{target}:image")
        (found,) = json.loads((target / "index.json").read_text())["manifests"]
        self.assertEqual(found["digest"], self.digest(name))
        shutil.rmtree(target)

    def assertWorks(self, client: Client, label: str) -> None:
        """It pulls what skopeo pushed, pushes it, pushes it again without a byte, and skopeo pulls that."""
        home = self.registry.host
        client.pull(f"{home}/skopeo/image:1")
        client.push(f"{home}/skopeo/image:1", f"{home}/{label}/image:1")
        self.assertPulls(f"{label}/image:1")
        mark, digest = self.registry.mark(), self.digest(f"{label}/image:1")
        client.push(f"{home}/skopeo/image:1", f"{home}/{label}/image:1")
        again = self.registry.requests(mark)
        self.assertTrue(again)
        self.assertEqual([each for each in again if each[0] in ("PATCH", "POST")], [])
        self.assertEqual(self.digest(f"{label}/image:1"), digest)
        self.assertEqual([each for each in self.registry.requests() if each[2] >= 500], [])

    def test_skopeo(self) -> None:
        mark = self.registry.mark()
        self.assertPulls("skopeo/image:1")
        self.copy("oci:{work}/layout:image", "docker://{host}/skopeo/image:1")
        again = self.registry.requests(mark)
        self.assertEqual([each for each in again if each[0] in ("PATCH", "POST")], [])

    def test_skopeo_index(self) -> None:
        """An image for several platforms, all of them."""
        self.copy("oci:{work}/layout:index", "docker://{host}/skopeo/index:1", "--all")
        status, headers, content = self.registry.request("GET", "/v2/skopeo/index/manifests/1")
        self.assertEqual((status, len(json.loads(content)["manifests"])), (200, 2))
        target = self.work / "index"
        self.copy("docker://{host}/skopeo/index:1", "oci:{work}/index:index", "--all")
        (found,) = json.loads((target / "index.json").read_text())["manifests"]
        self.assertEqual(found["digest"], headers["Docker-Content-Digest"])

    def test_podman(self) -> None:
        need(("podman", "podman"))
        self.assertWorks(use(self, Podman), "podman")

    def test_buildah(self) -> None:
        need(("buildah", "buildah"))
        self.assertWorks(use(self, Buildah), "buildah")

    def test_containerd(self) -> None:
        need(("containerd", "containerd"), ("ctr", "containerd"))
        self.assertWorks(use(self, Containerd), "containerd")
        self.assertEqual(self.digest("containerd/image:1"), self.digest("skopeo/image:1"))

    def test_docker(self) -> None:
        need(("dockerd", "docker.io"), ("docker", "docker.io"))
        self.assertWorks(use(self, Docker), "docker")

    def test_docker_resumes_a_cut_pull(self) -> None:
        need(("dockerd", "docker.io"), ("docker", "docker.io"))
        with CuttingProxy(self.registry.port, after=20_000_000) as proxy:
            client = use(self, Docker)
            mark = self.registry.mark()
            client.pull(f"127.0.0.1:{proxy.port}/skopeo/image:1")
            self.assertTrue(proxy.has_cut)
        statuses = [status for _, target, status in self.registry.requests(mark) if "/blobs/" in target]
        self.assertIn(206, statuses)

    def test_everybody_pulls_what_docker_and_podman_push(self) -> None:
        need(("podman", "podman"), ("dockerd", "docker.io"), ("ctr", "containerd"))
        layout = images.Layout(self.work / "small")
        layout.name(image=layout.add_image(b"small"))
        self.copy("oci:{work}/small:image", "docker://{host}/small:1")
        clients = {kind.__name__.lower(): use(self, kind) for kind in (Docker, Podman, Buildah, Containerd)}
        host = self.registry.host
        for name, client in clients.items():
            client.pull(f"{host}/small:1")
            client.push(f"{host}/small:1", f"{host}/{name}/small:1")
        for name in clients:
            for client in clients.values():
                client.pull(f"{host}/{name}/small:1")
            self.assertPulls(f"{name}/small:1")


