"""Images of protocol v1: their states, whoever pushes at the same time, and what becomes of them in v2."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import LogLevel, capturedLogs, formatEvent

from docker_registry.digest import Digest
from docker_registry.errors import (
    ChecksumMismatch,
    ImageExists,
    ImageInProgress,
    ImageInvalid,
    ImageNotInProgress,
    ImageUnknown,
    ManifestUnknown,
    RepositoryUnknown,
    SourceGone,
    StoreUnavailable,
    TagUnknown,
)
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.registry.documents import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX
from docker_registry.registry.imagepushes import WAITING, ImagePushes
from docker_registry.registry.layers import MAX_CHAIN
from docker_registry.registry.purge import UploadPurge
from docker_registry.storage import layout
from docker_registry.test.layer_case import expected_tarsum
from docker_registry.test.registry_case import LATEST, Held, Parts, RegistryCase

REPOSITORY = Repository("team/app")
PACKED = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def image_id(name: str) -> ImageId:
    return ImageId(hashlib.sha256(name.encode()).hexdigest())


def image_json(name: str, parent: str | None = None, **members: Any) -> bytes:
    members = {
        "id": str(image_id(name)),
        "created": "2013-06-13T14:03:50.821769-07:00",
        "container_config": {"Cmd": ["/bin/sh", "-c", f"touch {name}"]},
        "config": {"Cmd": ["/bin/true"]},
        **members,
    }
    if parent:
        members["parent"] = str(image_id(parent))
    return json.dumps(members, indent=1).encode()


def with_parent(name: str, parent: object) -> bytes:
    return json.dumps({"id": str(image_id(name)), "parent": parent}).encode()


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
    return buffer.getvalue()


def layer(*names: str) -> bytes:
    return gzip.compress(archive(*names), mtime=0)


def payload(content: bytes, bytes_: bytes) -> str:
    return "sha256:" + hashlib.sha256(content + b"\n" + bytes_).hexdigest()


class ImageCase(RegistryCase):
    @property
    def pushes(self) -> ImagePushes:
        return self.registry.image_pushes

    def put_json(self, name: str, parent: str | None = None, **members: Any) -> bytes:
        content = image_json(name, parent, **members)
        self.now(self.pushes.put_json(image_id(name), content))
        return content

    def put_layer(self, name: str, content: bytes) -> None:
        self.now(self.pushes.put_layer(image_id(name), Parts(content)))

    def confirm(self, name: str, *sums: str) -> None:
        self.now(self.pushes.put_checksum(image_id(name), sums))

    def push_image(self, name: str, parent: str | None = None, content: bytes | None = None) -> bytes:
        content = layer(name) if content is None else content
        described = self.put_json(name, parent)
        self.put_layer(name, content)
        self.confirm(name, payload(described, content))
        return content

    def tag(self, name: str, tag: Tag = LATEST) -> None:
        self.now(self.registry.image_tags.set(REPOSITORY, tag, image_id(name)))

    def layer_of(self, name: str) -> bytes:
        found = self.now(self.registry.images.get(image_id(name)))
        reader = self.now(self.registry.images.open_layer(found))
        return self.successResultOf(reader.read(1 << 20))

    def manifest(self, reference: Tag | Digest = LATEST) -> dict[str, Any]:
        found = self.now(self.registry.manifests.get(REPOSITORY, reference))
        manifest: dict[str, Any] = json.loads(found.content)
        return manifest

    def blob(self, digest: str) -> bytes:
        reader = self.now(self.registry.blobs.open(REPOSITORY, Digest.parse(digest)))
        return self.successResultOf(reader.read(1 << 20))


    def keys(self, prefix: str = "") -> list[str]:
        """Every key below ``prefix``."""
        found = []
        for entry in self.successResultOf(self.storage.list(prefix)):
            key = f"{prefix}/{entry.name}".lstrip("/")
            found += self.keys(key) if entry.is_prefix else [key]
        return found


class StateTests(ImageCase):
    def test_push(self) -> None:
        content = self.push_image("a")
        found = self.now(self.registry.images.get(image_id("a")))
        self.assertEqual(found.content, image_json("a"))
        self.assertEqual(found.size, len(content))
        self.assertEqual(found.sums, (payload(image_json("a"), content),))
        self.assertEqual(self.layer_of("a"), content)
        self.assertEqual(self.now(self.registry.images.ancestry(image_id("a"))), [image_id("a")])

    def test_survives_the_process(self) -> None:
        described = self.put_json("a")
        self.put_layer("a", layer("a"))
        self.registry = self.open()
        self.confirm("a", payload(described, layer("a")))
        self.registry = self.open()
        self.assertEqual(self.layer_of("a"), layer("a"))

    def test_in_progress(self) -> None:
        self.put_json("a")
        self.fails(self.registry.images.get(image_id("a")), ImageInProgress)
        self.put_layer("a", layer("a"))
        self.fails(self.registry.images.get(image_id("a")), ImageInProgress)
        self.fails(self.registry.images.get(image_id("b")), ImageUnknown)

    def test_what_the_json_must_be(self) -> None:
        for content, text in (
            (b"", "Invalid JSON"),
            (b"{}", "Invalid JSON"),
            (b"[]", "Invalid JSON"),
            (b'{"id": 1, "id": 2}', "Invalid JSON"),
            (b"[" * 100_000, "Invalid JSON"),
            (b'{"a": 1}', "Missing key `id' in JSON"),
            (image_json("b"), "JSON data contains invalid id"),
            (b'{"id": 5}', "JSON data contains invalid id"),
            (image_json("a", parent="none"), "Image depends on a non existing parent"),
            (with_parent("a", "../../etc"), "Image depends on a non existing parent"),
            (with_parent("a", ["x"]), "Image depends on a non existing parent"),
            (image_json("a", parent="a"), "Image depends on a non existing parent"),
        ):
            error = self.fails(self.pushes.put_json(image_id("a"), content), ImageInvalid)
            self.assertEqual(str(error), text)
        self.assertEqual(self.keys(), [])

    def test_complete_is_immutable(self) -> None:
        self.push_image("a")
        self.fails(self.pushes.put_json(image_id("a"), image_json("a")), ImageExists)
        self.fails(self.pushes.put_layer(image_id("a"), Parts(b"x")), ImageExists)
        self.fails(self.pushes.put_checksum(image_id("a"), ["sha256:" + "0" * 64]), ImageNotInProgress)
        self.confirm("a", payload(image_json("a"), layer("a")))         # the same once more does no harm

    def test_layer_before_json(self) -> None:
        self.fails(self.pushes.put_layer(image_id("a"), Parts(b"x")), ImageUnknown)
        self.fails(self.pushes.put_checksum(image_id("a"), ["sha256:x"]), ImageUnknown)

    def test_checksum_before_layer(self) -> None:
        self.put_json("a")
        self.fails(self.pushes.put_checksum(image_id("a"), ["sha256:x"]), ChecksumMismatch)

    def test_wrong_checksum(self) -> None:
        described = self.put_json("a")
        self.put_layer("a", layer("a"))
        self.fails(self.pushes.put_checksum(image_id("a"), ["sha256:" + "0" * 64, "md5:1"]), ChecksumMismatch)
        self.fails(self.registry.images.get(image_id("a")), ImageInProgress)
        self.confirm("a", "tarsum+sha256:" + "0" * 64, payload(described, layer("a")))
        self.assertEqual(self.layer_of("a"), layer("a"))

    def test_sum_of_the_archive(self) -> None:
        """Of clients before 0.9; it is read again for that, and then the diff id is known."""
        described = self.put_json("a")
        self.put_layer("a", layer("a"))
        tarsum = expected_tarsum(described, archive("a"))
        self.confirm("a", tarsum)
        found = self.now(self.registry.images.get(image_id("a")))
        self.assertEqual(found.sums, (payload(described, layer("a")), tarsum))
        assert found.layer is not None
        self.assertEqual((found.layer.diff_id, found.layer.unpacked), (Digest.of(archive("a")), len(archive("a"))))

    def test_checksum_that_came_first(self) -> None:
        """docker up to 0.5.2 sends it with the JSON, and then no more."""
        described, content = image_json("a"), layer("a")
        self.now(self.pushes.put_json(image_id("a"), described, payload(described, content)))
        self.fails(self.pushes.put_layer(image_id("a"), Parts(b"other")), ChecksumMismatch)
        self.put_layer("a", content)
        self.assertEqual(self.layer_of("a"), content)
        self.fails(self.pushes.put_json(image_id("b"), image_json("b"), "nonsense"), ImageInvalid)

    def test_client_that_vanishes(self) -> None:
        """Nothing of half a layer is left, and the push begins again."""
        self.put_json("a")
        before = self.keys()
        self.fails(self.pushes.put_layer(image_id("a"), Parts(b"half", error=SourceGone())), SourceGone)
        self.assertEqual(self.keys(), before)
        self.push_image("a")
        self.assertEqual(self.layer_of("a"), layer("a"))

    def test_two_push_one_id(self) -> None:
        """The first that is confirmed wins, with its own bytes."""
        described = self.put_json("a")
        self.put_json("a")
        self.put_layer("a", layer("mine"))
        self.put_layer("a", layer("yours"))
        self.confirm("a", payload(described, layer("mine")))
        self.fails(
            self.pushes.put_checksum(image_id("a"), [payload(described, layer("yours"))]), ImageNotInProgress
        )
        self.assertEqual(self.layer_of("a"), layer("mine"))
        self.assertEqual(self.keys(layout.image_pushed(image_id("a"))), [])

    def test_two_push_one_id_with_other_json(self) -> None:
        """What is published is the JSON that the confirmed layer was pushed for."""
        first = self.put_json("a", comment="first")
        self.put_layer("a", layer("first"))
        self.put_json("a", comment="second")
        self.put_layer("a", layer("second"))
        self.confirm("a", payload(first, layer("first")))
        found = self.now(self.registry.images.get(image_id("a")))
        self.assertEqual((found.content, self.layer_of("a")), (first, layer("first")))

    def test_many_layers_of_one_id(self) -> None:
        """The oldest is forgotten: to find the right one each may have to be read."""
        described = self.put_json("a")
        layers = [layer(str(number)) for number in range(WAITING + 1)]
        for each in layers:
            self.put_layer("a", each)
            self.clock.advance(1)
        self.assertEqual(len(self.keys(layout.image_pushed(image_id("a")))), WAITING)
        self.fails(
            self.pushes.put_checksum(image_id("a"), [payload(described, layers[0])]), ChecksumMismatch
        )
        self.confirm("a", payload(described, layers[1]))
        self.assertEqual(self.layer_of("a"), layers[1])

    def test_slow_and_fast_push_of_one_id(self) -> None:
        """Who comes second is told so, and what was published stays."""
        described = self.put_json("a")
        slow = Held()
        pushed = Deferred.fromCoroutine(self.pushes.put_layer(image_id("a"), slow))
        slow.give(b"half of ")
        self.put_layer("a", layer("fast"))
        self.confirm("a", payload(described, layer("fast")))
        slow.give(b"another")
        slow.give()
        self.failureResultOf(pushed, ImageExists)
        self.assertEqual(self.layer_of("a"), layer("fast"))


    def test_half_a_layer_of_another_process(self) -> None:
        """It was killed in the middle: what it left goes when uploads do that nobody came back to."""
        self.put_json("a")
        before = self.keys()
        pushed = Deferred.fromCoroutine(self.pushes.put_layer(image_id("a"), Held()))
        self.assertNoResult(pushed)
        self.assertEqual(len(self.keys()), len(before) + 1)
        purge = UploadPurge(
            self.storage, self.registry.catalogue, self.registry.uploads, self.clock, self.clock.seconds, 3600
        )
        self.now(purge.run())
        self.assertEqual(len(self.keys()), len(before) + 1)
        self.clock.advance(3601)
        self.now(purge.run())
        self.assertEqual(self.keys(), before)


class AncestryTests(ImageCase):
    def test_chain(self) -> None:
        self.push_image("a")
        self.push_image("b", "a")
        self.push_image("c", "b")
        chain = self.now(self.registry.images.ancestry(image_id("c")))
        self.assertEqual(chain, [image_id(name) for name in "cba"])

    def test_torn_list(self) -> None:
        """A crash of docker-registry 0.x left half of it: the parents say the same."""
        self.push_image("a")
        self.push_image("b", "a")
        for torn in (b"", b'["', b"[]", b'["x"]', b"{}", json.dumps([str(image_id("a"))]).encode()):
            self.successResultOf(self.storage.put(layout.image_ancestry(image_id("b")), torn))
            chain = self.now(self.registry.images.ancestry(image_id("b")))
            self.assertEqual(chain, [image_id("b"), image_id("a")])
        self.push_image("c", "b")

    def test_too_long(self) -> None:
        previous = None
        for number in range(MAX_CHAIN):
            self.put_json(f"i{number}", previous)
            previous = f"i{number}"
        error = self.fails(
            self.pushes.put_json(image_id("last"), image_json("last", parent=previous)), ImageInvalid
        )
        self.assertIn("127", str(error))

    def test_loop(self) -> None:
        """It cannot be pushed; an old store may have it."""
        for name, parent in (("a", "b"), ("b", "a")):
            content = image_json(name, parent)
            self.successResultOf(self.storage.put(layout.image_json(image_id(name)), content))
        self.fails(self.registry.images.ancestry(image_id("a")), ImageInvalid)


class BridgeTests(ImageCase):
    def test_manifest_of_a_chain(self) -> None:
        layers = [self.push_image("a"), self.push_image("b", "a"), self.push_image("c", "b")]
        self.tag("c")
        manifest = self.manifest()
        self.assertEqual(manifest["mediaType"], DOCKER_MANIFEST)
        self.assertEqual([each["digest"] for each in manifest["layers"]], [str(Digest.of(each)) for each in layers])
        self.assertEqual([self.blob(each["digest"]) for each in manifest["layers"]], layers)
        config = json.loads(self.blob(manifest["config"]["digest"]))
        self.assertEqual(
            config["rootfs"]["diff_ids"], [str(Digest.of(archive(name))) for name in "abc"]
        )
        self.assertEqual([each["created_by"] for each in config["history"]],
                         [f"/bin/sh -c touch {name}" for name in "abc"])
        self.assertEqual(config["config"], {"Cmd": ["/bin/true"]})
        self.assertEqual((config["os"], config["architecture"]), ("linux", "amd64"))
        self.assertNotIn("parent", config)

    def test_deterministic(self) -> None:
        self.push_image("a")
        self.tag("a")
        self.tag("a", Tag("again"))
        first = self.now(self.registry.tags.resolve(REPOSITORY, LATEST))
        self.assertEqual(self.now(self.registry.tags.resolve(REPOSITORY, Tag("again"))), first)

    def test_back_again(self) -> None:
        """The id that v1 pushed is the id that v1 sees."""
        self.push_image("a")
        self.push_image("b", "a")
        self.tag("b")
        self.registry = self.open()
        self.assertEqual(self.now(self.registry.image_tags.get(REPOSITORY, LATEST)), image_id("b"))
        self.assertEqual(self.now(self.registry.image_tags.all(REPOSITORY)), {"latest": image_id("b")})

    def test_tag_before_the_image_is_complete(self) -> None:
        self.push_image("a")
        described = self.put_json("b", "a")
        self.tag("b")
        self.assertEqual(self.now(self.registry.image_tags.all(REPOSITORY)), {"latest": image_id("b")})
        self.fails(self.registry.manifests.get(REPOSITORY, LATEST), ManifestUnknown)
        self.put_layer("b", layer("b"))
        self.confirm("b", payload(described, layer("b")))
        self.assertEqual(len(self.manifest()["layers"]), 2)

    def test_tag_before_the_parent_is_complete(self) -> None:
        described = self.put_json("a")
        self.put_layer("a", layer("a"))
        self.push_image("b", "a")
        self.tag("b")
        self.confirm("a", payload(described, layer("a")))
        self.assertEqual(len(self.manifest()["layers"]), 2)

    def test_tag_that_was_set_otherwise_meanwhile(self) -> None:
        self.push_image("a")
        described = self.put_json("b")
        self.tag("b")
        self.tag("a")
        self.put_layer("b", layer("b"))
        self.confirm("b", payload(described, layer("b")))
        self.assertEqual(self.now(self.registry.image_tags.get(REPOSITORY, LATEST)), image_id("a"))

    def test_the_store_goes_away_behind_a_tag(self) -> None:
        """It is set: that the rest has to wait is one line, and its first pull does it."""
        self.push_image("a")
        put, down = self.storage.put, True

        def put_unless_down(key: str, content: bytes) -> Deferred[None]:
            is_revision = key.startswith(f"docker/registry/v2/repositories/{REPOSITORY}/_manifests/revisions/")
            return fail(StoreUnavailable("the store is busy")) if down and is_revision else put(key, content)

        self.patch(self.storage, "put", put_unless_down)
        with capturedLogs() as events:
            self.tag("a")
        (told,) = [each for each in events if each["log_level"] > LogLevel.info]
        self.assertEqual((told["alert"], "log_failure" in told), ("store unavailable", False))
        self.assertEqual(formatEvent(told), "team/app:latest could not be prepared for v2; its first pull tries again: "
                                            "the store is busy")
        down = False
        self.assertEqual(len(self.manifest()["layers"]), 1)

    def test_layer_without_an_archive(self) -> None:
        """Clients up to 0.7 sent an empty one for a change of the settings."""
        self.push_image("a")
        self.push_image("b", "a", content=gzip.compress(b"", mtime=0))
        self.tag("b")
        manifest = self.manifest()
        self.assertEqual(len(manifest["layers"]), 1)
        config = json.loads(self.blob(manifest["config"]["digest"]))
        self.assertEqual([each.get("empty_layer") for each in config["history"]], [None, True])
        self.assertEqual(len(config["rootfs"]["diff_ids"]), 1)

    def test_unknown_image(self) -> None:
        self.fails(self.registry.image_tags.set(REPOSITORY, LATEST, image_id("a")), ImageUnknown)
        self.fails(self.registry.image_tags.get(REPOSITORY, LATEST), TagUnknown)
        self.fails(self.registry.image_tags.all(REPOSITORY), RepositoryUnknown)

    def test_delete(self) -> None:
        self.push_image("a")
        self.tag("a")
        self.tag("a", Tag("b"))
        self.now(self.registry.image_tags.delete(REPOSITORY, LATEST))
        self.fails(self.registry.manifests.get(REPOSITORY, LATEST), ManifestUnknown)
        self.fails(self.registry.image_tags.delete(REPOSITORY, LATEST), TagUnknown)
        self.now(self.registry.image_tags.delete_all(REPOSITORY))
        self.fails(self.registry.manifests.get(REPOSITORY, Tag("b")), ManifestUnknown)
        self.fails(self.registry.image_tags.all(REPOSITORY), RepositoryUnknown)
        self.assertEqual(self.layer_of("a"), layer("a"))
        self.tag("a")
        self.assertEqual(len(self.manifest()["layers"]), 1)


class FromV2Tests(ImageCase):
    def push_v2(self, *names: str, tag: Tag = LATEST, media_type: str = DOCKER_MANIFEST, **config: Any) -> bytes:
        described = [self.described(layer(name), PACKED) for name in names]
        content = json.dumps({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(archive(name))) for name in names]},
            "history": [{"created_by": "FROM"}, *({"created_by": f"ADD {name}"} for name in names[1:]),
                        {"created_by": "CMD", "empty_layer": True}],
            **config,
        }).encode()
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": media_type,
            "config": self.described(content, "application/vnd.docker.container.image.v1+json"), "layers": described,
        }).encode()
        self.push(manifest, tag, REPOSITORY)
        return manifest

    def described(self, content: bytes, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": str(self.push_blob(content, REPOSITORY)), "size": len(content)}

    def top(self, tag: Tag = LATEST) -> ImageId:
        return self.now(self.registry.image_tags.get(REPOSITORY, tag))

    def test_images(self) -> None:
        self.push_v2("a", "b", "c")
        chain = self.now(self.registry.images.ancestry(self.top()))
        self.assertEqual(len(chain), 3)
        for number, (image, name) in enumerate(zip(chain, "cba", strict=True)):
            found = self.now(self.registry.images.get(image))
            described = json.loads(found.content)
            self.assertEqual(described["id"], str(image))
            self.assertEqual(described.get("parent"), str(chain[number + 1]) if number < 2 else None)
            self.assertEqual(found.size, len(layer(name)))
            reader = self.now(self.registry.images.open_layer(found))
            self.assertEqual(self.successResultOf(reader.read(1 << 20)), layer(name))
        self.assertEqual(json.loads(self.now(self.registry.images.get(chain[0])).content)["config"], {"Cmd": ["sh"]})

    def test_stable(self) -> None:
        self.push_v2("a", "b")
        first = self.top()
        content = self.now(self.registry.images.get(first)).content
        self.registry = self.open()
        self.assertEqual(self.top(), first)
        self.assertEqual(self.now(self.registry.images.get(first)).content, content)

    def test_same_layers_of_which_something_else_is_said(self) -> None:
        """Are other images: what has one id is the same to the byte."""
        self.push_v2("a", "b")
        first = self.now(self.registry.images.ancestry(self.top()))
        self.push_v2("a", "b", history=[{"created_by": "other"}, {"created_by": "ADD b"}])
        second = self.now(self.registry.images.ancestry(self.top()))
        self.assertEqual(set(first) & set(second), set())
        self.push_v2("a", "c")
        third = self.now(self.registry.images.ancestry(self.top()))
        self.assertEqual(third[1:], first[1:])

    def test_v1_child_of_a_v2_image(self) -> None:
        self.push_v2("a", "b")
        parent = self.top()
        content = with_parent("child", str(parent))
        self.now(self.pushes.put_json(image_id("child"), content))
        self.put_layer("child", layer("child"))
        self.confirm("child", payload(content, layer("child")))
        self.tag("child", Tag("child"))
        self.assertEqual(
            [each["digest"] for each in self.manifest(Tag("child"))["layers"]],
            [str(Digest.of(layer(name))) for name in ("a", "b", "child")],
        )

    def test_false_diff_ids(self) -> None:
        """Who lies of his own layers does not lie for those who build on the same ones."""
        self.push_v2("a", "b", rootfs={"type": "layers", "diff_ids": ["sha256:" + "0" * 64] * 2})
        parent = str(self.top())
        content = with_parent("child", parent)
        self.now(self.pushes.put_json(image_id("child"), content))
        self.put_layer("child", layer("child"))
        self.confirm("child", payload(content, layer("child")))
        self.tag("child", Tag("child"))
        config = json.loads(self.blob(self.manifest(Tag("child"))["config"]["digest"]))
        self.assertEqual(
            config["rootfs"]["diff_ids"], [str(Digest.of(archive(name))) for name in ("a", "b", "child")]
        )

    def test_index(self) -> None:
        """A client of v1 gets what is for linux/amd64."""
        child = self.push_v2("a", tag=Tag("child"))
        for name, architecture in (("amd", "amd64"), ("arm", "arm64")):
            entry = {"mediaType": DOCKER_MANIFEST, "digest": str(Digest.of(child)), "size": len(child),
                     "platform": {"os": "linux", "architecture": architecture}}
            content = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [entry]}).encode()
            self.push(content, Tag(name), REPOSITORY)
        self.assertEqual(self.top(Tag("amd")), self.top(Tag("child")))
        self.fails(self.registry.image_tags.get(REPOSITORY, Tag("arm")), TagUnknown)
        self.assertEqual(self.now(self.registry.image_tags.all(REPOSITORY)).keys(), {"amd", "child"})
        self.now(self.registry.manifests.delete(REPOSITORY, Digest.of(child)))
        self.fails(self.registry.image_tags.get(REPOSITORY, Tag("amd")), TagUnknown)
        self.push(child, Tag("child"), REPOSITORY)
        self.assertEqual(self.top(Tag("amd")), self.top(Tag("child")))

    def test_what_cannot_be_expressed(self) -> None:
        self.push(self.image(b"no archive", repository=REPOSITORY), Tag("artifact"), REPOSITORY)
        self.push(json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode(), Tag("empty"),
                  REPOSITORY)
        self.assertEqual(self.now(self.registry.image_tags.all(REPOSITORY)), {})

    def test_false_claim(self) -> None:
        """A configuration that names somebody else's image is not believed."""
        self.push_image("a")
        self.push_v2("evil", id=str(image_id("a")))
        self.assertNotEqual(self.top(), image_id("a"))
        self.assertEqual(self.layer_of("a"), layer("a"))
