"""What the tests of protocol v1 have in common: a registry, and images that are pushed to it step by step."""

from __future__ import annotations

import gzip
import json
import os
from typing import Any
from urllib.parse import urlsplit

from docker_registry.registry.documents import DOCKER_MANIFEST
from docker_registry.test.clients import v1_wire
from docker_registry.test.clients.conformance import Conformance, base
from docker_registry.test.clients.pushing import Repository
from docker_registry.test.clients.replaying import CONFIG, LAYER
from docker_registry.test.clients.v1_clients import address, pieces
from docker_registry.test.clients.v1_images import Image, image, payload_sum
from docker_registry.test.clients.v1_wire import Body, V1Answer
from docker_registry.test.clients.wire import Wrong, digest_of
from docker_registry.test.layer_case import expected_tarsum

AGENT = ("User-Agent", "docker/1.5.0 go/go1.4.1 git-commit/a8a31ef kernel/3.16.0 os/linux arch/amd64")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
MISMATCH = "Checksum mismatch"
EXISTS = "Image already exists"
UPLOADING = "Image is being uploaded, retry later"
NO_IMAGE = "Image not found"
WRONG = "sha256:" + "0" * 64
"""Nothing's checksum."""


class V1Case(Conformance):
    """:ivar name: of a fresh repository."""

    def setUp(self) -> None:
        super().setUp()
        self.name = f"v1{os.urandom(6).hex()}/image"

    @property
    def host(self) -> str:
        return urlsplit(base(self.storage)).netloc

    @property
    def address(self) -> v1_wire.Address:
        return address(self.host)

    def call(self, method: str, target: str, body: Body = None, *fields: tuple[str, str]) -> V1Answer:
        """One request; `Authorization`, `User-Agent` and so on only as given. Pieces go as chunks."""
        given = {name.lower() for name, _ in fields}
        sent = [] if "host" in given else [("Host", self.host)]
        if body is not None and not isinstance(body, bytes):
            sent.append(("Transfer-Encoding", "chunked"))
        elif body is not None or method in ("PUT", "POST"):
            sent.append(("Content-Length", str(len(body or b""))))
        return v1_wire.ask(self.address, method, target, [*sent, *fields], body)

    def put_json(self, target: str, value: Any, *fields: tuple[str, str]) -> V1Answer:
        return self.call("PUT", target, json.dumps(value).encode(), *fields)

    # Images

    def of(self, image: Image | str, what: str) -> str:
        return f"/v1/images/{image if isinstance(image, str) else image.id}/{what}"

    def put_image(self, image: Image, *fields: tuple[str, str]) -> V1Answer:
        """Its JSON."""
        return self.call("PUT", self.of(image, "json"), image.json, *fields)

    def put_layer(self, image: Image, layer: bytes | None = None) -> bytes:
        """:return: what was sent."""
        layer = gzip.compress(image.archive, 1, mtime=0) if layer is None else layer
        self.call("PUT", self.of(image, "layer"), pieces(layer)).says(True)
        return layer

    def cut_layer(self, image: Image, sent: bytes, length: int | None = None) -> None:
        """Begin to send a layer, and vanish.

        :param length: that was announced; ``None`` is in chunks.
        """
        if length is None:
            fields, sent = ("Transfer-Encoding", "chunked"), v1_wire.chunk(sent)
        else:
            fields = ("Content-Length", str(length))
        v1_wire.cut(self.address, "PUT", self.of(image, "layer"), [("Host", self.host), fields], sent)

    def confirm(self, image: Image, checksum: str = "", payload: str = "") -> V1Answer:
        given = [("X-Docker-Checksum", checksum), ("X-Docker-Checksum-Payload", payload)]
        return self.call("PUT", self.of(image, "checksum"), b"", *[each for each in given if each[1]])

    def confirm_payload(self, image: Image, layer: bytes) -> None:
        self.confirm(image, payload=payload_sum(image.json, layer)).says(True)

    def push(self, image: Image, layer: bytes | None = None) -> bytes:
        """All of it; what was sent as its layer."""
        self.put_image(image).says(True)
        layer = self.put_layer(image, layer)
        self.confirm(image, expected_tarsum(image.json, image.archive), payload_sum(image.json, layer)).says(True)
        return layer

    def pushed(self, parent: str | None = None, layer: bytes | None = None, **more: Any) -> Image:
        """A fresh image, complete.

        :param layer: as it is sent; else the archive is packed.
        """
        made = image(parent, **more)
        self.push(made, layer)
        return made

    def started(self, parent: str | None = None, **more: Any) -> Image:
        """A fresh image that has its JSON only."""
        made = image(parent, **more)
        self.put_image(made).says(True)
        return made

    def push_through_v2(self, *archives: bytes, tag: str = "latest", config: Any = None, kind: str = LAYER) -> str:
        """Push an image of these layers, packed; the digest of its manifest."""
        repository = Repository(self.wire, self.name)
        document = {
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(each) for each in archives]},
        }
        layers = [gzip.compress(each, 1, mtime=0) for each in archives]
        made = json.dumps(document if config is None else config).encode()
        described = []
        for content, media_type in [(made, CONFIG), *((each, kind) for each in layers)]:
            repository.push_post(digest_of(content), content).expect(201)
            described.append({"mediaType": media_type, "size": len(content), "digest": digest_of(content)})
        members = {"mediaType": DOCKER_MANIFEST, "config": described[0], "layers": described[1:]}
        manifest = json.dumps({"schemaVersion": 2, **members}).encode()
        repository.push_manifest(tag, digest_of(manifest), manifest)
        return digest_of(manifest)

    def seen(self, tag: str = "latest") -> Image:
        """What a tag is for clients of v1, without its layer."""
        id = self.call("GET", self.below(f"tags/{tag}")).expect(200).json
        return Image(id, self.call("GET", self.of(id, "json")).expect(200).body, b"")

    def pushed_through_v2(self, *archives: bytes) -> Image:
        self.push_through_v2(*archives)
        return self.seen()

    def assertComplete(self, image: Image, layer: bytes) -> None:
        self.assertEqual(self.call("GET", self.of(image, "json")).expect(200).body, image.json)
        self.assertEqual(self.call("GET", self.of(image, "layer")).expect(200).body, layer)

    def assertUploading(self, image: Image) -> None:
        for what in ("json", "layer", "ancestry"):
            self.call("GET", self.of(image, what)).error(400, UPLOADING)

    # Repositories

    def below(self, what: str, name: str | None = None) -> str:
        return f"/v1/repositories/{name or self.name}/{what}"

    def put_tag(self, tag: str, image: Image, name: str | None = None, *fields: tuple[str, str]) -> V1Answer:
        return self.put_json(self.below(f"tags/{tag}", name), image.id, *fields)

    def assertRefused(self, answer: V1Answer, *statuses: int) -> None:
        """Some error of the client's; its words are not laid down."""
        if answer.status not in (statuses or (400, 404)):
            raise Wrong(f"a refusal expected from {answer}")
