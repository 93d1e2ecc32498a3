"""Protocol v1, images: how complete ones are read, in parts as well, and who may keep them."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime

from docker_registry.test.clients.conformance import rows
from docker_registry.test.clients.v1_case import NO_IMAGE, UPLOADING, WRONG, V1Case
from docker_registry.test.clients.v1_clients import pieces
from docker_registry.test.clients.v1_images import Image, image, new_id, payload_sum
from docker_registry.test.clients.v1_wire import V1Answer
from docker_registry.test.layer_case import expected_tarsum

INVALID_ID = "Invalid image ID"
READS = ["json", "layer", "ancestry", "files", "diff"]


class ReadingTests(V1Case):
    def test_json(self) -> None:
        made = image(comment="\u00e9", nested={"a": [1, 2.50, None]})
        layer = self.push(made)
        answer = self.call("GET", self.of(made, "json")).expect(200, Content_Type="application/json")
        self.assertEqual(answer.body, made.json)
        self.assertEqual(answer["X-Docker-Size"], str(len(layer)))
        self.assertEqual(answer["X-Docker-Checksum-Payload"], payload_sum(made.json, layer))
        self.assertIn(":", answer["X-Docker-Checksum"])

    def test_checksums_that_were_confirmed(self) -> None:
        made = self.started()
        layer = self.put_layer(made)
        self.confirm(made, expected_tarsum(made.json, made.archive)).says(True)
        answer = self.call("GET", self.of(made, "json")).expect(200)
        self.assertEqual(answer["X-Docker-Checksum"], expected_tarsum(made.json, made.archive))
        self.assertEqual(answer["X-Docker-Checksum-Payload"], payload_sum(made.json, layer))

    def test_ancestry(self) -> None:
        """The child first, the root last."""
        root = self.pushed()
        middle = self.pushed(root.id)
        top = self.pushed(middle.id)
        for made, chain in ((root, [root]), (middle, [middle, root]), (top, [top, middle, root])):
            self.call("GET", self.of(made, "ancestry")).says([each.id for each in chain])

    @rows(["json", "layer", "files"])
    def private(self, what: str) -> None:
        """For tokens of private repositories, which nobody is given (5.4)."""
        made = self.pushed()
        for target in (f"/v1/private_images/{made.id}/{what}", f"/v1/private_images/{made.id}/{what}/"):
            self.call("GET", target).error(404, NO_IMAGE)
        self.call("GET", f"/v1/private_images/x/{what}").error(404, INVALID_ID)

    def test_layer(self) -> None:
        made = image()
        layer = self.push(made)
        answer = self.call("GET", self.of(made, "layer"))
        answer.expect(200, Content_Type="application/octet-stream", Accept_Ranges="bytes")
        self.assertEqual(answer.body, layer)

    @rows(READS)
    def cached(self, what: str) -> None:
        """What is complete never changes, and says so."""
        made = self.pushed(self.pushed().id)
        for target in (self.of(made, what), self.of(made, f"{what}/")):
            answer = self.call("GET", target).expect(200)
            self.assertForever(answer)
            answer.expect(200, Last_Modified="Thu, 01 Jan 1970 00:00:00 GMT", X_Docker_Registry_Version="0.9.1")
            alike = self.call("HEAD", target).expect(200)
            self.assertEqual(alike.body, b"")
            for name in answer.headers:
                if name not in ("Date", "Expires", "X-Request-Id"):
                    self.assertEqual(alike[name], answer[name])

    def assertForever(self, answer: V1Answer) -> None:
        self.assertEqual(answer["Cache-Control"], "public, max-age=31536000")
        year = parsedate_to_datetime(answer["Expires"]) - parsedate_to_datetime(answer["Date"])
        self.assertIn(year.total_seconds(), range(365 * 86400 - 2, 365 * 86400 + 3))
        self.assertNotIn("Pragma", answer.headers)

    @rows(READS)
    def known(self, what: str) -> None:
        """Whoever has it, of whatever date, need not get it again; but it has to be there (T26)."""
        made, started = self.pushed(), self.started()
        for date in ("Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 29 Nov 2099 00:00:00 GMT", "yesterday"):
            since = "If-Modified-Since", date
            for method in ("GET", "HEAD"):
                self.assertForever(self.call(method, self.of(made, what), None, since).expect(304))
            self.call("GET", self.of(new_id(), what), None, since).error(404, NO_IMAGE)
            self.call("GET", self.of(started, what), None, since).error(400, UPLOADING)
            self.call("GET", self.of("a" * 63, what), None, since).error(404, INVALID_ID)

    @rows(READS)
    def absent(self, what: str) -> None:
        self.call("GET", self.of(new_id(), what)).error(404, NO_IMAGE)
        self.call("HEAD", self.of(new_id(), what)).expect(404)
        started = self.started()
        self.call("GET", self.of(started, what)).error(400, UPLOADING)
        self.call("HEAD", self.of(started, what)).expect(400)

    @rows({
        "short": "a" * 63, "long": "a" * 65, "upper": "A" * 64, "word": "latest", "no_hex": "g" * 64, "dots": "%2e%2e",
        "newline": "a" * 64 + "%0a", "arabic": "%d9%a1" * 64, "blank": "a" * 63 + "%20", "uploads": "_uploads",
        "of_17": "a" * 17,
    })
    def bad_id(self, id: str) -> None:
        for what in READS:
            self.call("GET", self.of(id, what)).error(404, INVALID_ID)
        self.call("PUT", self.of(id, "json"), json.dumps({"id": id}).encode()).error(404, INVALID_ID)
        self.call("PUT", self.of(id, "layer"), pieces(b"x")).error(404, INVALID_ID)
        self.confirm(Image(id, b"", b""), WRONG).error(404, INVALID_ID)

    def test_short_id(self) -> None:
        """The oldest clients' ids had 16 digits."""
        made = image(id=new_id()[:16])
        layer = self.push(made)
        self.assertComplete(made, layer)
        child = self.pushed(made.id)
        self.call("GET", self.of(child, "ancestry")).says([child.id, made.id])


