"""docker 0.7, 1.5 and 1.9 push and pull through protocol v1, and today's clients do the same through v2."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from itertools import chain as chain_of
from pathlib import Path
from typing import Any

from docker_registry.test.clients.conformance import rows
from docker_registry.test.clients.images import Layout
from docker_registry.test.clients.tools import need, run
from docker_registry.test.clients.v1_case import V1Case
from docker_registry.test.clients.v1_clients import Docker, Docker07, Docker15, Docker19, Failed
from docker_registry.test.clients.v1_images import Chain, chain, contents, image, unpacked
from docker_registry.test.clients.wire import digest_of

KINDS = {"docker_0_7": Docker07, "docker_1_5": Docker15, "docker_1_9": Docker19}
PINGS = {
    Docker07: [("GET", "/v1/_ping", 200)],
    Docker15: [("GET", "/v2/", 404), ("GET", "/v1/_ping", 200)],
    Docker19: [("GET", "/v2/", 200), ("GET", "/v1/_ping", 200)],
}
Calls = list[tuple[str, str, int]]


class ReplayCase(V1Case):
    timeout = 120

    def docker(self, kind: type[Docker]) -> Docker:
        return kind(self.host)

    def pushed_by(self, kind: type[Docker], name: str | None = None) -> Chain:
        pushed = chain()
        self.docker(kind).push(name or self.name, "latest", pushed)
        return pushed

    def assertPulls(self, pushed: Chain, name: str | None = None) -> None:
        """Each client gets what was pushed: ids, JSON to the byte, files."""
        for kind in KINDS.values():
            pulled = self.docker(kind).pull(name or self.name, "latest")
            self.assertEqual([(each.id, each.json) for each in pulled], [(each.id, each.json) for each in pushed])
            self.assertEqual(contents([each.archive for each in pulled]), contents([each.archive for each in pushed]))

    def everybody(self) -> None:
        """Each client gets what any of them has pushed."""
        for name, kind in KINDS.items():
            repository = f"{self.name}/{name}"
            self.assertPulls(self.pushed_by(kind, repository), repository)

    def directory(self) -> Path:
        directory = Path(tempfile.mkdtemp(prefix="v1-"))
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        return directory

    def skopeo(self, source: str, target: str, *options: str) -> None:
        need(("skopeo", "skopeo"))
        run("skopeo", "copy", "--quiet", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false",
            *options, source, target)


class CallTests(ReplayCase):
    """What is asked, and what is answered, in that order."""

    def of_push(self, images: Iterable[str], kind: type[Docker]) -> Calls:
        below = f"/v1/repositories/{self.name}"
        ids = list(images)
        calls = [*PINGS[kind], ("PUT", f"{below}/", 200)]
        probes = [[("GET", f"/v1/images/{each}/json", 404)] for each in ids]
        pushes = [
            [("PUT", f"/v1/images/{each}/{what}", 200) for what in ("json", "layer", "checksum")] for each in ids
        ]
        tag = ("PUT", f"{below}/tags/latest", 200)
        if kind is Docker07:
            for probe, push in zip(probes, pushes, strict=True):
                calls += [*probe, *push, tag]
        else:
            calls += [*chain_of(*probes, *pushes), tag]
        return [*calls, ("PUT", f"{below}/images", 204)]

    def assertAsked(self, client: Docker, calls: Calls) -> None:
        """docker since 1.5 looks for five images at a time, in no order."""
        self.assertEqual(sorted(client.asked), sorted(calls))
        put, asked = ([each for each in made if each[0] == "PUT"] for made in (calls, client.asked))
        self.assertEqual(asked, put)

    @rows(KINDS)
    def first_push(self, kind: type[Docker]) -> None:
        pushed, client = chain(), self.docker(kind)
        client.push(self.name, "latest", pushed)
        self.assertAsked(client, self.of_push([each.id for each in pushed], kind))
        self.assertPulls(pushed)

    @rows(KINDS)
    def push_again(self, kind: type[Docker]) -> None:
        """Nothing of it is sent; with another tag as well."""
        pushed = self.pushed_by(kind)
        for tag in ("latest", "other"):
            client = self.docker(kind)
            client.push(self.name, tag, pushed)
            self.assertEqual([each for each in client.asked if "/images/" in each[1] and each[0] == "PUT"], [])
            self.assertEqual(len([each for each in client.asked if each[2] == 200 and each[1].endswith("/json")]), 4)
        self.call("GET", self.below("tags")).says({"latest": pushed[-1].id, "other": pushed[-1].id})

    @rows(KINDS)
    def push_on_top(self, kind: type[Docker]) -> None:
        """Of a longer chain only what is new is sent."""
        pushed = self.pushed_by(kind)
        longer = (*pushed, image(pushed[-1].id))
        client = self.docker(kind)
        client.push(self.name, "latest", longer)
        sent = [each[1] for each in client.asked if each[1].endswith("/layer")]
        self.assertEqual(sent, [f"/v1/images/{longer[-1].id}/layer"])
        self.assertPulls(longer)

    @rows(KINDS)
    def pull(self, kind: type[Docker]) -> None:
        pushed = self.pushed_by(Docker15)
        client = self.docker(kind)
        client.pull(self.name, "latest")
        below = f"/v1/repositories/{self.name}"
        calls = [*PINGS[kind], ("GET", f"{below}/images", 200), ("GET", f"{below}/tags", 200)]
        calls.append(("GET", f"/v1/images/{pushed[-1].id}/ancestry", 200))
        for each in pushed:
            calls += [("GET", f"/v1/images/{each.id}/{what}", 200) for what in ("json", "layer")]
        self.assertEqual(client.asked, calls)

    @rows(KINDS)
    def absent(self, kind: type[Docker]) -> None:
        """In the words that this Docker printed."""
        with self.assertRaisesRegex(Failed, "Status 404 trying to pull repository"):
            self.docker(kind).pull(self.name, "latest")
        self.pushed_by(kind)
        with self.assertRaisesRegex(Failed, "Tag other not found in repository"):
            self.docker(kind).pull(self.name, "other")

    @rows(KINDS)
    def library(self, kind: type[Docker]) -> None:
        solo = self.name.partition("/")[0]
        self.assertPulls(self.pushed_by(kind, solo), solo)
        self.call("GET", self.below("tags", solo)).expect(200)

    def test_goes_on_with_a_cut_layer(self) -> None:
        """docker since 0.12 asks for one byte more than there is."""
        pushed = self.pushed_by(Docker15)
        client = Docker15(self.host, cut_at=50_000)
        self.assertEqual([each.archive for each in client.pull(self.name, "latest")], [each.archive for each in pushed])
        self.assertEqual(len([each for each in client.asked if each[2] == 206]), 2)

    @rows(KINDS)
    def goes_on_with_a_cut_push(self, kind: type[Docker]) -> None:
        """What was lost in the middle of a layer is pushed again from the beginning."""
        pushed = chain()
        self.put_image(pushed[0]).says(True)
        self.cut_layer(pushed[0], b"half")
        client = self.docker(kind)
        client.push(self.name, "latest", pushed)
        self.assertIn(("GET", f"/v1/images/{pushed[0].id}/json", 400), client.asked)
        self.assertPulls(pushed)


class BothProtocolTests(ReplayCase):
    def pulled_through_v2(self, tag: str) -> tuple[dict[str, Any], list[bytes]]:
        """The configuration that skopeo gets, and the layers without their compression."""
        target = self.directory()
        self.skopeo(f"docker://{self.host}/{self.name}:{tag}", f"dir:{target}")
        manifest = json.loads((target / "manifest.json").read_text())
        descriptors = manifest["config"], *manifest["layers"]
        config, *layers = [(target / each["digest"].partition(":")[2]).read_bytes() for each in descriptors]
        return json.loads(config), [unpacked(each) for each in layers]

    @rows(KINDS)
    def v1_then_v2(self, kind: type[Docker]) -> None:
        """skopeo copies it, and what a container sees is the same."""
        pushed = self.pushed_by(kind)
        config, archives = self.pulled_through_v2("latest")
        self.assertEqual(contents(archives), contents([each.archive for each in pushed]))
        self.assertEqual(config["rootfs"], {"type": "layers", "diff_ids": [digest_of(each) for each in archives]})
        self.assertEqual(config["config"], json.loads(pushed[-1].json)["config"])
        history = config["history"]
        self.assertEqual([each["created_by"] for each in history], [f"/bin/sh -c step {n}" for n in range(4)])
        self.assertEqual([each.get("empty_layer", False) for each in history], [False, True, False, False])
        self.assertPulls(pushed)

    def push_with_skopeo(self, *archives: bytes) -> None:
        directory = self.directory()
        layout = Layout(directory / "layout")
        layout.name(image=layout.add_stack(*archives))
        self.skopeo(f"oci:{layout.root}:image", f"docker://{self.host}/{self.name}:latest")

    @rows(KINDS)
    def v2_then_v1(self, kind: type[Docker]) -> None:
        """Ids, JSON and layers hang together, and a container sees the same."""
        archives = [each.archive for each in chain() if each.archive]
        self.push_with_skopeo(*archives)
        pulled = self.docker(kind).pull(self.name, "latest")
        self.assertEqual(contents([each.archive for each in pulled]), contents(archives))
        parents = [json.loads(each.json).get("parent") for each in pulled]
        self.assertEqual(parents, [None, *(each.id for each in pulled[:-1])])
        self.assertEqual(json.loads(pulled[-1].json)["config"], {"Cmd": ["/file0"]})
        self.assertPulls(pulled)

    @rows(KINDS)
    def v2_then_v1_on_top(self, kind: type[Docker]) -> None:
        """What was pulled through v1 from a v2 image is pushed with one image more, and only that is sent."""
        archives = [each.archive for each in chain() if each.archive]
        self.push_with_skopeo(*archives)
        pulled = self.docker(kind).pull(self.name, "latest")
        longer = (*pulled, image(pulled[-1].id))
        client = self.docker(kind)
        client.push(self.name, "longer", longer)
        self.assertEqual(len([each for each in client.asked if each[1].endswith("/layer")]), 1)
        self.assertEqual(contents(self.pulled_through_v2("longer")[1]), contents([*archives, longer[-1].archive]))

    def test_index(self) -> None:
        """Clients of v1 get what is for linux/amd64."""
        layout = Layout(self.directory() / "layout")
        files = {"arm64": b"arm", "amd64": b"amd"}
        made = [layout.add_image(content, architecture=name) for name, content in files.items()]
        layout.name(index=layout.add_index(*made))
        self.skopeo(f"oci:{layout.root}:index", f"docker://{self.host}/{self.name}:latest", "--all")
        for kind in KINDS.values():
            (pulled,) = self.docker(kind).pull(self.name, "latest")
            self.assertEqual(contents([pulled.archive])["file0"][3], b"amd")
