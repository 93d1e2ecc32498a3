"""What clients send that cannot be run here, call by call, over a real port: crane's, python-dxf's, oras's orders, and
what dockerd demands of each answer."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.registry.documents import DOCKER_MANIFEST, OCI_MANIFEST
from docker_registry.test.clients.daemon import Ours

LAYERS = (os.urandom(100_000), os.urandom(200_000))
CONFIG = b"{}"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def manifest(media_type: str) -> bytes:
    def describe(content: bytes) -> dict[str, Any]:
        return {"mediaType": "application/octet-stream", "digest": digest_of(content), "size": len(content)}

    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": describe(CONFIG),
            "layers": [describe(layer) for layer in LAYERS],
        }
    ).encode()


class Connection:
    """One connection that is kept; a client that closes makes a new one for each call."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, method: str, target: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        chunked = body is not None and not isinstance(body, bytes)
        self._connection.request(method, target, body, named, encode_chunked=chunked)
        answer = self._connection.getresponse()
        answer.content = answer.read()  # type: ignore[attr-defined]
        return answer

    def close(self) -> None:
        self._connection.close()


class CallOrderTests(SynchronousTestCase):
    timeout = 120

    def setUp(self) -> None:
        work = Path(tempfile.mkdtemp(prefix="orders-"))
        self.addCleanup(shutil.rmtree, work, ignore_errors=True)
        self.registry = Ours(work / "store")
        self.addCleanup(self.registry.stop)
        self.kept = Connection(self.registry.port)
        self.addCleanup(self.kept.close)

    def ask(self, status: int, method: str, target: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        answer = self.kept.ask(method, target, body, **headers)
        self.assertEqual(answer.status, status, (method, target, answer.content))  # type: ignore[attr-defined]
        return answer

    def alone(
        self, status: int, method: str, target: str, body: Any = None, **headers: str
    ) -> http.client.HTTPResponse:
        """As `ask`, over a connection of its own, which the client says it will close."""
        connection = Connection(self.registry.port)
        try:
            answer = connection.ask(method, target, body, Connection="close", **headers)
        finally:
            connection.close()
        self.assertEqual(answer.status, status, (method, target))
        return answer

    def location(self, answer: http.client.HTTPResponse, kind: str) -> str:
        """Relative, so that no proxy can make it wrong."""
        found = answer.headers["Location"]
        self.assertTrue(found.startswith(f"/v2/a/b/{kind}"), found)
        return found

    def test_crane(self) -> None:
        """Keeps its connection; interleaves the uploads of several layers; announces lengths."""
        content = manifest(OCI_MANIFEST)
        self.ask(200, "GET", "/v2/")
        self.ask(404, "HEAD", "/v2/a/b/manifests/1")
        locations = {}
        for blob in (*LAYERS, CONFIG):
            self.ask(404, "HEAD", f"/v2/a/b/blobs/{digest_of(blob)}")
            started = self.ask(202, "POST", "/v2/a/b/blobs/uploads/", b"", Content_Type="application/json")
            locations[blob] = self.location(started, "blobs/uploads/")
        for blob in locations:
            answer = self.ask(202, "PATCH", locations[blob], blob, Content_Type="application/octet-stream")
            locations[blob] = self.location(answer, "blobs/uploads/")
        for blob, location in locations.items():
            finished = self.ask(201, "PUT", f"{location}?digest={quote(digest_of(blob), safe='')}", b"")
            self.location(finished, "blobs/sha256:")
        self.ask(201, "PUT", "/v2/a/b/manifests/1", content, Content_Type=OCI_MANIFEST)
        head = self.ask(200, "HEAD", "/v2/a/b/manifests/1")
        self.assertEqual(head.headers["Docker-Content-Digest"], digest_of(content))
        mounted = self.ask(
            201,
            "POST",
            f"/v2/copy/blobs/uploads/?from=a%2Fb&mount={quote(digest_of(LAYERS[0]), safe='')}&origin=registry.example",
            b"",
        )
        self.assertEqual(mounted.headers["Location"], f"/v2/copy/blobs/{digest_of(LAYERS[0])}")
        self.ask(201, "PUT", "/v2/a/b/manifests/2", content, Content_Type=OCI_MANIFEST)
        listed = self.ask(200, "GET", "/v2/a/b/tags/list?n=1000")
        self.assertEqual(json.loads(listed.content)["tags"], ["1", "2"])  # type: ignore[attr-defined]
        self.ask(200, "GET", "/v2/_catalog?n=1000")
        self.ask(202, "DELETE", f"/v2/a/b/manifests/{digest_of(content)}")
        self.ask(404, "HEAD", "/v2/a/b/manifests/1")

    def test_python_dxf(self) -> None:
        """A connection for each call, whole blobs in the closing PUT, schema 2, a HEAD after each."""
        content = manifest(DOCKER_MANIFEST)
        for blob in (*LAYERS, CONFIG):
            self.alone(404, "HEAD", f"/v2/a/b/blobs/{digest_of(blob)}")
            location = self.location(self.alone(202, "POST", "/v2/a/b/blobs/uploads/", b""), "blobs/uploads/")
            finished = self.alone(201, "PUT", f"{location}?digest={digest_of(blob)}", blob)
            self.assertEqual(finished.headers["Docker-Content-Digest"], digest_of(blob))
            self.alone(200, "HEAD", f"/v2/a/b/blobs/{digest_of(blob)}")
        self.alone(201, "PUT", "/v2/a/b/manifests/1", content, Content_Type=DOCKER_MANIFEST)
        pulled = self.alone(200, "GET", "/v2/a/b/manifests/1", Accept=DOCKER_MANIFEST)
        self.assertEqual((pulled.content, pulled.headers["Content-Type"]), (content, DOCKER_MANIFEST))  # type: ignore[attr-defined]
        self.alone(202, "DELETE", f"/v2/a/b/manifests/{digest_of(content)}", Content_Length="0")

    def test_oras(self) -> None:
        """Chunks with Content-Range, an empty PUT; then a referrer, which the registry says it lists."""
        for blob in (*LAYERS, CONFIG):
            location = self.location(self.ask(202, "POST", "/v2/a/b/blobs/uploads/", b""), "blobs/uploads/")
            for at in range(0, len(blob), 64_000):
                part = blob[at : at + 64_000]
                answer = self.ask(202, "PATCH", location, part, Content_Range=f"{at}-{at + len(part) - 1}")
                self.assertEqual(answer.headers["Range"], f"0-{at + len(part) - 1}")
            self.ask(201, "PUT", f"{location}?digest={digest_of(blob)}", b"")
        content = manifest(OCI_MANIFEST)
        self.ask(201, "PUT", f"/v2/a/b/manifests/{digest_of(content)}", content, Content_Type=OCI_MANIFEST)
        zeros = self.ask(200, "GET", f"/v2/a/b/referrers/sha256:{'0' * 64}")
        self.assertEqual(json.loads(zeros.content)["manifests"], [])  # type: ignore[attr-defined]
        subject = {"mediaType": OCI_MANIFEST, "digest": digest_of(content), "size": len(content)}
        referrer = json.dumps({**json.loads(content), "artifactType": "a/b", "subject": subject}).encode()
        pushed = self.ask(201, "PUT", f"/v2/a/b/manifests/{digest_of(referrer)}", referrer, Content_Type=OCI_MANIFEST)
        self.assertEqual(pushed.headers["OCI-Subject"], digest_of(content))
        listed = self.ask(200, "GET", f"/v2/a/b/referrers/{digest_of(content)}?artifactType=a%2Fb")
        (found,) = json.loads(listed.content)["manifests"]  # type: ignore[attr-defined]
        self.assertEqual(
            (found["digest"], listed.headers["OCI-Filters-Applied"]), (digest_of(referrer), "artifactType")
        )

    def test_what_dockerd_demands(self) -> None:
        """Without these its push fails with "EOF", "expected integer", or without a word."""
        blob = LAYERS[0]
        self.assertEqual(self.alone(200, "GET", "/v2/").headers["Docker-Distribution-Api-Version"], "registry/2.0")
        started = self.alone(202, "POST", "/v2/a/b/blobs/uploads/", b"")
        self.assertEqual(started.headers["Content-Length"], "0")
        self.assertTrue(started.headers["Docker-Upload-UUID"])
        location = self.location(started, "blobs/uploads/")
        patched = self.alone(202, "PATCH", location, iter([blob[:1000], blob[1000:]]), Transfer_Encoding="chunked")
        self.assertEqual(patched.headers["Range"], f"0-{len(blob) - 1}")  # and no unit in it
        finished = self.alone(201, "PUT", f"{self.location(patched, 'blobs/uploads/')}?digest={digest_of(blob)}", b"")
        self.assertEqual(finished.headers["Docker-Content-Digest"], digest_of(blob))
        for method in ("HEAD", "GET"):
            answer = self.alone(200, method, f"/v2/a/b/blobs/{digest_of(blob)}")
            self.assertEqual(answer.headers["Docker-Content-Digest"], digest_of(blob))
            self.assertEqual(answer.headers["Content-Length"], str(len(blob)))
        resumed = self.alone(206, "GET", f"/v2/a/b/blobs/{digest_of(blob)}", Range="bytes=5000-")
        self.assertEqual(resumed.headers["Content-Range"], f"bytes 5000-{len(blob) - 1}/{len(blob)}")
        self.assertEqual(resumed.content, blob[5000:])  # type: ignore[attr-defined]
        mounted = self.alone(
            201, "POST", f"/v2/c/blobs/uploads/?from=a%2Fb&mount={quote(digest_of(blob), safe='')}", b""
        )
        self.assertEqual(mounted.headers["Docker-Content-Digest"], digest_of(blob))
        missing = self.alone(404, "GET", "/v2/a/b/manifests/none")
        self.assertEqual(json.loads(missing.content)["errors"][0]["code"], "MANIFEST_UNKNOWN")  # type: ignore[attr-defined]
        refused = self.alone(405, "POST", "/v2/")
        self.assertTrue(json.loads(refused.content)["errors"])  # type: ignore[attr-defined]

    def test_containerd(self) -> None:
        """No ping; raw digests in the query; the manifest by digest, then by tag; parallel ranges from bytes=0-."""
        content = manifest(OCI_MANIFEST)
        for blob in (*LAYERS, CONFIG):
            self.ask(404, "HEAD", f"/v2/a/b/blobs/{digest_of(blob)}")
            started = self.ask(202, "POST", f"/v2/a/b/blobs/uploads/?mount={digest_of(blob)}&from=x/y", b"")
            self.ask(201, "PUT", f"{self.location(started, 'blobs/uploads/')}?digest={digest_of(blob)}", blob)
        self.ask(404, "HEAD", f"/v2/a/b/manifests/{digest_of(content)}")
        self.ask(201, "PUT", f"/v2/a/b/manifests/{digest_of(content)}", content, Content_Type=OCI_MANIFEST)
        self.ask(201, "PUT", "/v2/a/b/manifests/1", content, Content_Type=OCI_MANIFEST)
        head = self.ask(200, "HEAD", "/v2/a/b/manifests/1", Accept=f"{OCI_MANIFEST}, */*")
        self.ask(
            200, "GET", f"/v2/a/b/manifests/{head.headers['Docker-Content-Digest']}", Accept=f"{OCI_MANIFEST}, */*"
        )
        part = self.ask(
            206, "GET", f"/v2/a/b/blobs/{digest_of(LAYERS[1])}", Range="bytes=0-", Accept_Encoding="zstd, gzip"
        )
        self.assertEqual(part.content, LAYERS[1])  # type: ignore[attr-defined]
        self.assertNotIn("Content-Encoding", part.headers)