class RangeTests(V1Case):
    """One range, as RFC 9110 has it (5.5)."""

    @rows({
        "first": ("bytes=0-0", 0, 1), "some": ("bytes=10-19", 10, 20), "to_the_end": ("bytes=990-", 990, 1000),
        "one_too_many": ("bytes=990-1000", 990, 1000), "far_too_many": ("bytes=990-99999999", 990, 1000),
        "from_nothing": ("bytes=0-1000", 0, 1000), "suffix": ("bytes=-10", 990, 1000),
        "last": ("bytes=999-999", 999, 1000), "long_suffix": ("bytes=-5000", 0, 1000), "case": ("Bytes=1-2", 1, 3),
    })
    def part(self, row: tuple[str, int, int]) -> None:
        asked, first, end = row
        made = image()
        layer = self.push(made, bytes(range(250)) * 4)
        answer = self.call("GET", self.of(made, "layer"), None, ("Range", asked)).expect(206, Accept_Ranges="bytes")
        self.assertEqual(answer["Content-Range"], f"bytes {first}-{end - 1}/1000")
        self.assertEqual(answer.body, layer[first:end])

    @rows({"at_the_end": "bytes=1000-1000", "resumed_at_the_end": "bytes=1000-1001", "open": "bytes=1000-",
           "beyond": "bytes=5000-5001", "nothing": "bytes=-0", "backwards": "bytes=5-4"})
    def beyond(self, asked: str) -> None:
        """docker takes a 416 without a body at its own end for the end of the layer."""
        made = image()
        self.push(made, bytes(1000))
        answer = self.call("GET", self.of(made, "layer"), None, ("Range", asked)).expect(416)
        self.assertEqual((answer["Content-Range"], answer.body), ("bytes */1000", b""))

    @rows({
        "other_unit": "lines=1-2", "several": "bytes=0-1,5-6", "nonsense": "bytes=a-b", "none": "bytes=-", "word": "x",
    })
    def whole(self, asked: str) -> None:
        made = image()
        layer = self.push(made)
        self.assertEqual(self.call("GET", self.of(made, "layer"), None, ("Range", asked)).expect(200).body, layer)

    def test_empty_layer(self) -> None:
        made = image(archive=b"")
        self.push(made, b"")
        answer = self.call("GET", self.of(made, "layer")).expect(200)
        self.assertEqual((answer.body, answer["Content-Length"]), (b"", "0"))
        self.call("GET", self.of(made, "json")).expect(200, X_Docker_Size="0")
        answer = self.call("GET", self.of(made, "layer"), None, ("Range", "bytes=0-0")).expect(416)
        self.assertEqual(answer["Content-Range"], "bytes */0")

    def test_only_layers_have_ranges(self) -> None:
        made = self.pushed()
        answer = self.call("GET", self.of(made, "json"), None, ("Range", "bytes=0-1")).expect(200)
        self.assertEqual(answer.body, made.json)
