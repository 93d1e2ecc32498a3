"""What strangers send to v2, and the answer it must get (T1-T4, T6-T14, T18, T25, T30-T32).

Each row is quiet: no traceback, nothing new on the disk, and other requests are answered.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.digest import Digest
from docker_registry.front import Front
from docker_registry.registry.documents import OCI_MANIFEST
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.storage.local import LocalStorage
from docker_registry.test.registry_case import Direct
from docker_registry.test.test_documents import REFUSED as BAD_MANIFESTS
from docker_registry.test.test_documents import encoded, image
from docker_registry.test.web_case import Wire
from docker_registry.v1.routes import V1
from docker_registry.v2.routes import V2
from docker_registry.web.limits import Limits
from docker_registry.web.site import Site

D = "sha256:" + "a" * 64
UPLOAD = "5f1c3e9e-0c1b-4d6b-9d7a-000000000000"

NAMES: list[tuple[str, int]] = [
    ("..", 400),
    ("a/../b", 400),
    ("a//b", 400),
    ("/a", 400),
    (".", 400),
    ("%2e%2e/x", 400),
    ("%252e%252e/x", 400),
    ("..%5cx", 400),
    ("a%00b", 400),
    ("a%0a", 400),
    ("a%0d%0aX:y", 400),
    ("A/b", 400),
    ("a/_uploads/b", 400),
    ("_catalog", 400),
    ("a%2fb", 400),
    ("a%2Fb", 400),
    ("%2fetc%2fpasswd", 400),
    ("a/%2e%2e/b", 400),
    ("a" * 256, 400),
    ("/".join("a" * 129), 400),
    ("%c0%ae%c0%ae", 400),
    ("%ff", 400),
    ("%d0%b0", 400),
    ("a%20b", 400),
    ("a+b", 400),
    ("a:b", 400),
    ("a@b", 400),
    ("a.", 400),
    (".a", 400),
    ("-a", 400),
    ("a-", 400),
    ("a..b", 400),
    ("a___b", 400),
    ("~a", 400),
    ("a*", 400),
    ("%", 400),
    ("a%2", 400),
    ("a/blobs/b", 404),
    ("a/manifests/b/tags/c", 404),
    ("blobs", 404),
    ("uploads", 404),
    ("tags/list", 404),
    ("blobs/uploads", 404),
    ("manifests/latest/manifests", 404),
    ("a" * 255, 404),
    ("/".join("a" * 128), 404),
    ("a__b", 404),
]

TAGS: list[tuple[str, int]] = [
    (".", 400),
    ("..", 400),
    (".a", 400),
    ("-a", 400),
    ("a%20b", 400),
    ("a%0a", 400),
    ("a%2fb", 400),
    ("A" * 129, 400),
    ("%00", 400),
    ("a%5cb", 400),
    ("%ff", 400),
    ("a+b", 400),
    ("%d9%a0", 400),
    ("~", 400),
    ("a,b", 400),
    ("A" * 128, 404),
    ("_", 404),
    ("index", 404),
    ("current", 404),
    ("1.0-rc_1", 404),
]

DIGESTS: list[tuple[str, int]] = [
    ("sha256:" + "a" * 63, 400),
    ("sha256:" + "a" * 65, 400),
    ("sha256:" + "A" * 64, 400),
    ("sha256:..%2f..%2fx", 400),
    ("md5:" + "a" * 32, 400),
    (D + "%0a", 400),
    ("sha512:" + "a" * 64, 400),
    ("sha256+b64:" + "a" * 64, 400),
    ("sha256:", 400),
    (":" + "a" * 64, 400),
    ("sha256:" + "g" * 64, 400),
    ("sha384:" + "a" * 96, 400),
    ("x:y", 400),
    (D, 404),
    (D.replace(":", "%3A"), 404),
    (D.replace(":", "%3a"), 404),
    ("sha512:" + "a" * 128, 404),
]

UPLOADS: list[str] = [
    UPLOAD,
    UPLOAD.upper(),
    "x",
    "..%2f..",
    "%2e%2e",
    UPLOAD[:-1],
    UPLOAD + "0",
    UPLOAD + "%0a",
    "state",
    "data",
    "%00",
    "%ff",
]

PAGES: list[tuple[str, int]] = [
    ("n=-1", 400),
    ("n=abc", 400),
    ("n=", 400),
    ("n=1&n=2", 400),
    ("n=1.5", 400),
    ("n=%D9%A1", 400),
    ("n=0x1", 400),
    ("n=0", 200),
    ("n=1000000000", 200),
    (f"n={2**63}", 200),
    ("n=" + "9" * 4000, 200),
    ("last=unknown", 200),
    ("last=..%2F..", 200),
    ("last=%0d%0aX:y", 200),
    ("last=" + "a" * 8000, 200),
    ("last=%00", 200),
    ("last=", 200),
    ("&".join(["x=y"] * 101), 414),
    ("last=%ff", 400),
]


class InputTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(int(time.time()))
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir(parents=True)
        self.storage = LocalStorage(self.base / "store", Direct(), self.clock)
        self.successResultOf(self.storage.start())
        self.addCleanup(self.storage.close)
        registry = Registry(self.storage, Direct(), self.clock, Settings(), self.clock.seconds)
        self.front = Front(V1(registry, Direct(), time.time), V2(registry, Direct()))
        self.site = Site(
            self.clock, self.front.handle, refusal=self.front.refusal, limits=Limits(per_address=0, connections=1 << 20)
        )
        self.layer = b"layer"
        self.push_blob("r", self.layer)
        self.push_blob("r", b"{}")
        self.before = self.listing()

    def listing(self) -> list[str]:
        """Everything on the disk, also beside the store."""
        return sorted(str(path) for path in self.base.rglob("*"))

    def ask(self, method: str, target: str, body: bytes = b"", *headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer, over a connection of its own."""
        lines = [f"{method} {target} HTTP/1.1", "Host: registry:5000", f"Content-Length: {len(body)}", *headers, "", ""]
        channel, wire = self.site.buildProtocol(None), Wire()
        channel.makeConnection(wire)
        channel.dataReceived("\r\n".join(lines).encode() + body)
        head, _, content = wire.value().partition(b"\r\n\r\n")
        first, *fields = head.decode("ascii").split("\r\n")
        return (
            int(first.split()[1]),
            {name.lower(): value for name, _, value in (f.partition(": ") for f in fields)},
            content,
        )

    def push_blob(self, name: str, content: bytes) -> str:
        digest = str(Digest.of(content))
        status, _, _ = self.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", content)
        self.assertEqual(status, 201)
        return digest

    def assertQuiet(self, status: int, code: str, method: str, target: str, body: bytes = b"", *headers: str) -> None:
        label = (method, target[:200], body[:50])
        found, fields, content = self.ask(method, target, body, *headers)
        self.assertEqual(found, status, label)
        self.assertEqual(fields["docker-distribution-api-version"], "registry/2.0", label)
        if status >= 400 and method != "HEAD":
            self.assertEqual(fields["content-type"], "application/json", label)
            (error, *_) = json.loads(content)["errors"]
            self.assertIn(error["code"], code.split(), label)
            self.assertTrue(error["message"], label)
        self.assertEqual(self.listing(), self.before, label)
        self.assertEqual(self.flushLoggedErrors(), [], label)
        self.assertEqual(self.ask("GET", "/v2/")[0], 200)

    def test_names(self) -> None:
        for name, status in NAMES:
            code = "NAME_INVALID" if status == 400 else "NAME_UNKNOWN BLOB_UNKNOWN MANIFEST_UNKNOWN BLOB_UPLOAD_UNKNOWN"
            for method, rest in (
                ("GET", "tags/list"),
                ("GET", f"blobs/{D}"),
                ("GET", "manifests/latest"),
                ("DELETE", f"manifests/{D}"),
                ("GET", f"blobs/uploads/{UPLOAD}"),
                ("PATCH", f"blobs/uploads/{UPLOAD}"),
                ("DELETE", f"blobs/{D}"),
            ):
                self.assertQuiet(status, code, method, f"/v2/{name}/{rest}")
            if status == 400:
                self.assertQuiet(status, code, "POST", f"/v2/{name}/blobs/uploads/")
                self.assertQuiet(status, code, "PUT", f"/v2/{name}/manifests/latest", b"{}")
                self.assertQuiet(status, code, "GET", f"/v2/{name}/referrers/{D}")

    def test_tags(self) -> None:
        for tag, status in TAGS:
            code = "TAG_INVALID NAME_INVALID UNSUPPORTED" if status == 400 else "MANIFEST_UNKNOWN"
            for method in ("GET", "HEAD", "DELETE"):
                self.assertQuiet(status, code, method, f"/v2/r/manifests/{tag}")
            if status == 400:
                self.assertQuiet(status, code, "PUT", f"/v2/r/manifests/{tag}", encoded(image()))
                self.assertQuiet(400, code, "PUT", f"/v2/r/manifests/{D}?tag={tag}", encoded(image()))

    def test_digests(self) -> None:
        for digest, status in DIGESTS:
            code = "DIGEST_INVALID NAME_INVALID" if status == 400 else "BLOB_UNKNOWN MANIFEST_UNKNOWN"
            for method, kind in (("GET", "blobs"), ("HEAD", "blobs"), ("DELETE", "blobs"), ("GET", "manifests")):
                self.assertQuiet(status, code, method, f"/v2/r/{kind}/{digest}")
            if status == 400 and "%2f" not in digest:
                self.assertQuiet(400, code, "PUT", f"/v2/r/manifests/{digest}", encoded(image()))
                self.assertQuiet(400, code, "POST", f"/v2/r/blobs/uploads/?digest={digest.replace('+', '%2B')}", b"x")
                self.assertQuiet(400, code, "POST", f"/v2/r/blobs/uploads/?mount={digest.replace('+', '%2B')}")
                self.assertQuiet(400, code, "GET", f"/v2/r/referrers/{digest}")

    def test_digest_twice(self) -> None:
        self.assertQuiet(400, "DIGEST_INVALID", "POST", f"/v2/r/blobs/uploads/?digest={D}&digest={D}", b"x")

    def test_wrong_digest(self) -> None:
        self.assertQuiet(400, "DIGEST_INVALID", "POST", f"/v2/r/blobs/uploads/?digest={D}", b"x")
        self.assertQuiet(400, "DIGEST_INVALID", "PUT", f"/v2/r/manifests/{D}", encoded(image()))

    def test_upload_ids(self) -> None:
        for upload in UPLOADS:
            for method in ("GET", "PATCH", "PUT", "DELETE"):
                code = "BLOB_UPLOAD_UNKNOWN NAME_INVALID"
                status = 400 if upload in ("..%2f..", "%00", "%ff") else 404
                self.assertQuiet(
                    status, code, method, f"/v2/r/blobs/uploads/{upload}?digest={D}", b"x" if method == "PATCH" else b""
                )

    def test_upload_of_another_repository(self) -> None:
        """No difference between one that is elsewhere and one that is nowhere (T4)."""
        _, fields, _ = self.ask("POST", "/v2/r/blobs/uploads/")
        here = fields["location"]
        self.before = self.listing()
        answers = []
        for location in (here.replace("/r/", "/other/"), f"/v2/other/blobs/uploads/{UPLOAD}"):
            for method in ("GET", "PATCH", "PUT", "DELETE"):
                self.assertQuiet(404, "BLOB_UPLOAD_UNKNOWN", method, f"{location}?digest={D}", b"x")
            answers.append(self.ask("GET", location)[2])
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(self.ask("GET", here)[0], 204)

    def test_chunks(self) -> None:
        _, fields, _ = self.ask("POST", "/v2/r/blobs/uploads/")
        location = fields["location"]
        self.before = self.listing()
        for value, status, code in (
            ("1-1", 416, "RANGE_INVALID"),
            ("5-9", 416, "RANGE_INVALID"),
            ("0-5", 400, "SIZE_INVALID"),
            ("x", 400, "SIZE_INVALID"),
            ("1-0", 400, "SIZE_INVALID"),
            ("-1", 400, "SIZE_INVALID"),
            ("0-", 400, "SIZE_INVALID"),
            ("0-0,1-1", 400, "SIZE_INVALID"),
            ("bytes 5-5/9", 416, "RANGE_INVALID"),
            ("0-" + "9" * 30, 400, "SIZE_INVALID"),
            ("lines 0-0", 400, "SIZE_INVALID"),
        ):
            for method in ("PATCH", "PUT"):
                self.assertQuiet(status, code, method, f"{location}?digest={D}", b"x", f"Content-Range: {value}")
        status, fields, _ = self.ask("PATCH", location, b"x", "Content-Range: 7-7")
        self.assertEqual((status, fields["range"], fields["location"]), (416, "0-0", location))

    def test_pages(self) -> None:
        for query, status in PAGES:
            for path in ("/v2/r/tags/list", "/v2/_catalog", f"/v2/r/referrers/{D}"):
                self.assertQuiet(status, "PAGINATION_NUMBER_INVALID UNSUPPORTED", "GET", f"{path}?{query}")

    def test_manifests(self) -> None:
        for name, document, content_type in BAD_MANIFESTS:
            headers = [f"Content-Type: {content_type}"] if content_type else []
            self.assertQuiet(
                400,
                "MANIFEST_INVALID",
                "PUT",
                f"/v2/r/manifests/{name.split()[0].lower()}",
                encoded(document),
                *headers,
            )

    def test_manifest_size(self) -> None:
        """4 MiB, and a byte more; whether it was announced or not (T8)."""
        layer = {"mediaType": "a/b", "digest": str(Digest.of(self.layer)), "size": len(self.layer)}
        config = {"mediaType": "a/b", "digest": str(Digest.of(b"{}")), "size": 2}
        content = encoded(image(config=config, layers=[layer], annotations={"x": ""}))
        exact = content.replace(b'"x": ""', b'"x": "%b"' % (b"y" * ((4 << 20) - len(content))))
        self.assertEqual(len(exact), 4 << 20)
        self.assertQuiet(
            413, "MANIFEST_INVALID", "PUT", "/v2/r/manifests/t", exact + b" ", f"Content-Type: {OCI_MANIFEST}"
        )
        self.assertEqual(self.ask("PUT", "/v2/r/manifests/t", exact)[0], 201)

    def test_many_annotations(self) -> None:
        """What refers to a manifest is listed in pages that clients take, with all that it says of itself."""
        config = {"mediaType": "a/b", "digest": str(Digest.of(b"{}")), "size": 2}
        subject = {"mediaType": OCI_MANIFEST, "digest": D, "size": 1}
        for number in range(3):
            annotations = {str(number): "x" * 2_500_000}
            content = encoded(image(config=config, layers=[], subject=subject, annotations=annotations))
            self.assertEqual(self.ask("PUT", f"/v2/r/manifests/t{number}", content)[0], 201)
        found, target = 0, f"/v2/r/referrers/{D}"
        while target:
            status, fields, content = self.ask("GET", target)
            self.assertEqual(status, 200)
            self.assertLess(len(content), 4 << 20)
            found += len(json.loads(content)["manifests"])
            target = fields.get("link", "<>").partition(">")[0][1:]
        self.assertEqual(found, 3)

    def test_too_many_tags(self) -> None:
        tags = [f"tag=t{number}" for number in range(101)]
        self.assertQuiet(
            400, "MANIFEST_INVALID DIGEST_INVALID", "PUT", f"/v2/r/manifests/{D}?{'&'.join(tags[:-1])}", b"{}"
        )
        self.assertQuiet(414, "UNSUPPORTED", "PUT", f"/v2/r/manifests/{D}?{'&'.join(tags)}", b"{}")

    def test_form_bodies_are_bytes(self) -> None:
        """T14."""
        for content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
            digest = str(Digest.of(b"&=a&"))
            status, _, _ = self.ask(
                "POST", f"/v2/f/blobs/uploads/?digest={digest}", b"&=a&", f"Content-Type: {content_type}"
            )
            self.assertEqual(status, 201)
            self.assertEqual(self.ask("GET", f"/v2/f/blobs/{digest}")[2], b"&=a&")

    def test_other_methods(self) -> None:
        """405 names what there is."""
        for method, target, allowed in (
            ("PUT", "/v2/", "GET, HEAD"),
            ("POST", "/v2/_catalog", "GET, HEAD"),
            ("PATCH", f"/v2/r/blobs/{D}", "DELETE, GET, HEAD"),
            ("POST", "/v2/r/manifests/t", "DELETE, GET, HEAD, PUT"),
            ("GET", "/v2/r/blobs/uploads/", "POST"),
            ("OPTIONS", "/v2/r/manifests/t", "DELETE, GET, HEAD, PUT"),
            ("POST", f"/v2/r/blobs/uploads/{UPLOAD}", None),
        ):
            self.assertQuiet(405, "UNSUPPORTED", method, target)
            if allowed is not None:
                self.assertEqual(self.ask(method, target)[1]["allow"], allowed, target)

    def test_other_paths(self) -> None:
        for target in (
            "/v2",
            "/v3/",
            "/v2/r",
            "/v2/r/x",
            "/v2/_oci/ext",
            "/favicon.ico",
            "/v2/%2e%2e/",
            "/<script>",
        ):
            status, _, content = self.ask("GET", target)
            if target == "/v2":
                self.assertEqual(status, 200)
                continue
            self.assertIn(status, (400, 404), target)
            self.assertIn("errors", json.loads(content), target)
            self.assertNotIn(b"script", content)

    def test_foreign_host(self) -> None:
        """Nothing of it comes back (T24)."""
        for host in ("evil.example", "[::1]:5000", "a:99999"):
            for method, target, body in (
                ("POST", "/v2/r/blobs/uploads/", b""),
                ("GET", "/v2/r/tags/list?n=0", b""),
                ("GET", f"/v2/r/blobs/{D}", b""),
            ):
                channel, wire = self.site.buildProtocol(None), Wire()
                channel.makeConnection(wire)
                channel.dataReceived(
                    f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode() + body
                )
                self.assertNotIn(host.encode(), wire.value())

    def test_nothing_is_made_by_asking(self) -> None:
        """T18: repositories do not come from GET, HEAD or requests that fail."""
        for method, rest in (
            ("GET", "tags/list"),
            ("HEAD", f"blobs/{D}"),
            ("GET", f"referrers/{D}"),
            ("PUT", "manifests/t"),
            ("DELETE", f"manifests/{D}"),
            ("DELETE", "manifests/t"),
            ("DELETE", f"blobs/{D}"),
            ("PUT", f"blobs/uploads/{UPLOAD}?digest={D}"),
        ):
            self.ask(method, f"/v2/new/{rest}", b"{}" if method == "PUT" else b"")
            self.assertEqual(self.listing(), self.before, (method, rest))
        self.assertEqual(json.loads(self.ask("GET", "/v2/_catalog")[2]), {"repositories": []})
