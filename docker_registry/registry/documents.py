"""Manifests and indexes as typed values, read from the bytes that clients push.

Rules: OCI image-spec 1.1 and distribution-spec 1.1, "Pushing manifests"; Docker's "Image Manifest Version 2, Schema 2".
The bytes are stored as they came; what stands here is only read from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from docker_registry import strictjson
from docker_registry.digest import Digest
from docker_registry.errors import DigestInvalid, ManifestInvalid

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)

_IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_KNOWN = _IMAGES | _INDEXES | {OCI_ARTIFACT}

_NOT_DISTRIBUTED = re.compile(
    r"application/vnd\.docker\.image\.rootfs\.foreign\.diff\.tar(\.gzip)?"
    r"|application/vnd\.oci\.image\.layer\.nondistributable\.v1\.tar(\+gzip|\+zstd)?"
)
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_MAX_SIZE = 2**63 - 1

VALUES = 20
"""Values for each descriptor that there may be, its platform and annotations included."""

_SAYS_NOTHING = frozenset({"application/json", "application/octet-stream", "application/x-www-form-urlencoded"})
"""Content types of clients that were not told one."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a document says of something else.

    :ivar size: in bytes.
    """

    media_type: str
    digest: Digest
    size: int

    @property
    def is_distributed(self) -> bool:
        """Whether clients push the content; foreign layers come from elsewhere (image-spec 1.1)."""
        return _NOT_DISTRIBUTED.fullmatch(self.media_type) is None


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index.

    :ivar media_type: what it was pushed as, and what it is served as.
    :ivar blobs: config and layers, in the document's order, without repetition.
    :ivar layers: of an image, from the root up, with repetitions.
    :ivar children: the manifests of an index.
    :ivar platforms: of the children of an index that say one: ``linux/amd64``.
    :ivar subject: what it refers to, if it is a referrer.
    :ivar artifact_type: for referrers' listings (distribution-spec 1.1, "Listing Referrers"); ``""`` is none.
    """

    media_type: str
    blobs: tuple[Descriptor, ...] = ()
    layers: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()
    platforms: Mapping[Digest, str] = field(default_factory=dict)
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def mentions(self, digest: Digest) -> bool:
        """Whether ``digest`` is one of its blobs."""
        return any(each.digest == digest for each in self.blobs)

    def child_for(self, platform: str) -> Digest | None:
        """The first manifest of an index that is for a platform, if there is one."""
        return next((digest for digest, name in self.platforms.items() if name == platform), None)


def read(content: bytes, content_type: str | None = None, max_references: int = 10_000) -> Document:
    """Read a manifest.

    :param content_type: as the client sent it, to be compared; ``None`` when it is read back from the store.
    :raises ManifestInvalid: not JSON, no manifest, or one that contradicts itself.
    """
    body = _parse(content, max_references * VALUES + strictjson.MOST)
    media_type = _media_type(body, content_type)
    if media_type in DOCKER_SCHEMA1 or body.get("schemaVersion") == 1:
        _refuse("schema 1 manifests are not supported; push with a client that writes schema 2 or OCI manifests")
    if media_type not in _KNOWN:
        _refuse(f"unsupported manifest media type {media_type[:200]!r}")
    version = body.get("schemaVersion")
    if media_type != OCI_ARTIFACT and (version != 2 or type(version) is not int):
        _refuse("schemaVersion must be 2")
    if "manifests" in body and ("layers" in body or "config" in body):
        _refuse("a manifest has either layers and a config or manifests, not both")
    subject = _descriptor(body["subject"], "subject") if body.get("subject") is not None else None
    config = None
    blobs: list[Descriptor] = []
    layers: list[Descriptor] = []
    children: list[Descriptor] = []
    if media_type in _IMAGES:
        config = _descriptor(_member(body, "config"), "config")
        layers = _descriptors(body, "layers")
        blobs = [config, *layers]
    elif media_type in _INDEXES:
        children = _descriptors(body, "manifests")
    else:
        blobs = _descriptors(body, "blobs")
    if len(blobs) + len(children) > max_references:
        _refuse(f"more than {max_references} references")
    return Document(
        media_type=media_type,
        blobs=tuple(dict.fromkeys(blobs)),
        layers=tuple(layers),
        children=tuple(dict.fromkeys(children)),
        platforms=_platforms(body) if children else {},
        subject=subject,
        artifact_type=_text(body, "artifactType") or (config.media_type if config else ""),
        annotations=_annotations(body),
    )


def _refuse(reason: str) -> NoReturn:
    raise ManifestInvalid(reason)


def _parse(content: bytes, most: int) -> dict[str, Any]:
    try:
        body = strictjson.loads(content, most)
    except ValueError as error:
        raise ManifestInvalid(str(error)) from None
    if not isinstance(body, dict):
        _refuse("not a JSON object")
    return body


def _media_type(body: dict[str, Any], content_type: str | None) -> str:
    """The media type that the bytes have, which is what they will be served as; what the client says must agree."""
    own = _text(body, "mediaType") or _shape(body)
    sent = (content_type or "").partition(";")[0].strip()
    if sent and sent.lower() not in (own, *_SAYS_NOTHING):      # its case says nothing (RFC 9110, 8.3.1)
        _refuse(f"Content-Type {sent[:200]!r} differs from the manifest's mediaType {own[:200]!r}")
    return own


def _shape(body: dict[str, Any]) -> str:
    """The media type of a document that states none, which only OCI documents may (image-spec 1.1)."""
    if "manifests" in body:
        return OCI_INDEX
    if "config" in body:
        return OCI_MANIFEST
    return _refuse("neither its mediaType nor its members say what this is")


def _member(body: dict[str, Any], name: str) -> Any:
    if name not in body:
        _refuse(f"{name} is missing")
    return body[name]


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        _refuse(f"{name} is not a string")
    return value


def _descriptors(body: dict[str, Any], name: str) -> list[Descriptor]:
    members = body.get(name)
    if members is None:                 # absent, or Go's encoding of an empty list
        return []
    if not isinstance(members, list):
        _refuse(f"{name} is not a list")
    return [_descriptor(member, name) for member in members]


def _descriptor(member: Any, where: str) -> Descriptor:
    if not isinstance(member, dict):
        _refuse(f"{where}: a descriptor is an object")
    media_type = _text(member, "mediaType")
    if _MEDIA_TYPE.fullmatch(media_type) is None:
        _refuse(f"{where}: a descriptor's mediaType is missing or malformed")
    size = member.get("size")
    if type(size) is not int or not 0 <= size <= _MAX_SIZE:
        _refuse(f"{where}: a descriptor's size is a number of bytes")
    try:
        digest = Digest.parse(_text(member, "digest"))
    except DigestInvalid:
        raise ManifestInvalid(f"{where}: a descriptor's digest is missing or malformed") from None
    return Descriptor(media_type, digest, size)


def _platforms(body: dict[str, Any]) -> dict[Digest, str]:
    """What the children of an index, which were read already, are for."""
    platforms: dict[Digest, str] = {}
    for member in body["manifests"]:
        platform = member.get("platform")
        if isinstance(platform, dict):
            name = "/".join(str(platform[part]) for part in ("os", "architecture", "variant") if platform.get(part))
            platforms.setdefault(Digest.parse(member["digest"]), name)
    return platforms


def _annotations(body: dict[str, Any]) -> dict[str, str]:
    annotations = body.get("annotations")
    if annotations is None:
        return {}
    if not isinstance(annotations, dict) or not all(isinstance(value, str) for value in annotations.values()):
        _refuse("annotations are strings by name")
    return annotations
