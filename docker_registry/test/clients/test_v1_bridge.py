"""What one protocol pushes, sets and deletes is what the other shows, at once."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docker_registry.registry.documents import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX
from docker_registry.test.clients import v1_wire
from docker_registry.test.clients.conformance import rows
from docker_registry.test.clients.daemon import Ours, until
from docker_registry.test.clients.pushing import ACCEPT, Repository
from docker_registry.test.clients.v1_case import V1Case
from docker_registry.test.clients.v1_images import Image, image, unpacked
from docker_registry.test.clients.wire import Answer, Wire, digest_of
from docker_registry.test.layer_case import member, tar

NO_TAG = "Tag not found"
ARCHIVE = tar([member("a", b"1")])


class BridgeCase(V1Case):
    def v2(self, method: str, below: str, name: str | None = None) -> Answer:
        return self.wire(method, f"/v2/{name or self.name}/{below}", None, *ACCEPT)

    def digest(self, tag: str = "latest", name: str | None = None) -> str:
        return self.v2("HEAD", f"manifests/{tag}", name).expect(200)["Docker-Content-Digest"]

    def config(self, tag: str = "latest") -> Any:
        manifest = self.v2("GET", f"manifests/{tag}").expect(200).json
        return self.v2("GET", f"blobs/{manifest['config']['digest']}").expect(200).json

    def tagged(self, tag: str = "latest", **more: Any) -> Image:
        made = self.pushed(**more)
        self.put_tag(tag, made).says(True)
        return made

    def v1_tags(self) -> dict[str, str]:
        tags: dict[str, str] = self.call("GET", self.below("tags")).expect(200).json
        return tags


class FromV1Tests(BridgeCase):
    def test_manifest(self) -> None:
        """The layers are the very bytes that were pushed, the lowest first."""
        first, second = image(author="moby", comment="root"), image()
        second = image(first.id, container_config={"Cmd": ["/bin/sh", "-c", "two"]}, config={"Env": ["A=b"]})
        layers = [self.push(first), self.push(second)]
        self.put_tag("latest", second).says(True)
        answer = self.v2("GET", "manifests/latest").expect(200, Content_Type=DOCKER_MANIFEST)
        manifest = answer.json
        self.assertEqual([each["digest"] for each in manifest["layers"]], [digest_of(each) for each in layers])
        self.assertEqual([each["size"] for each in manifest["layers"]], [len(each) for each in layers])
        for each, layer in zip(manifest["layers"], layers, strict=True):
            self.assertEqual(self.v2("GET", f"blobs/{each['digest']}").expect(200).body, layer)
        config = self.config()
        self.assertEqual(config["rootfs"]["diff_ids"], [digest_of(each.archive) for each in (first, second)])
        self.assertEqual(config["config"], {"Env": ["A=b"]})
        self.assertEqual(config["history"], [
            {"created": "2013-09-19T21:02:00.5Z", "created_by": "", "author": "moby", "comment": "root"},
            {"created": "2013-09-19T21:02:00.5Z", "created_by": "/bin/sh -c two"},
        ])
        self.assertEqual({config[name] for name in ("architecture", "os")}, {"amd64", "linux"})

    def test_same_chain_same_digest(self) -> None:
        """In another repository, under another tag, and after it was deleted."""
        made = self.tagged()
        digest, other = self.digest(), f"{self.name}-other"
        self.put_tag("other", made, other).says(True)
        self.assertEqual(self.digest("other", other), digest)
        self.call("DELETE", self.below("")).says(True)
        self.put_tag("again", made).says(True)
        self.assertEqual(self.digest("again"), digest)

    @rows({
        "time": {"created": "yesterday"}, "time_number": {"created": 5}, "no_command": {"container_config": None},
        "command_text": {"container_config": {"Cmd": "text"}}, "command_odd": {"container_config": {"Cmd": [1, None]}},
        "config_null": {"config": None}, "config_list": {"config": []}, "author": {"author": 5, "comment": ["x"]},
        "history": {"history": "mine", "rootfs": {"diff_ids": ["sha256:0"]}}, "unicode": {"author": "\u00e9\u2028"},
    })
    def odd_json(self, more: dict[str, Any]) -> None:
        """v2 clients parse what is made of it, whatever was in it."""
        self.tagged(**more)
        config = self.config()
        self.assertEqual(len(config["history"]), len(config["rootfs"]["diff_ids"]))
        for created in (config["created"], config["history"][0]["created"]):
            self.assertRegex(created, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
        self.assertIsInstance(config["history"][0]["created_by"], str)

    def test_before_it_is_complete(self) -> None:
        """v2 knows the tag from the moment on in which the last of the chain is."""
        root = self.started()
        top = self.started(root.id)
        self.put_tag("latest", top).says(True)
        self.v2("GET", "manifests/latest").error(404, "MANIFEST_UNKNOWN")
        self.confirm_payload(top, self.put_layer(top))
        self.v2("GET", "manifests/latest").error(404, "MANIFEST_UNKNOWN")
        self.confirm_payload(root, self.put_layer(root))
        self.assertEqual(len(self.v2("GET", "manifests/latest").expect(200).json["layers"]), 2)
        self.assertEqual(self.v1_tags(), {"latest": top.id})

    def test_listed(self) -> None:
        self.tagged("a")
        self.tagged("b")
        answer = self.v2("GET", "tags/list").expect(200)
        self.assertEqual(answer.json, {"name": self.name, "tags": ["a", "b"]})
        listed = self.wire("GET", f"/v2/_catalog?n=10&last={self.name[:-1]}").expect(200).json["repositories"]
        self.assertIn(self.name, listed)

    def test_mounted(self) -> None:
        """A client of v2 need not push a layer that came through v1."""
        self.tagged()
        (layer,) = self.v2("GET", "manifests/latest").json["layers"]
        other = self.fresh()
        other.mount(layer["digest"], self.name).expect(201)


class FromV2Tests(BridgeCase):
    def test_images(self) -> None:
        """Stable, and to the byte the same whoever asks, and however often."""
        archives = [tar([member(name, b"1")]) for name in "abc"]
        top = self.pushed_through_v2(*archives)
        chain = self.call("GET", self.of(top, "ancestry")).expect(200).json
        self.assertEqual(len(chain), 3)
        for number, id in enumerate(chain):
            self.assertRegex(id, "^[0-9a-f]{64}$")
            answer = self.call("GET", self.of(id, "json")).expect(200)
            self.assertEqual(answer.body, self.call("GET", self.of(id, "json")).body)
            layer = self.call("GET", self.of(id, "layer")).expect(200).body
            self.assertEqual(layer, gzip.compress(archives[2 - number], 1, mtime=0))
            self.assertEqual(answer["X-Docker-Size"], str(len(layer)))
            self.assertEqual(answer.json["id"], id)
            self.assertEqual(answer.json.get("parent"), chain[number + 1] if number < 2 else None)
        self.assertEqual(json.loads(top.json)["config"], {"Cmd": ["sh"]})
        self.assertEqual(self.v1_tags(), {"latest": top.id})
        listed = self.call("GET", self.below("images")).expect(200).json
        self.assertIn({"id": top.id}, listed)

    def test_same_manifest_same_image(self) -> None:
        self.push_through_v2(ARCHIVE, tag="a")
        self.push_through_v2(ARCHIVE, tag="b")
        self.assertEqual(self.seen("a"), self.seen("b"))
        self.push_through_v2(ARCHIVE, tag="c", config={"os": "linux", "config": {"Cmd": ["other"]}})
        self.assertNotEqual(self.seen("c").id, self.seen("a").id)

    @rows({
        "zstd": lambda self: self.push_through_v2(ARCHIVE, tag="x", kind="application/vnd.oci.image.layer.v1.tar+zstd"),
        "unknown": lambda self: self.push_through_v2(ARCHIVE, tag="x", kind="application/x-nothing"),
        "no_layers": lambda self: self.push_through_v2(tag="x"),
        "config_list": lambda self: self.push_through_v2(ARCHIVE, tag="x", config=[1]),
        "artifact": lambda self: self.push_document("x", {"config": self.empty, "layers": [self.empty]}),
        "empty_index": lambda self: self.push_document("x", {"mediaType": OCI_INDEX, "manifests": []}),
        "other_platform": lambda self: self.push_index("x", "arm64"),
    })
    def inexpressible(self, push: Callable[[FromV2Tests], object]) -> None:
        """Left out, and nothing beside it is."""
        self.push_through_v2(ARCHIVE, tag="plain")
        push(self)
        self.v2("GET", "manifests/x").expect(200)
        self.assertEqual(list(self.v1_tags()), ["plain"])
        self.call("GET", self.below("tags/x")).error(404, NO_TAG)

    def test_index(self) -> None:
        self.push_index("x", "amd64")
        self.assertEqual(self.seen("x"), self.seen("child"))

    @property
    def empty(self) -> dict[str, Any]:
        Repository(self.wire, self.name).push_post(digest_of(b"{}"), b"{}").expect(201)
        return {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}

    def push_document(self, tag: str, members: dict[str, Any]) -> None:
        content = json.dumps({"schemaVersion": 2, **members}).encode()
        Repository(self.wire, self.name).push_manifest(tag, digest_of(content), content)

    def push_index(self, tag: str, architecture: str) -> None:
        child = self.push_through_v2(ARCHIVE, tag="child")
        size = int(self.v2("HEAD", "manifests/child")["Content-Length"])
        platform = {"architecture": architecture, "os": "linux"}
        entry = {"mediaType": DOCKER_MANIFEST, "digest": child, "size": size, "platform": platform}
        self.push_document(tag, {"mediaType": DOCKER_LIST, "manifests": [entry]})
        if architecture != "amd64":
            self.v2("DELETE", "manifests/child").expect(202)

    def test_false_claim(self) -> None:
        """Who says in a configuration that it is somebody else's image is not believed."""
        made = self.tagged("mine")
        self.push_through_v2(ARCHIVE, tag="evil", config={"id": made.id, "os": "linux", "architecture": "amd64"})
        self.assertNotEqual(self.v1_tags()["evil"], made.id)
        self.assertEqual(self.v1_tags()["mine"], made.id)

    def test_odd_configuration(self) -> None:
        for number, config in enumerate((
            {}, {"created": 5, "history": 7, "rootfs": None}, {"history": [1, {"created_by": []}], "config": "x"},
            {"id": "../../x", "parent": "y", "Size": "z", "architecture": 1, "os": []},
            {"rootfs": {"diff_ids": ["x", 5]}},
        )):
            self.push_through_v2(ARCHIVE, tag=f"t{number}", config=config)
            seen = self.seen(f"t{number}")
            members = json.loads(seen.json)
            self.assertEqual((members["id"], members["os"], "parent" in members), (seen.id, "linux", False))


