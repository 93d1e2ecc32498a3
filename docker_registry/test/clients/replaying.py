"""What the replayed orders of requests have in common: an image to push, and how clients write down what they ask."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from docker_registry.registry.documents import DOCKER_MANIFEST, OCI_MANIFEST
from docker_registry.test.clients.conformance import Conformance, base
from docker_registry.test.clients.wire import Answer, Body, Wire, digest_of

LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
CONFIG = "application/vnd.docker.container.image.v1+json"
JSON = ("Content-Type", "application/json")
SCHEMA_2 = ("Content-Type", DOCKER_MANIFEST)
OCI = ("Content-Type", OCI_MANIFEST)
GZIP = ("Accept-Encoding", "gzip")


class Replay(Conformance):
    """:ivar layers: of an image of two, and its ``config``, by digest."""

    keep_alive = True

    def setUp(self) -> None:
        super().setUp()
        self.wire = Wire(base(self.storage), keep_alive=self.keep_alive, strict=self.ours)
        self.addCleanup(self.wire.close)
        self.name = self.repository.name
        self.layers = {digest_of(content): content for content in (os.urandom(1_700_000), os.urandom(70_000))}
        config = json.dumps({"architecture": "amd64", "os": "linux", "id": os.urandom(8).hex()}).encode()
        self.config = {digest_of(config): config}

    @property
    def blobs(self) -> dict[str, bytes]:
        return self.layers | self.config

    def manifest(self, media_type: str = DOCKER_MANIFEST, **more: Any) -> bytes:
        described = [
            {"mediaType": kind, "size": len(content), "digest": digest}
            for kind, part in ((CONFIG, self.config), (LAYER, self.layers))
            for digest, content in part.items()
        ]
        image = {"schemaVersion": 2, "mediaType": media_type, "config": described[0], "layers": described[1:], **more}
        return json.dumps(image, indent=3).encode()

    def call(self, method: str, below: str, body: Body = None, *fields: tuple[str, str]) -> Answer:
        return self.wire(method, f"/v2/{self.name}/{below}", body, *fields)

    def ping(self) -> None:
        self.wire("GET", "/v2/").expect(200)

    def end_of(self, session: Answer, digest: str) -> str:
        """Where an upload is ended, made as Go's clients make it: the query is parsed and written again."""
        parts = urlsplit(session["Location"])
        if self.ours:
            self.assertEqual((parts.scheme, parts.netloc), ("", ""))
        query = [*parse_qsl(parts.query, strict_parsing=bool(parts.query)), ("digest", digest)]
        return parts._replace(query=urlencode(sorted(query))).geturl()

    def assertHeld(self, blobs: Iterable[str]) -> None:
        for digest in blobs:
            answer = self.call("GET", f"blobs/{digest}", None, GZIP).expect(200, Docker_Content_Digest=digest)
            self.assertEqual(digest_of(answer.body), digest)
