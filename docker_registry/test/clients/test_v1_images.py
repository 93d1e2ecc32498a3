"""Protocol v1, images: what is answered at each step of a push, whatever is sent."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from docker_registry.test.clients.conformance import rows
from docker_registry.test.clients.v1_case import EXISTS, FORM, MISMATCH, NO_IMAGE, UPLOADING, WRONG, V1Case
from docker_registry.test.clients.v1_clients import pieces
from docker_registry.test.clients.v1_images import Image, image, new_id, payload_sum
from docker_registry.test.layer_case import expected_tarsum, extended, member, record, tar

NO_PARENT = "Image depends on a non existing parent"
NOTHING_TO_CONFIRM = "Cannot set this image checksum"


class JsonTests(V1Case):
    """``PUT json``: the first that is wrong is answered, in the old words."""

    @rows({
        "no_json": lambda made: b"{", "nothing": lambda made: b"", "bytes": lambda made: b"\xff\xfe{}",
        "list": lambda made: b"[]", "text": lambda made: b'"id"', "empty": lambda made: b"{}",
        "null": lambda made: b"null",
        "deep": lambda made: b'{"id":' * 60_000, "number": lambda made: b'{"id": ' + b"1" * 5000 + b"}",
        "beyond": lambda made: f'{{"id": "{made.id}", "Size": 1e309}}'.encode(),
        "deeper": lambda made: b'{"id": "%b", "x": %b}' % (made.id.encode(), b"[" * 256 + b"]" * 256),
        "twice": lambda made: f'{{"id": "{made.id}", "id": "{made.id}"}}'.encode(),
        "nan": lambda made: f'{{"id": "{made.id}", "Size": NaN}}'.encode(),
        "mark": lambda made: b"\xef\xbb\xbf" + made.json,
    })
    def invalid(self, body: Callable[[Image], bytes]) -> None:
        made = image()
        self.call("PUT", self.of(made, "json"), body(made)).error(400, "Invalid JSON")
        self.call("GET", self.of(made, "json")).error(404, NO_IMAGE)

    @rows({"other": new_id(), "number": 5, "none": None, "path": "../../etc/passwd", "list": [], "upper": "A" * 64})
    def other_id(self, id: Any) -> None:
        made = image()
        self.put_json(self.of(made, "json"), {"id": id}).error(400, "JSON data contains invalid id")
        self.call("GET", self.of(made, "json")).error(404, NO_IMAGE)

    def test_no_id(self) -> None:
        self.put_json(self.of(new_id(), "json"), {"Id": "x"}).error(400, "Missing key `id' in JSON")

    @rows({
        "absent": new_id(), "path": "../../etc/passwd", "upper": "A" * 64, "number": 5, "list": ["x"], "true": True,
        "object": {"a": 1}, "long": "a" * 100_000,
    })
    def parent(self, parent: Any) -> None:
        made = new_id()
        self.put_json(self.of(made, "json"), {"id": made, "parent": parent}).error(400, NO_PARENT)
        self.call("GET", self.of(made, "json")).error(404, NO_IMAGE)

    @rows({"empty": "", "null": None, "false": False})
    def no_parent(self, parent: Any) -> None:
        made = new_id()
        self.put_json(self.of(made, "json"), {"id": made, "parent": parent}).says(True)

    def test_itself_as_parent(self) -> None:
        """Neither when it is new, nor when it is there already."""
        made = new_id()
        self.put_json(self.of(made, "json"), {"id": made, "parent": made}).error(400, NO_PARENT)
        self.put_json(self.of(made, "json"), {"id": made}).says(True)
        self.assertRefused(self.put_json(self.of(made, "json"), {"id": made, "parent": made}), 400)

    def test_loop(self) -> None:
        """A second JSON cannot make an image its own ancestor."""
        first, second = new_id(), new_id()
        self.put_json(self.of(first, "json"), {"id": first}).says(True)
        self.put_json(self.of(second, "json"), {"id": second, "parent": first}).says(True)
        self.assertRefused(self.put_json(self.of(first, "json"), {"id": first, "parent": second}), 400)
        self.call("GET", self.of(first, "json")).error(400, UPLOADING)

    def test_parent_in_progress(self) -> None:
        parent = self.started()
        child = self.pushed(parent.id)
        self.call("GET", self.of(child, "ancestry")).says([child.id, parent.id])

    def test_twice(self) -> None:
        """A push that was broken off begins again; the last JSON counts."""
        first = self.started()
        second = image(id=first.id, comment="second")
        self.put_image(second).says(True)
        layer = self.put_layer(second)
        self.confirm_payload(second, layer)
        self.assertComplete(second, layer)

    def test_complete(self) -> None:
        """It stays as it is, and the text says so: clients compare it."""
        made = image()
        layer = self.push(made)
        self.put_image(made).error(409, EXISTS)
        self.put_image(image(id=made.id)).error(409, EXISTS)
        self.call("PUT", self.of(made, "layer"), pieces(b"other")).error(409, EXISTS)
        answer = self.call("GET", self.of(made, "json"))
        self.assertComplete(made, layer)
        self.assertEqual(answer["X-Docker-Checksum-Payload"], payload_sum(made.json, layer))

    def test_form(self) -> None:
        """curl's own type, and no type, change nothing."""
        for fields in ([FORM], [("Content-Type", "multipart/form-data")], []):
            made = image()
            self.put_image(made, *fields).says(True)
            self.put_image(made, *fields).says(True)

    def test_surrogates(self) -> None:
        """Text that is no text is kept as it was sent, and v2 makes something of it."""
        made = new_id()
        content = f'{{"id": "{made}", "author": "\\ud800", "container_config": {{"Cmd": ["\\udfff"]}}}}'.encode()
        stored = Image(made, content, tar([member("a", b"1")]))
        self.push(stored)
        self.assertEqual(self.call("GET", self.of(made, "json")).expect(200).body, content)
        self.put_tag("latest", stored).says(True)
        self.wire("GET", f"/v2/{self.name}/manifests/latest").expect(200)


