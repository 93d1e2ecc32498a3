"""What docker-registry 0.x left in Glance and in a directory beside it, opened where it lies by a daemon."""

from __future__ import annotations

import json
import subprocess
import sys

from docker_registry.digest import Digest
from docker_registry.registry.documents import DOCKER_MANIFEST, OCI_MANIFEST
from docker_registry.storage import layout
from docker_registry.test.clients import old_stores, test_old_stores
from docker_registry.test.clients.daemon import PATIENCE, Ours, free_port, until
from docker_registry.test.clients.old_glance import OldProject
from docker_registry.test.clients.test_old_stores import State, state_of
from docker_registry.test.clients.tools import need
from docker_registry.test.clients.v1_clients import Docker15
from docker_registry.test.clients.v1_images import contents, image
from docker_registry.test.process_case import SERVE
from docker_registry.test.servers.projects import Project, foreign

ANY = f"{OCI_MANIFEST}, {DOCKER_MANIFEST}"


class OldGlanceCase(test_old_stores.OldStoreCase):
    """:cvar files_aside: see `OldProject`."""

    kept = (*test_old_stores.OldStoreCase.kept, "old")
    files_aside = True

    def prepare(self) -> None:
        self.old = OldProject(Project(), self.files_aside)
        self.old.move(self.tree)
        self.old.clutter(self.tree, foreign())

    def opened(self) -> Ours:
        return Ours(self.tree.root, **self.old.project.options(storage_alternate="local"))

    def state(self) -> State:
        """All files of the directory that are not ours, and all images that were there before."""
        files = {path: about for path, about in state_of(self.tree.root).items() if about[2]}
        return {path: about for path, about in files.items() if not path.startswith("glance/")} | self.old.state()


class SeedReadingTests(OldGlanceCase, test_old_stores.SeedReadingTests):
    files_aside = False


class SeedWritingTests(OldGlanceCase, test_old_stores.SeedWritingTests):
    files_aside = False


class V091ReadingTests(OldGlanceCase):
    """What depends on the store; ``_files`` is in the alternate one."""

    name = "0.9.1"
    only_reads = True
    test_pulled_by_v1 = test_old_stores.ReadingTests.test_pulled_by_v1
    test_pulled_by_v2 = test_old_stores.ReadingTests.test_pulled_by_v2


class BadDaysTests(OldGlanceCase):
    """Glance is not there when the registry starts; and it is looked through beforehand."""

    def opened(self) -> Ours:
        self.options = self.old.project.options(storage_alternate="local")
        return Ours(self.tree.root, **self.options, os_glance_url=f"http://127.0.0.1:{free_port()}")

    def test_glance_down(self) -> None:
        """Nobody is told that what only Glance has is not there. What is pushed meanwhile is."""
        need(("skopeo", "skopeo"))
        name, tag, id = next(self.served())
        self.assertIn(tag, self.tags_of(name))
        self.assertEqual(self.get(f"/v1/repositories/{name}/tags/{tag}"), id)
        for path in (f"/v2/{name}/manifests/{tag}", f"/v1/images/{id}/json", f"/v1/images/{id}/ancestry",
                     f"/v1/images/{id}/layer", f"/v1/images/{old_stores.id_of('none')}/json"):
            status, headers, _ = self.registry.request("GET", path)
            self.assertEqual((status, headers["Retry-After"] is not None), (503, True), path)
        archive = self.pushed_by_v2("new/app", "1")
        self.assertEqual(self.pulled_by_v2("new/app", "1"), [archive])
        self.registry.stop()
        self.assertUnchanged()
        self.registry = Ours(self.tree.root, **self.options)
        self.assertEqual(contents(self.pulled_by_v2(name, tag)), self.tree.contents(id))
        self.assertEqual(self.pulled_by_v2("new/app", "1"), [archive])
        self.get(f"/v1/images/{old_stores.id_of('none')}/json", 404)
        self.assertTrue(until(lambda: self.in_glance("new/app", "1")))

    def in_glance(self, name: str, tag: str) -> bool:
        """Whether all that a tag stands for is."""
        _, headers, manifest = self.registry.request("GET", f"/v2/{name}/manifests/{tag}", headers={"Accept": ANY})
        document = json.loads(manifest)
        blobs = [document["config"], *document["layers"]]
        digests = [headers["Docker-Content-Digest"], *(each["digest"] for each in blobs)]
        keys = {layout.blob(Digest.parse(each)) for each in digests}
        return keys <= {each.get("docker_registry_key") for each in self.old.project.images()}

    def test_warm(self) -> None:
        """Waits until all was looked through; then no pull has to."""
        self.registry.stop()
        config = self.work / "warm.yml"
        config.write_text(json.dumps({"x": {**self.options, "storage_path": str(self.tree.root)}}))
        command = [sys.executable, "-c", SERVE, "warm", f"--config={config}", "--flavor=x"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 4, check=False)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn(f"{sum(map(len, self.tree.tags.values()))} tags are ready", done.stdout)
        self.registry = Ours(self.tree.root, **self.options)
        for name, tag, _ in self.served():
            self.get(f"/v2/{name}/manifests/{tag}")
        self.assertEqual([line for line in self.registry.daemon.output if "prepared " in line], [])
        self.assertUnchanged()


class NamesTests(OldGlanceCase):
    """Tags as names of images, whichever of two processes is asked."""

    def opened(self) -> Ours:
        options = self.old.project.options(storage_alternate="local", glance_names=True)
        counted = [f"tcp:{free_port()}:interface=127.0.0.1"]
        return Ours(self.tree.root, **options, workers=2, secret_key="k" * 64, admin_listen=counted)

    def called(self, name: str) -> list[str]:
        """What holds the images of ours and of 0.x that are called so."""
        found = self.old.project.images(name=f'in:"{name}"', container_format="docker")
        return [each.get("docker_registry_key", "0.x") for each in found]

    def test_names(self) -> None:
        """Pushed by v2, by v1, over what 0.x named; moved, and deleted."""
        need(("skopeo", "skopeo"))
        name, tag, _ = next(each for each in self.served() if self.called(f"{each[0]}:{each[1]}") == ["0.x"])
        self.pushed_by_v2(name, tag)
        self.assertCalled(name, tag)
        Docker15(self.registry.host).push("team/by-v1", "latest", (image(),))
        self.assertCalled("team/by-v1", "latest")
        self.pushed_by_v2("team/by-v1", "latest")
        self.assertCalled("team/by-v1", "latest")
        self.assertEqual(self.registry.request("DELETE", "/v2/team/by-v1/manifests/latest")[0], 202)
        self.assertTrue(until(lambda: not self.called("team/by-v1:latest")))

    def assertCalled(self, name: str, tag: str) -> None:
        """The manifest is, and nothing else."""
        _, headers, _ = self.registry.request("GET", f"/v2/{name}/manifests/{tag}", headers={"Accept": ANY})
        key = layout.blob(Digest.parse(headers["Docker-Content-Digest"]))
        self.assertTrue(until(lambda: self.called(f"{name}:{tag}") == [key]), (name, tag))
