"""A store that this registry wrote is served by Debian's docker-registry, and the reverse."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.registry.documents import OCI_INDEX, OCI_MANIFEST
from docker_registry.test.clients import images
from docker_registry.test.clients.daemon import Ours, Registry, Theirs
from docker_registry.test.clients.tools import need, run

ACCEPT = {"Accept": f"{OCI_MANIFEST}, {OCI_INDEX}"}


class InteroperationTests(SynchronousTestCase):
    timeout = 300

    def setUp(self) -> None:
        need(("docker-registry", "docker-registry"), ("skopeo", "skopeo"))
        self.work = Path(tempfile.mkdtemp(prefix="interop-"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        layout = images.make(self.work / "layout", large=3_000_000)
        self.layout = layout.root
        (self.work / "store").mkdir()

    def ours(self) -> Ours:
        return Ours(self.work / "store")

    def theirs(self) -> Theirs:
        return Theirs(self.work / "store")

    def copy(self, source: str, target: str) -> None:
        run(
            "skopeo", "copy", "--quiet", "--all", "--preserve-digests", "--src-tls-verify=false",
            "--dest-tls-verify=false", source, target,
        )

    def fill(self, registry: Registry) -> None:
        for name in ("image", "index"):
            for repository in (f"a/{name}", name):
                self.copy(f"oci:{self.layout}:{name}", f"docker://{registry.host}/{repository}:1")

    def assertServes(self, registry: Registry) -> None:
        """Catalogue, tags, and each thing byte for byte."""
        _, _, catalogue = registry.request("GET", "/v2/_catalog")
        self.assertEqual(json.loads(catalogue)["repositories"], ["a/image", "a/index", "image", "index"])
        for name in ("image", "index"):
            for repository in (f"a/{name}", name):
                _, _, tags = registry.request("GET", f"/v2/{repository}/tags/list")
                self.assertEqual(json.loads(tags), {"name": repository, "tags": ["1"]})
                target = Path(tempfile.mkdtemp(dir=self.work))
                self.copy(f"docker://{registry.host}/{repository}:1", f"oci:{target}:image")
                (found,) = json.loads((target / "index.json").read_text())["manifests"]
                status, headers, content = registry.request("GET", f"/v2/{repository}/manifests/1", headers=ACCEPT)
                self.assertEqual(status, 200)
                digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
                self.assertEqual(headers["Docker-Content-Digest"], digest)
                self.assertEqual(found["digest"], digest)
                for blob in (target / "blobs" / "sha256").iterdir():
                    self.assertEqual(blob.read_bytes(), (self.layout / "blobs" / "sha256" / blob.name).read_bytes())

    def test_ours_is_served_by_theirs(self) -> None:
        ours = self.ours()
        try:
            self.fill(ours)
            self.assertServes(ours)
        finally:
            ours.stop()
        theirs = self.theirs()
        self.addCleanup(theirs.stop)
        self.assertServes(theirs)

    def test_theirs_is_served_by_ours(self) -> None:
        theirs = self.theirs()
        try:
            self.fill(theirs)
        finally:
            theirs.stop()
        ours = self.ours()
        self.addCleanup(ours.stop)
        self.assertServes(ours)

    def test_theirs_goes_on_with_ours(self) -> None:
        """What ours deleted is gone for theirs, and the reverse; both can push on."""
        ours = self.ours()
        try:
            self.fill(ours)
            self.assertEqual(ours.request("DELETE", "/v2/a/image/manifests/1")[0], 202)
        finally:
            ours.stop()
        theirs = self.theirs()
        try:
            self.assertEqual(theirs.request("GET", "/v2/a/image/manifests/1", headers=ACCEPT)[0], 404)
            _, headers, _ = theirs.request("HEAD", "/v2/image/manifests/1", headers=ACCEPT)
            gone = headers["Docker-Content-Digest"]
            self.assertEqual(theirs.request("DELETE", f"/v2/image/manifests/{gone}")[0], 202)
            self.copy(f"oci:{self.layout}:image", f"docker://{theirs.host}/a/image:1")
        finally:
            theirs.stop()
        ours = self.ours()
        self.addCleanup(ours.stop)
        self.assertEqual(ours.request("GET", f"/v2/image/manifests/{gone}")[0], 404)
        self.copy(f"oci:{self.layout}:image", f"docker://{ours.host}/image:1")
        self.assertServes(ours)