class LayerTests(V1Case):
    def test_before_json(self) -> None:
        self.call("PUT", self.of(new_id(), "layer"), pieces(b"x")).error(404, NO_IMAGE)
        self.confirm(image(), WRONG).error(404, NO_IMAGE)

    @rows({"chunks": True, "length": False})
    def framing(self, chunked: bool) -> None:
        made = self.started()
        layer = gzip.compress(made.archive)
        self.call("PUT", self.of(made, "layer"), pieces(layer) if chunked else layer, FORM).says(True)
        self.assertUploading(made)
        self.confirm_payload(made, layer)
        self.assertComplete(made, layer)

    def test_twice(self) -> None:
        """Before it is confirmed another may come; each can be."""
        for confirmed in (0, 1):
            made = self.started()
            layers = [self.put_layer(made), self.put_layer(made, gzip.compress(made.archive, 9))]
            self.confirm_payload(made, layers[confirmed])
            self.assertComplete(made, layers[confirmed])

    @rows({
        "plain": bytes, "gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress,
        "members": lambda archive: gzip.compress(archive[:700]) + gzip.compress(archive[700:]),
    })
    def packed(self, pack: Callable[[bytes], bytes]) -> None:
        for confirm in ("tarsum", "payload", "both"):
            made = self.started()
            layer = self.put_layer(made, pack(made.archive))
            checksum = "" if confirm == "payload" else expected_tarsum(made.json, made.archive)
            payload = "" if confirm == "tarsum" else payload_sum(made.json, layer)
            self.confirm(made, checksum, payload).says(True)
            self.assertComplete(made, layer)

    @rows({
        "nothing": (b"", b""), "nothing_packed": (b"", gzip.compress(b"")), "only_end": (bytes(1024), bytes(1024)),
        "only_end_packed": (bytes(10240), gzip.compress(bytes(10240))),
    })
    def empty(self, row: tuple[bytes, bytes]) -> None:
        """docker 0.7 sent the gzip of nothing for a change of settings; its sum is of the JSON alone."""
        archive, layer = row
        made = self.started(archive=archive)
        self.put_layer(made, layer)
        self.confirm(made, expected_tarsum(made.json, archive)).says(True)
        self.assertComplete(made, layer)
        self.put_tag("latest", made).says(True)
        self.wire("GET", f"/v2/{self.name}/manifests/latest").expect(200)

    def test_extended_attributes(self) -> None:
        """Bytes that are no text break neither the sum nor the listing."""
        plain = tar([member("ping", b"x", mode=0o755)])
        archive = extended(record(b"SCHILY.xattr.security.capability", b"\1\0\0\2\0\xff=\n")) + plain
        made = self.started(archive=archive)
        layer = self.put_layer(made)
        self.confirm(made, expected_tarsum(made.json, plain)).says(True)
        self.assertComplete(made, layer)
        self.assertEqual([each[0] for each in self.call("GET", self.of(made, "files")).expect(200).json], ["ping"])

    def test_no_archive(self) -> None:
        """It is kept, and confirmed by the sum of its bytes; v2 cannot describe it and does not know the tag."""
        made = self.started()
        layer = self.put_layer(made, b"\x1f\x8bno gzip")
        self.confirm(made, expected_tarsum(made.json, made.archive)).error(400, MISMATCH)
        self.confirm_payload(made, layer)
        self.assertComplete(made, layer)
        self.put_tag("latest", made).says(True)
        self.call("GET", self.below("tags")).says({"latest": made.id})
        self.wire("GET", f"/v2/{self.name}/manifests/latest").error(404, "MANIFEST_UNKNOWN")


