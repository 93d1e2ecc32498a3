"""The orders of requests in which clients call, replayed byte for byte where it matters.

They were recorded from dockerd 20.10, skopeo 1.9, podman 4.3, containerd 1.6 and 2.4, crane, oras-go 3, oras for Python
0.2 and python-dxf 12. What is demanded of the answers is what those clients cannot do without.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
from urllib.parse import quote, urlencode, urlsplit

from docker_registry.registry.documents import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from docker_registry.test.clients.conformance import base
from docker_registry.test.clients.pushing import OCTETS, content_range
from docker_registry.test.clients.replaying import GZIP, JSON, LAYER, OCI, SCHEMA_2, Replay
from docker_registry.test.clients.wire import Body, Wire, digest_of, with_query

SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
TYPES = [DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX, SCHEMA_1, "application/json"]
ANYTHING = ("Accept", "*/*")


class DockerTests(Replay):
    """dockerd 20.10: a connection for each request. What it demands most, it says least about."""

    keep_alive = False

    def accepts(self) -> list[tuple[str, str]]:
        """Six headers, whose order changes with each request."""
        order = next(self._orders)
        return [("Accept", media_type) for media_type in order]

    def setUp(self) -> None:
        super().setUp()
        self._orders = itertools.cycle(itertools.permutations(TYPES))

    def upload(self, digest: str, content: bytes) -> None:
        session = self.call("POST", "blobs/uploads/", b"").expect(202, Content_Length="0")
        self.assertRegex(session["Docker-Upload-UUID"], "^[0-9a-f-]{36}$")
        pieces = [content[at : at + 32768] for at in range(0, len(content), 32768)]
        # Chunked, and of no type. Without a Range in the answer the push ends with "EOF"; with a unit in it, with
        # "expected integer".
        patched = self.wire("PATCH", session["Location"], iter(pieces)).expect(202)
        self.assertRegex(patched["Range"], "^[0-9]+-[0-9]+$")
        self.assertEqual(patched["Range"], f"0-{len(content) - 1}")
        self.assertIn(patched["Docker-Upload-UUID"], patched["Location"])
        put = self.wire("PUT", self.end_of(patched, digest), b"").expect(201, Docker_Content_Digest=digest)
        self.assertTrue(put["Location"].endswith(f"/v2/{self.name}/blobs/{digest}"))
        self.call("HEAD", f"blobs/{digest}").expect(200, Docker_Content_Digest=digest, Content_Length=str(len(content)))

    def push(self) -> bytes:
        self.ping()
        for digest, content in self.blobs.items():
            self.upload(digest, content)
        manifest = self.manifest()
        self.call("PUT", "manifests/latest", manifest, SCHEMA_2).expect(201, Docker_Content_Digest=digest_of(manifest))
        return manifest

    def test_push_and_again(self) -> None:
        manifest = self.push()
        self.ping()
        for digest, content in self.blobs.items():
            self.call("HEAD", f"blobs/{digest}").expect(200, Content_Length=str(len(content)))
        self.call("PUT", "manifests/latest", manifest, SCHEMA_2).expect(201)

    def test_pull(self) -> None:
        manifest = self.push()
        self.ping()
        head = self.call("HEAD", "manifests/latest", None, *self.accepts())
        head.expect(200, Content_Type=DOCKER_MANIFEST, Content_Length=str(len(manifest)))
        digest = head["Docker-Content-Digest"]
        got = self.call("GET", f"manifests/{digest}", None, *self.accepts(), GZIP)
        got.expect(200, Content_Type=DOCKER_MANIFEST, Docker_Content_Digest=digest)
        self.assertEqual(got.body, manifest)
        self.assertHeld(self.blobs)

    def test_pull_is_resumed(self) -> None:
        """The connection is cut; the rest is asked for without the coding that Go otherwise asks for by itself."""
        self.push()
        (digest, content), *_ = self.layers.items()
        address = urlsplit(base(self.storage))
        with socket.create_connection((address.hostname, address.port)) as cut:
            cut.sendall(f"GET /v2/{self.name}/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head, _, start = cut.recv(65536).partition(b"\r\n\r\n")
            self.assertIn(b" 200 ", head)
            while len(start) < 100_000:
                start += cut.recv(65536)
        rest = self.call("GET", f"blobs/{digest}", None, ("Range", f"bytes={len(start)}-"))
        rest.expect(206, Content_Range=f"bytes {len(start)}-{len(content) - 1}/{len(content)}")
        self.assertEqual(start + rest.body, content)

    def test_pull_of_nothing(self) -> None:
        self.push()
        self.call("HEAD", "manifests/none", None, *self.accepts()).expect(404)
        answer = self.call("GET", "manifests/none", None, *self.accepts()).error(404, "MANIFEST_UNKNOWN")
        self.assertTrue(answer.json["errors"][0]["message"])

    def test_wrong_method(self) -> None:
        """What has no body, dockerd shows as an error of its own."""
        self.wire("POST", "/v2/", b"").error(405, "UNSUPPORTED").expect(405, Allow="GET, HEAD")

    def test_all_tags(self) -> None:
        self.push()
        for tag in self.call("GET", "tags/list").expect(200).json["tags"]:
            self.call("HEAD", f"manifests/{tag}", None, *self.accepts()).expect(200)

    def test_mount(self) -> None:
        self.push()
        source, self.name = self.name, self.fresh().name
        for digest in self.blobs:
            self.call("HEAD", f"blobs/{digest}").expect(404)
            query = f"from={quote(source, safe='')}&mount={quote(digest, safe='')}"
            mounted = self.call("POST", f"blobs/uploads/?{query}", b"")
            mounted.expect(201, Docker_Content_Digest=digest, Content_Length="0")
            self.call("HEAD", f"blobs/{digest}").expect(200, Docker_Content_Digest=digest)

    def test_manifest_list(self) -> None:
        """``docker manifest push``: each blob mounted, the image by digest, the list by tag."""
        manifest = self.push()
        source, self.name = self.name, self.fresh().name
        for digest in self.blobs:
            self.ping()
            self.call("POST", f"blobs/uploads/?from={quote(source, safe='')}&mount={quote(digest)}", b"").expect(201)
            self.call("HEAD", f"blobs/{digest}").expect(200)
        digest = digest_of(manifest)
        self.call("PUT", f"manifests/{digest}", manifest, SCHEMA_2).expect(201)
        child = {"mediaType": DOCKER_MANIFEST, "size": len(manifest), "digest": digest}
        child |= {"platform": {"architecture": "amd64", "os": "linux"}}
        listed = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [child]}).encode()
        self.call("PUT", "manifests/all", listed, ("Content-Type", DOCKER_LIST)).expect(201)
        got = self.call("GET", "manifests/all", None, *self.accepts()).expect(200, Content_Type=DOCKER_LIST)
        self.assertEqual(got.body, listed)

    def test_tls_first(self) -> None:
        """To a registry marked insecure docker, podman and skopeo first speak TLS; then they come again."""
        address = urlsplit(base(self.storage))
        hello = bytes.fromhex("16030100c8010000c40303") + os.urandom(189)
        with socket.create_connection((address.hostname, address.port), timeout=10) as client:
            client.sendall(hello)
            while client.recv(65536):
                pass
        self.ping()


class SkopeoTests(Replay):
    """skopeo 1.9, podman 4.3 and buildah 1.28 (containers/image): a connection for each request."""

    keep_alive = False

    def upload(self, digest: str, content: bytes, body: Body) -> None:
        for _ in range(2):
            self.call("HEAD", f"blobs/{digest}").expect(404)
        session = self.call("POST", "blobs/uploads/", b"").expect(202)
        patched = self.wire("PATCH", session["Location"], body, OCTETS).expect(202)
        self.wire("PUT", self.end_of(patched, digest), b"", OCTETS).expect(201)

    def push(self, reference: str, *, chunked: bool) -> bytes:
        self.ping()
        for digest, content in self.blobs.items():
            self.upload(digest, content, iter([content]) if chunked else content)
        manifest = self.manifest(OCI_MANIFEST)
        self.call("PUT", f"manifests/{reference}", manifest, OCI).expect(201)
        return manifest

    def accepts(self) -> list[tuple[str, str]]:
        return [("Accept", media_type) for media_type in TYPES[:-1]]

    def test_skopeo(self) -> None:
        """Pushes with a length; pulls without HEAD; deletes what it has asked for."""
        manifest = self.push("latest", chunked=False)
        self.ping()
        got = self.call("GET", "manifests/latest", None, *self.accepts()).expect(200, Content_Type=OCI_MANIFEST)
        self.assertEqual(got.body, manifest)
        self.assertHeld(self.blobs)
        self.assertEqual(self.call("GET", "tags/list").expect(200).json["tags"], ["latest"])
        self.call("DELETE", f"manifests/{digest_of(got.body)}").expect(202)
        self.assertEqual(self.call("GET", "tags/list").expect(200).json["tags"], [])

    def test_podman(self) -> None:
        """Pushes in chunks; searches in the catalogue."""
        self.push("latest", chunked=True)
        self.ping()
        self.assertIn(self.name, self.whole_catalogue())

    def whole_catalogue(self) -> list[str]:
        found: list[str] = []
        target: str | None = "/v2/_catalog"
        while target is not None:
            answer = self.wire("GET", target).expect(200)
            found += answer.json["repositories"]
            link = answer.headers.get("Link")
            target = link.split(">")[0].removeprefix("<") if link else None
        return found

    def test_all(self) -> None:
        """The children by digest, then the index by tag."""
        children = []
        for architecture in ("amd64", "arm64"):
            config, layer = json.dumps({"architecture": architecture}).encode(), os.urandom(1000)
            self.config, self.layers = {digest_of(config): config}, {digest_of(layer): layer}
            manifest = self.push(digest_of(self.manifest(OCI_MANIFEST)), chunked=False)
            children.append({"mediaType": OCI_MANIFEST, "size": len(manifest), "digest": digest_of(manifest)})
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode()
        put = self.call("PUT", "manifests/latest", index, ("Content-Type", OCI_INDEX)).expect(201)
        self.assertEqual(put["Docker-Content-Digest"], digest_of(index))

    def test_cancelled_after_a_failed_mount(self) -> None:
        digest = next(iter(self.blobs))
        query = f"from={quote(self.fresh().name, safe='')}&mount={quote(digest, safe='')}"
        session = self.call("POST", f"blobs/uploads/?{query}", b"").expect(202)
        self.wire("DELETE", session["Location"]).expect(204)
        self.wire("GET", session["Location"]).error(404, "BLOB_UPLOAD_UNKNOWN")


class ContainerdTests(Replay):
    """containerd 1.6 and 2.4: no ping, connections that stay, and the blob in the PUT."""

    def upload(self, digest: str, content: bytes) -> None:
        self.call("HEAD", f"blobs/{digest}", None, ("Accept", f"{LAYER}, */*")).expect(404)
        session = self.call("POST", "blobs/uploads/", b"").expect(202)
        self.wire("PUT", self.end_of(session, digest), content, OCTETS).expect(201, Docker_Content_Digest=digest)

    def test_push_and_pull(self) -> None:
        for digest, content in self.blobs.items():
            self.upload(digest, content)
        manifest = self.manifest(OCI_MANIFEST)
        digest = digest_of(manifest)
        accept = ("Accept", ", ".join([OCI_MANIFEST, OCI_INDEX, "*/*"]))
        self.call("HEAD", f"manifests/{digest}", None, accept).expect(404)
        for reference in (digest, "1"):
            self.call("PUT", f"manifests/{reference}", manifest, OCI).expect(201, Docker_Content_Digest=digest)
        self.call("HEAD", "manifests/1", None, accept).expect(200, Docker_Content_Digest=digest)
        self.call("GET", f"manifests/{digest}", None, accept).expect(200, Content_Type=OCI_MANIFEST)
        for each, content in self.layers.items():
            codings = ("Accept-Encoding", "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5")
            got = self.call("GET", f"blobs/{each}", None, ("Accept", f"{LAYER}, */*"), codings).expect(200)
            self.assertEqual(got.body, content)
            whole = self.call("GET", f"blobs/{each}", None, ("Range", "bytes=0-")).expect(206)
            self.assertEqual(whole.body, content)
            first = self.call("GET", f"blobs/{each}", None, ("Range", "bytes=0-999")).expect(206)
            rest = self.call("GET", f"blobs/{each}", None, ("Range", "bytes=1000-")).expect(206)
            self.assertEqual(first.body + rest.body, content)

    def test_mount(self) -> None:
        """Digest and source are not escaped."""
        for digest, content in self.blobs.items():
            self.upload(digest, content)
        source, self.name = self.name, self.fresh().name
        for digest in self.blobs:
            self.call("HEAD", f"blobs/{digest}").expect(404)
            missing = self.call("POST", f"blobs/uploads/?mount={digest}&from=no/such", b"").expect(202)
            self.wire("DELETE", missing["Location"]).expect(204)
            self.call("POST", f"blobs/uploads/?mount={digest}&from={source}", b"").expect(201)


class CraneTests(Replay):
    """crane (go-containerregistry): connections that stay, uploads that interleave."""

    def test_push(self) -> None:
        self.ping()
        manifest = self.manifest()
        self.call("HEAD", "manifests/1", None, ("Accept", DOCKER_MANIFEST)).expect(404)
        sessions = {}
        for digest in self.blobs:
            self.call("HEAD", f"blobs/{digest}").expect(404)
            sessions[digest] = self.call("POST", "blobs/uploads/", b"", JSON).expect(202)
        for digest, content in self.blobs.items():
            sessions[digest] = self.wire("PATCH", sessions[digest]["Location"], content).expect(202)
        for digest in self.blobs:
            self.wire("PUT", self.end_of(sessions[digest], digest), b"").expect(201)
        self.call("PUT", "manifests/1", manifest, SCHEMA_2).expect(201)
        head = self.call("HEAD", "manifests/1", None, ("Accept", DOCKER_MANIFEST)).expect(200)
        self.assertEqual(head["Docker-Content-Digest"], digest_of(manifest))
        self.assertHeld(self.blobs)
        self.assertEqual(self.call("GET", "tags/list?n=1000").expect(200).json["tags"], ["1"])
        self.wire("GET", "/v2/_catalog?n=1000").expect(200)
        self.call("PUT", "manifests/2", manifest, SCHEMA_2).expect(201)
        self.call("DELETE", "manifests/2").expect(202)
        self.assertEqual(self.call("GET", "tags/list?n=1000").expect(200).json["tags"], ["1"])

    def test_copy(self) -> None:
        """A mount names the host that the blob comes from, too."""
        ((digest, content),) = self.config.items()
        self.repository.push(digest, content)
        source, self.name = self.name, self.fresh().name
        query = urlencode({"from": source, "mount": digest, "origin": "other.example:5000"})
        self.call("POST", f"blobs/uploads/?{query}", b"", JSON).expect(201)


class OrasTests(Replay):
    """oras in Go: the blob in the PUT; and what refers to an image."""

    def upload(self, digest: str, content: bytes) -> None:
        self.call("HEAD", f"blobs/{digest}").expect(404)
        session = self.call("POST", "blobs/uploads/", b"").expect(202)
        self.wire("PUT", with_query(session["Location"], "digest", digest), content, OCTETS).expect(201)

    def test_attach(self) -> None:
        probe = "sha256:" + "0" * 64
        self.call("GET", f"referrers/{probe}").expect(200, Content_Type=OCI_INDEX)
        for digest, content in self.blobs.items():
            self.upload(digest, content)
        subject = self.manifest(OCI_MANIFEST)
        self.call("HEAD", "manifests/1", None, ("Accept", OCI_MANIFEST)).expect(404)
        self.call("PUT", "manifests/1", subject, OCI).expect(201)
        described = {"mediaType": OCI_MANIFEST, "digest": digest_of(subject), "size": len(subject)}
        more = {"artifactType": "application/vnd.example.sbom", "annotations": {"made.by": "ä"}, "subject": described}
        artifact = self.manifest(OCI_MANIFEST, **more)
        put = self.call("PUT", f"manifests/{digest_of(artifact)}", artifact, OCI).expect(201)
        self.assertEqual(put["OCI-Subject"], digest_of(subject))
        query = f"referrers/{digest_of(subject)}?artifactType=application%2Fvnd.example.sbom"
        (listed,) = self.call("GET", query).expect(200, OCI_Filters_Applied="artifactType").json["manifests"]
        expected = {"mediaType": OCI_MANIFEST, "digest": digest_of(artifact), "size": len(artifact), **more}
        del expected["subject"]
        self.assertEqual(listed, expected)
        self.call("DELETE", f"manifests/{digest_of(artifact)}").expect(202)
        self.assertEqual(self.call("GET", query).expect(200).json["manifests"], [])

    def test_seeking(self) -> None:
        """It reads a blob in parts only where it is told that it can."""
        ((digest, content),) = self.config.items()
        self.upload(digest, content)
        self.call("HEAD", f"blobs/{digest}").expect(200, Accept_Ranges="bytes")


class PythonTests(Replay):
    """oras for Python and python-dxf."""

    def test_oras_in_chunks(self) -> None:
        for digest, content in self.blobs.items():
            self.call("HEAD", f"blobs/{digest}", None, ANYTHING).expect(404)
            session = self.call("POST", "blobs/uploads/", b"", ANYTHING).expect(202)
            for start in range(0, len(content), 500_000):
                chunk = content[start : start + 500_000]
                session = self.wire("PATCH", session["Location"], chunk, OCTETS, content_range(start, chunk))
                session.expect(202)
            self.wire("PUT", with_query(session["Location"], "digest", digest), b"", ANYTHING).expect(201)
        self.assertHeld(self.blobs)

    def test_dxf(self) -> None:
        """A connection for each call; DELETE with a length of nothing."""
        self.wire = Wire(base(self.storage), keep_alive=False, strict=self.ours)
        for digest, content in self.blobs.items():
            self.call("HEAD", f"blobs/{digest}").expect(404)
            session = self.call("POST", "blobs/uploads/", b"").expect(202)
            self.wire("PUT", with_query(session["Location"], "digest", digest), content).expect(201)
            self.call("HEAD", f"blobs/{digest}").expect(200)
        manifest = self.manifest()
        self.call("PUT", "manifests/alias", manifest, SCHEMA_2).expect(201)
        got = self.call("GET", "manifests/alias", None, ("Accept", DOCKER_MANIFEST)).expect(200)
        self.call("DELETE", f"manifests/{got['Docker-Content-Digest']}", b"").expect(202)
        for digest in self.blobs:
            self.call("DELETE", f"blobs/{digest}", b"").expect(202)

    def test_without_the_last_slash(self) -> None:
        """Neither redirected nor refused."""
        self.call("POST", "blobs/uploads", b"").expect(202)