class MovingTests(BridgeCase):
    """A tag is one thing, whoever sets it."""

    def test_set_by_the_other(self) -> None:
        for _ in range(2):
            made = self.tagged()
            self.assertEqual(self.v1_tags(), {"latest": made.id})
            by_v1 = self.digest()
            self.assertEqual(self.config()["id"], made.id)
            by_v2 = self.push_through_v2(ARCHIVE)
            self.assertEqual(self.digest(), by_v2)
            self.assertNotEqual(by_v1, by_v2)
            self.assertNotEqual(self.v1_tags()["latest"], made.id)

    def test_tag_deleted_by_v1(self) -> None:
        self.tagged("a")
        self.push_through_v2(ARCHIVE, tag="b")
        for tag in ("a", "b"):
            self.digest(tag)
            self.call("DELETE", self.below(f"tags/{tag}")).says(True)
            self.v2("GET", f"manifests/{tag}").error(404, "MANIFEST_UNKNOWN")
        self.assertEqual(self.v1_tags(), {})
        self.assertEqual(self.v2("GET", "tags/list").json["tags"], [])

    def test_tag_deleted_by_v2(self) -> None:
        made = self.tagged("a")
        self.push_through_v2(ARCHIVE, tag="b")
        for tag in ("a", "b"):
            self.v2("DELETE", f"manifests/{tag}").expect(202)
            self.call("GET", self.below(f"tags/{tag}")).error(404, NO_TAG)
        self.assertEqual(self.v1_tags(), {})
        self.call("GET", self.of(made, "json")).expect(200)

    def test_manifest_deleted_by_v2(self) -> None:
        """All tags that stand for it go, however they were set."""
        made = self.tagged("a")
        self.put_tag("b", made).says(True)
        digest = self.digest("a")
        self.assertEqual(self.digest("b"), digest)
        self.tagged("c")
        self.v2("DELETE", f"manifests/{digest}").expect(202)
        self.assertEqual(list(self.v1_tags()), ["c"])
        self.put_tag("a", made).says(True)
        self.assertEqual(self.digest("a"), digest)

    def listed(self) -> list[str]:
        """Where the repository is found."""
        listed = self.wire("GET", f"/v2/_catalog?n=1&last={self.name[:-1]}").expect(200).json["repositories"]
        found = self.call("GET", f"/v1/search?q={self.name}").expect(200).json["results"]
        return [*listed, *(each["name"] for each in found)]

    def test_last_manifest_deleted_by_v2(self) -> None:
        """Nothing is listed, and found, of which there is nothing."""
        for push in (lambda: self.tagged("a"), lambda: self.push_through_v2(ARCHIVE, tag="a")):
            push()
            self.assertEqual(self.listed(), [self.name, self.name])
            self.v2("DELETE", f"manifests/{self.digest('a')}").expect(202)
            self.assertNotIn(self.name, self.listed())

    def test_repository_deleted_by_v1(self) -> None:
        self.tagged("a")
        self.push_through_v2(ARCHIVE, tag="b")
        digest = self.digest("b")
        self.call("DELETE", self.below("")).says(True)
        for reference in ("a", "b", digest):
            self.v2("GET", f"manifests/{reference}").error(404, "MANIFEST_UNKNOWN")
        self.v2("GET", "tags/list").error(404, "NAME_UNKNOWN")
        listed = self.wire("GET", f"/v2/_catalog?n=10&last={self.name[:-1]}").expect(200).json["repositories"]
        self.assertNotIn(self.name, listed)

    def test_library(self) -> None:
        """``library/x`` of v1 is ``x`` of v2."""
        solo, made = self.name.partition("/")[0], self.pushed()
        self.put_tag("latest", made, f"library/{solo}").says(True)
        self.v2("GET", "manifests/latest", solo).expect(200)
        self.v2("GET", "manifests/latest", f"library/{solo}").error(404, "MANIFEST_UNKNOWN")
        for name in (solo, f"library/{solo}"):
            self.call("GET", self.below("tags", name)).says({"latest": made.id})
        self.call("DELETE", self.below("tags/latest", solo)).says(True)
        self.v2("GET", "manifests/latest", solo).error(404, "MANIFEST_UNKNOWN")