class ChecksumTests(V1Case):
    """By docker up to 0.8 (the sum of the archive only), and since."""

    @rows({
        "tarsum": lambda tarsum, payload: (tarsum, ""), "payload": lambda tarsum, payload: ("", payload),
        "both": lambda tarsum, payload: (tarsum, payload), "simple": lambda tarsum, payload: (payload, ""),
        "one_right": lambda tarsum, payload: (WRONG, payload), "other_right": lambda tarsum, payload: (tarsum, WRONG),
        "blanks": lambda tarsum, payload: (f"  {tarsum} ", ""),
    })
    def right(self, offer: Callable[[str, str], tuple[str, str]]) -> None:
        made = self.started()
        layer = self.put_layer(made)
        offered = offer(expected_tarsum(made.json, made.archive), payload_sum(made.json, layer))
        self.confirm(made, *offered).says(True)
        self.assertComplete(made, layer)

    @rows({
        "payload": ("", WRONG), "tarsum": ("tarsum+sha256:" + "0" * 64, ""), "other": ("md5:" + "0" * 32, ""),
        "upper": ("SHA256:" + "0" * 64, ""), "both": (WRONG, WRONG), "empty": ("sha256:", ""), "long": (WRONG * 50, ""),
    })
    def wrong(self, offered: tuple[str, str]) -> None:
        made = self.started()
        layer = self.put_layer(made)
        self.confirm(made, *offered).error(400, MISMATCH)
        self.assertUploading(made)
        self.confirm_payload(made, layer)
        self.assertComplete(made, layer)

    def test_none(self) -> None:
        made = self.started()
        layer = self.put_layer(made)
        self.confirm(made).error(400, "Missing Image's checksum")
        empty = self.call("PUT", self.of(made, "checksum"), None, ("X-Docker-Checksum", ""))
        empty.error(400, "Missing Image's checksum")
        for offered in (("nonsense", ""), ("", "nonsense"), (payload_sum(made.json, layer), "nonsense")):
            self.confirm(made, *offered).error(400, "Invalid checksum format")
        self.assertUploading(made)

    def test_before_layer(self) -> None:
        made = self.started()
        self.confirm(made, WRONG).error(400, MISMATCH)
        self.confirm(made, payload=payload_sum(made.json, b"")).error(400, MISMATCH)
        self.assertUploading(made)

    def test_of_a_complete_image(self) -> None:
        """Two clients that push the same are both content; any other sum comes too late."""
        made = image()
        layer = self.push(made)
        self.confirm_payload(made, layer)
        self.confirm(made, WRONG).error(409, NOTHING_TO_CONFIRM)
        self.confirm(made, payload=payload_sum(made.json, b"other")).error(409, NOTHING_TO_CONFIRM)
        self.assertComplete(made, layer)

    def test_beforehand(self) -> None:
        """docker up to 0.5.2 sends the sum with the JSON, and the image is complete with its layer."""
        for is_tarsum in (True, False):
            made = image()
            layer = gzip.compress(made.archive)
            checksum = expected_tarsum(made.json, made.archive) if is_tarsum else payload_sum(made.json, layer)
            self.put_image(made, ("X-Docker-Checksum", checksum)).says(True)
            refused = self.call("PUT", self.of(made, "layer"), pieces(b"other"))
            refused.error(400, "Checksum mismatch, ignoring the layer")
            self.assertUploading(made)
            self.put_layer(made, layer)
            self.assertComplete(made, layer)
            self.confirm(made, WRONG).error(409, NOTHING_TO_CONFIRM)

    def test_beforehand_malformed(self) -> None:
        made = image()
        self.put_image(made, ("X-Docker-Checksum", "nonsense")).error(400, "Invalid checksum format")
        self.call("GET", self.of(made, "json")).error(404, NO_IMAGE)

    def test_of_another_json(self) -> None:
        """The sum is of JSON and layer: with the JSON pushed anew it is of that."""
        first = self.started()
        layer = self.put_layer(first)
        second = image(id=first.id, comment="second")
        self.put_image(second).says(True)
        self.confirm(second, payload=payload_sum(second.json, layer)).error(400, MISMATCH)
        self.put_layer(second, layer)
        self.confirm_payload(second, layer)
        self.assertComplete(second, layer)


