"""``docker search`` and ``podman search`` print names and descriptions, with and without the rest of protocol v1."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.test.clients.daemon import Ours
from docker_registry.test.clients.engines import Client, Docker, Podman
from docker_registry.test.clients.tools import need

SHOP = "The shop, as customers see it: größer & <better>"
LABEL = f'LABEL org.opencontainers.image.description="{SHOP}"'


class SearchTests(SynchronousTestCase):
    timeout = 300

    def setUp(self) -> None:
        need(("podman", "podman"), ("dockerd", "docker.io"), ("docker", "docker.io"))
        self.work = self.directory("search-")

    def directory(self, prefix: str) -> Path:
        made = Path(tempfile.mkdtemp(dir="/tmp", prefix=prefix))
        self.addCleanup(shutil.rmtree, made, ignore_errors=True)
        return made

    def open(self, **options: object) -> Ours:
        registry = Ours(self.work / "registry", **options)
        self.addCleanup(registry.stop)
        return registry

    def use(self, kind: type[Client]) -> Client:
        client = kind(self.directory("client-"))
        client.start()
        self.addCleanup(client.stop)
        return client

    def context(self) -> Path:
        context = self.work / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(f"FROM scratch\nCOPY Dockerfile /\n{LABEL}\n")
        return context

    def test_docker_and_podman(self) -> None:
        """What docker builds and pushes is found by both, by name and by description, after a kill as before it."""
        registry, docker, podman = self.open(v1=False), self.use(Docker), self.use(Podman)
        assert isinstance(docker, Docker)
        assert isinstance(podman, Podman)
        docker.build(self.context(), f"{registry.host}/team/shop")
        for name in ("team/shop", "shop", "shop-admin", "other"):
            docker.push(f"{registry.host}/team/shop", f"{registry.host}/{name}")
        status, _, content = registry.request("DELETE", "/v2/other/manifests/latest")
        self.assertEqual(status, 202, content)
        for _ in range(2):
            for client, host in ((docker, ""), (podman, f"{registry.host}/")):      # podman prints the host as well
                expected = [(f"{host}{name}", SHOP) for name in ("shop", "shop-admin", "team/shop")]
                self.assertEqual(client.search(f"{registry.host}/shop"), expected)
                self.assertEqual(client.search(f"{registry.host}/CUSTOMERS"), expected)
                self.assertEqual(client.search(f"{registry.host}/other"), [(f"{host}other", "")])
                self.assertEqual(client.search(f"{registry.host}/nothing"), [])
            registry.stop(9)
            registry.start()

    def test_private(self) -> None:
        """As protocol v1 has it said."""
        registry, docker = self.open(), self.use(Docker)
        assert isinstance(docker, Docker)
        docker.build(self.context(), f"{registry.host}/shop")
        docker.push(f"{registry.host}/shop", f"{registry.host}/shop")
        access = json.dumps({"access": "private"}).encode()
        status, _, content = registry.request("PUT", "/v1/repositories/shop/properties", access)
        self.assertEqual(status, 200, content)
        self.assertEqual(docker.search(f"{registry.host}/shop"), [])
        registry.request("PUT", "/v1/repositories/shop/properties", access.replace(b"private", b"public"))
        self.assertEqual(docker.search(f"{registry.host}/shop"), [("shop", SHOP)])