class OwnRegistryCase(BridgeCase):
    def setUp(self) -> None:
        super().setUp()
        self.work = Path(tempfile.mkdtemp(prefix="v1-"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)

    def run_with(self, store: str = "registry", **options: Any) -> None:
        """Let a daemon of the test's own be the one that is asked."""
        self.registry = Ours(self.work / store, **options)
        self.addCleanup(self.registry.stop)
        self.wire = Wire(f"http://{self.registry.host}")
        self.addCleanup(self.wire.close)

    @property
    def host(self) -> str:
        return self.registry.host

class ForeseenTests(OwnRegistryCase):
    def squat(self, complete: bool) -> None:
        self.run_with("first")
        self.push_through_v2(ARCHIVE)
        foreseen = self.seen().id
        self.run_with("second")
        squatter = image(id=foreseen)
        self.put_image(squatter).says(True)
        if complete:
            self.confirm_payload(squatter, self.put_layer(squatter))
        self.push_through_v2(ARCHIVE)
        seen = self.seen()
        self.assertNotEqual(seen.id, foreseen)
        self.assertEqual(unpacked(self.call("GET", self.of(seen, "layer")).expect(200).body), ARCHIVE)
        self.assertEqual(self.seen(), seen)

    def test_foreseen_id(self) -> None:
        """Who pushes something else under the id that an image of v2 would have does not decide what others get."""
        self.squat(complete=True)

    def test_foreseen_id_in_progress(self) -> None:
        self.squat(complete=False)


class SettingsTests(OwnRegistryCase):
    """What is set for the registry holds for both protocols."""

    def files(self, below: str) -> list[Path]:
        """What is stored there, and not empty."""
        found = (self.registry.root / below).rglob("*")
        return [each for each in found if each.is_file() and each.stat().st_size]

    def test_no_deletion(self) -> None:
        self.run_with(delete_enabled=False)
        made = self.tagged()
        for target in (self.below("tags/latest"), self.below("tags"), self.below(""), self.below("tags/latest/")):
            answer = self.call("DELETE", target).expect(405)
            self.assertNotIn("DELETE", answer["Allow"])
        self.assertEqual(self.v1_tags(), {"latest": made.id})
        self.digest()

    def test_limits(self) -> None:
        """A document that is too long with the limit as it is; clients of v2 would not read what is made of it."""
        self.run_with(max_manifest_bytes="8MiB")
        made = self.tagged(comment="x" * (5 << 20))
        self.assertEqual(self.call("GET", self.of(made, "json")).expect(200).body, made.json)
        self.v2("GET", "manifests/latest").error(404, "MANIFEST_UNKNOWN")
        self.put_image(image(comment="x" * (8 << 20))).expect(413)

    def test_endpoints(self) -> None:
        """Each in a field of its own: docker 0.7 knows no lists."""
        self.run_with(registry_endpoints="registry.example:5000, other.example")
        answer = self.call("PUT", self.below(""), b"[]").expect(200)
        self.assertEqual(answer.headers.get_all("X-Docker-Endpoints"), ["registry.example:5000", "other.example"])

    def test_off(self) -> None:
        """What searching needs stays."""
        self.run_with(v1=False)
        self.call("GET", "/v1/_ping").expect(200)
        self.call("GET", "/v1/search?q=x").expect(200)
        for method, target in (("GET", self.below("tags")), ("PUT", self.below("")), ("GET", "/v1/users/")):
            self.call(method, target).error(404, "Protocol v1 is switched off")
        self.wire("GET", "/v2/").expect(200)

    def test_killed_in_the_middle_of_a_layer(self) -> None:
        """Nothing of it is there afterwards, and the push goes on from its JSON."""
        self.run_with()
        made = self.started()
        fields = [("Host", self.host), ("Content-Length", "9000000")]
        with v1_wire.begun(self.address, "PUT", self.of(made, "layer"), fields, bytes(3_000_000)):
            self.assertTrue(until(lambda: self.files("images/_uploads")))
            self.registry.daemon.stop(signal.SIGKILL)
        self.registry.start()
        self.assertUploading(made)
        self.assertEqual(self.files("docker/registry/v2/blobs"), [])
        layer = self.put_layer(made)
        self.confirm_payload(made, layer)
        self.assertComplete(made, layer)