class BrokenPushTests(V1Case):
    """Section 9.4."""

    @rows({
        "chunks": (b"half", None), "length": (b"half", 1000), "no_byte": (b"", 1000), "large": (bytes(3_000_000), None),
    })
    def cut(self, row: tuple[bytes, int | None]) -> None:
        """Of half a layer nothing is kept, and no sum of it confirms anything."""
        made = self.started()
        self.cut_layer(made, *row)
        self.assertUploading(made)
        self.confirm(made, payload=payload_sum(made.json, row[0])).error(400, MISMATCH)
        layer = self.put_layer(made)
        self.confirm_payload(made, layer)
        self.assertComplete(made, layer)

    def test_retry_from_the_beginning(self) -> None:
        made = self.started()
        self.cut_layer(made, b"half")
        layer = self.push(made)
        self.assertComplete(made, layer)

    @rows({"first": 0, "second": 1})
    def two_clients(self, winner: int) -> None:
        """Who confirms first publishes its own bytes, whoever's came last; the other is told so."""
        made = image()
        layers = [gzip.compress(b"mine"), gzip.compress(b"yours")]
        for layer in layers:
            self.put_image(made).says(True)
            self.put_layer(made, layer)
        self.confirm_payload(made, layers[winner])
        self.confirm(made, payload=payload_sum(made.json, layers[1 - winner])).error(409, NOTHING_TO_CONFIRM)
        self.put_image(made).error(409, EXISTS)
        self.call("PUT", self.of(made, "layer"), pieces(layers[1 - winner])).error(409, EXISTS)
        self.assertComplete(made, layers[winner])

    def test_many_clients(self) -> None:
        """At the same time, each with a layer of its own: one wins, and what is served is what it pushed."""
        made = image()
        layers = [gzip.compress(b"%d" % number * 50_000) for number in range(8)]

        def push(layer: bytes) -> bytes | None:
            self.put_image(made)
            self.call("PUT", self.of(made, "layer"), pieces(layer))
            return layer if self.confirm(made, payload=payload_sum(made.json, layer)).status == 200 else None

        with ThreadPoolExecutor(len(layers)) as clients:
            won = [each for each in clients.map(push, layers) if each is not None]
        self.assertEqual(len(won), 1)
        self.assertComplete(made, won[0])
