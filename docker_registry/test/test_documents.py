"""What is taken as a manifest, and what is not (T8-T11)."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.digest import Digest
from docker_registry.errors import ManifestInvalid
from docker_registry.registry import documents
from docker_registry.registry.documents import DOCKER_LIST, DOCKER_MANIFEST, OCI_ARTIFACT, OCI_INDEX, OCI_MANIFEST, read

DIGEST = str(Digest.of(b"x"))


def descriptor(**members: Any) -> dict[str, Any]:
    return {"mediaType": "application/octet-stream", "digest": DIGEST, "size": 1, **members}


def image(**members: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(), "layers": [descriptor()], **members}


def index(**members: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor()], **members}


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def encoded(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


ACCEPTED: list[tuple[str, Any, str | None, str]] = [
    ("image", image(), OCI_MANIFEST, OCI_MANIFEST),
    ("type with parameters", image(), f"{OCI_MANIFEST}; charset=utf-8", OCI_MANIFEST),
    ("type in capitals", image(), OCI_MANIFEST.upper(), OCI_MANIFEST),
    ("no content type", image(), None, OCI_MANIFEST),
    ("empty content type", image(), "", OCI_MANIFEST),
    ("application/json", image(), "application/json", OCI_MANIFEST),
    ("what curl says", image(), "application/x-www-form-urlencoded", OCI_MANIFEST),
    ("no mediaType", without(image(), "mediaType"), OCI_MANIFEST, OCI_MANIFEST),
    ("nothing says it: image", without(image(), "mediaType"), None, OCI_MANIFEST),
    ("nothing says it: index", without(index(), "mediaType"), None, OCI_INDEX),
    ("docker image", image(mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST, DOCKER_MANIFEST),
    ("docker list", index(mediaType=DOCKER_LIST), DOCKER_LIST, DOCKER_LIST),
    ("index", index(), OCI_INDEX, OCI_INDEX),
    ("no layers", image(layers=[]), OCI_MANIFEST, OCI_MANIFEST),
    ("Go's empty list", image(layers=None), OCI_MANIFEST, OCI_MANIFEST),
    ("no manifests", index(manifests=[]), OCI_INDEX, OCI_INDEX),
    ("unknown fields", image(org={"a": [1, None]}), OCI_MANIFEST, OCI_MANIFEST),
    ("data and urls", image(layers=[descriptor(data="eA==", urls=["https://x.example/"])]), OCI_MANIFEST, OCI_MANIFEST),
    ("size 0", image(config=descriptor(size=0)), OCI_MANIFEST, OCI_MANIFEST),
    ("largest size", image(config=descriptor(size=2**63 - 1)), OCI_MANIFEST, OCI_MANIFEST),
    ("artifact", {"mediaType": OCI_ARTIFACT, "blobs": [descriptor()]}, OCI_ARTIFACT, OCI_ARTIFACT),
    ("309 digits", b'{"x":-' + b"9" * 308 + b"," + encoded(image())[1:], OCI_MANIFEST, OCI_MANIFEST),
    ("256 deep", b'{"x":' + b"[" * 255 + b"]" * 255 + b"," + encoded(image())[1:], OCI_MANIFEST, OCI_MANIFEST),
    ("10 000 references", image(layers=[descriptor(annotations={"a": "b", "c": "d"})] * 9_999), None, OCI_MANIFEST),
    ("lone surrogate", b'{"annotations":{"a":"\\ud800"},' + encoded(image())[1:], OCI_MANIFEST, OCI_MANIFEST),
]

REFUSED: list[tuple[str, Any, str | None]] = [
    ("empty", b"", OCI_MANIFEST),
    ("not JSON", b"{", OCI_MANIFEST),
    ("a list", b"[]", OCI_MANIFEST),
    ("a number", b"1", OCI_MANIFEST),
    ("null", b"null", OCI_MANIFEST),
    ("not UTF-8", b'{"a":"\xff"}', OCI_MANIFEST),
    ("byte order mark", b"\xef\xbb\xbf" + encoded(image()), OCI_MANIFEST),
    ("UTF-16", json.dumps(image()).encode("utf-16"), OCI_MANIFEST),
    ("100 000 brackets", b"[" * 100_000, OCI_MANIFEST),
    ("100 000 objects", b'{"a":' * 100_000, OCI_MANIFEST),
    ("5000 digits", b'{"schemaVersion":2' + b"0" * 5000 + b"}", OCI_MANIFEST),
    ("310 digits", b'{"x":' + b"9" * 310 + b"," + encoded(image())[1:], OCI_MANIFEST),
    ("4 MiB of lists", b'{"x":[' + b"[]," * 1_000_000 + b"[]]," + encoded(image())[1:], OCI_MANIFEST),
    ("4 MiB of objects", b'{"x":[' + b"{}," * 1_000_000 + b"{}]," + encoded(image())[1:], OCI_MANIFEST),
    ("4 MiB of numbers", b'{"x":[' + b"1," * 2_000_000 + b"1]," + encoded(image())[1:], OCI_MANIFEST),
    ("NaN", encoded(image()).replace(b'"size": 1', b'"size": NaN'), OCI_MANIFEST),
    ("Infinity", b'{"x":Infinity,' + encoded(image())[1:], OCI_MANIFEST),
    ("257 deep", b'{"x":' + b"[" * 256 + b"]" * 256 + b"," + encoded(image())[1:], OCI_MANIFEST),
    ("257 deep, objects", b'{"x":' + b'{"x":' * 256 + b"1" + b"}" * 256 + b"," + encoded(image())[1:], OCI_MANIFEST),
    ("beyond the largest number", b'{"x":-1e309,' + encoded(image())[1:], OCI_MANIFEST),
    ("a key twice", b'{"schemaVersion":2,' + encoded(image())[1:], OCI_MANIFEST),
    ("a key twice, deep", encoded(image()).replace(b'"size": 1', b'"size": 1, "size": 1'), OCI_MANIFEST),
    ("schema 1", {"schemaVersion": 1, "name": "x", "fsLayers": []}, documents.DOCKER_SCHEMA1[1]),
    ("schema 1 without type", {"schemaVersion": 1, "name": "x", "fsLayers": []}, None),
    ("schemaVersion 3", image(schemaVersion=3), OCI_MANIFEST),
    ("schemaVersion missing", without(image(), "schemaVersion"), OCI_MANIFEST),
    ("schemaVersion a fraction", image(schemaVersion=2.0), OCI_MANIFEST),
    ("schemaVersion a string", image(schemaVersion="2"), OCI_MANIFEST),
    ("types that differ", image(), DOCKER_MANIFEST),
    ("image as index", image(), OCI_INDEX),
    ("docker image without mediaType", without(image(), "mediaType"), DOCKER_MANIFEST),
    ("both kinds", image(manifests=[]), OCI_MANIFEST),
    ("both kinds, as index", index(layers=[]), OCI_INDEX),
    ("both kinds, no mediaType", without(image(manifests=[]), "mediaType"), None),
    ("index with config", index(config=descriptor()), OCI_INDEX),
    ("unknown type", image(mediaType="application/x.y"), "application/x.y"),
    ("type with CR LF", image(mediaType="a/b\r\nX: y"), None),
    ("mediaType a number", image(mediaType=1), None),
    ("no shape", {"schemaVersion": 2}, None),
    ("config missing", without(image(), "config"), OCI_MANIFEST),
    ("config null", image(config=None), OCI_MANIFEST),
    ("config a list", image(config=[]), OCI_MANIFEST),
    ("layers an object", image(layers={}), OCI_MANIFEST),
    ("a layer null", image(layers=[None]), OCI_MANIFEST),
    ("digest missing", image(layers=[without(descriptor(), "digest")]), OCI_MANIFEST),
    ("digest malformed", image(layers=[descriptor(digest="sha256:x")]), OCI_MANIFEST),
    ("digest a number", image(layers=[descriptor(digest=1)]), OCI_MANIFEST),
    ("size missing", image(layers=[without(descriptor(), "size")]), OCI_MANIFEST),
    ("size negative", image(layers=[descriptor(size=-1)]), OCI_MANIFEST),
    ("size too large", image(layers=[descriptor(size=2**63)]), OCI_MANIFEST),
    ("size a fraction", image(layers=[descriptor(size=1.0)]), OCI_MANIFEST),
    ("size true", image(layers=[descriptor(size=True)]), OCI_MANIFEST),
    ("size text", image(layers=[descriptor(size="1")]), OCI_MANIFEST),
    ("media type missing", image(layers=[without(descriptor(), "mediaType")]), OCI_MANIFEST),
    ("media type with CR LF", image(layers=[descriptor(mediaType="a/b\r\n")]), OCI_MANIFEST),
    ("media type too long", image(layers=[descriptor(mediaType="a/" + "b" * 128)]), OCI_MANIFEST),
    ("subject malformed", image(subject={"digest": DIGEST}), OCI_MANIFEST),
    ("subject text", image(subject="x"), OCI_MANIFEST),
    ("artifactType a list", image(artifactType=[]), OCI_MANIFEST),
    ("annotations a list", image(annotations=[]), OCI_MANIFEST),
    ("annotation a number", image(annotations={"a": 1}), OCI_MANIFEST),
    ("manifests an object", index(manifests={}), OCI_INDEX),
    ("10 001 references", image(layers=[descriptor()] * 10_000), OCI_MANIFEST),
]


class DocumentTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        for name, document, content_type, media_type in ACCEPTED:
            self.assertEqual(read(encoded(document), content_type).media_type, media_type, name)

    def test_what_is_said(self) -> None:
        """To a client, who can look there; and nothing of how we read it."""
        for content, said in ((b"{", "not JSON, at character 2"), (b'{"a": 1,}', "not JSON, at character [89]"),
                              (b'{"a":"\xff"}', "not UTF-8"), (b'{"a": NaN}', "NaN is not JSON")):
            with self.assertRaisesRegex(ManifestInvalid, f"^{said}$"):
                read(content, OCI_MANIFEST)

    def test_refused(self) -> None:
        for name, document, content_type in REFUSED:
            with self.assertRaises(ManifestInvalid, msg=name):
                read(encoded(document), content_type)

    def test_what_is_read_back_has_the_type_it_was_pushed_as(self) -> None:
        for name, document, content_type, _ in ACCEPTED:
            content = encoded(document)
            self.assertEqual(read(content).media_type, read(content, content_type).media_type, name)

    def test_references(self) -> None:
        other = str(Digest.of(b"y"))
        layers = [descriptor(digest=other), descriptor(digest=other), descriptor()]
        document = read(encoded(image(layers=layers)))
        self.assertEqual([str(each.digest) for each in document.blobs], [DIGEST, other])
        self.assertTrue(document.mentions(Digest.parse(other)))
        self.assertFalse(document.mentions(Digest.of(b"z")))
        self.assertEqual(len(read(encoded(index())).children), 1)

    def test_foreign_layers(self) -> None:
        """The types of image-spec 1.1, "Non-Distributable Layers", and Docker's own."""
        docker = "application/vnd.docker.image.rootfs.foreign.diff.tar"
        oci = "application/vnd.oci.image.layer.nondistributable.v1.tar"
        for media_type in (docker, f"{docker}.gzip", oci, f"{oci}+gzip", f"{oci}+zstd"):
            self.assertFalse(documents.Descriptor(media_type, Digest.of(b""), 0).is_distributed, media_type)
        for media_type in ("application/vnd.oci.image.layer.v1.tar+gzip", f"{oci}+x", f"x{oci}"):
            self.assertTrue(documents.Descriptor(media_type, Digest.of(b""), 0).is_distributed, media_type)

    def test_artifact_type(self) -> None:
        config = descriptor(mediaType="application/x.config")
        self.assertEqual(read(encoded(image(config=config))).artifact_type, "application/x.config")
        self.assertEqual(read(encoded(image(config=config, artifactType="a/b"))).artifact_type, "a/b")
        self.assertEqual(read(encoded(index())).artifact_type, "")

    def test_subject(self) -> None:
        subject = read(encoded(index(subject=descriptor()))).subject
        self.assertEqual(subject and str(subject.digest), DIGEST)
        self.assertIsNone(read(encoded(image(subject=None))).subject)
