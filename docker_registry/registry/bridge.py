"""Between a chain of v1 images and a manifest: the same bytes, described twice.

Both directions are functions of their input: the same chain always makes the same manifest, the same manifest the same
chain, so nothing of it needs to be remembered but where to find it again. Rules: Docker's "Image Manifest Version 2,
Schema 2" and image-spec 1.1, "Image Configuration".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from docker_registry.digest import Digest
from docker_registry.errors import LayerInvalid
from docker_registry.names import ImageId
from docker_registry.registry.documents import DOCKER_MANIFEST, Document
from docker_registry.registry.layers import MAX_CHAIN, Layer

CONFIG = "application/vnd.docker.container.image.v1+json"

CONFIG_BYTES = 4 << 20
"""Of a configuration: skopeo and podman read no longer ones."""

LONGEST = 64 << 10
"""Characters of a text in a history; what is beyond is left out."""

CLAIM = "id"
"""The member of a configuration that names the image of v1 that it was made of. To be believed it must be confirmed by
what that image says of its manifest: anybody can push a configuration."""

CONFIGS = frozenset({CONFIG, "application/vnd.oci.image.config.v1+json"})
_LAYERS = frozenset({
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar",
})
"""Layers that clients of v1 can unpack."""

_NOT_CONFIGURATION = ("id", "parent", "parent_id", "layer_id", "Size", "checksum", "throwaway", "rootfs", "history")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_NO_TIME = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Made:
    """A manifest and its configuration, to the byte."""

    config: bytes
    manifest: bytes
    layers: tuple[Digest, ...]

    @property
    def digest(self) -> Digest:
        return Digest.of(self.manifest)

    @property
    def config_digest(self) -> Digest:
        return Digest.of(self.config)


@dataclass(frozen=True, slots=True)
class MadeImage:
    """An image of v1 that was made of a layer of a manifest."""

    id: ImageId
    content: bytes
    layer: Layer


def entry_of(members: dict[str, Any], layer: Layer) -> dict[str, Any]:
    """What an image of v1 is in a configuration's history: all that is needed of those below the last one.

    :param members: its JSON.
    :raises LayerInvalid: a layer that cannot be unpacked, so that no client could check it.
    """
    if layer.diff_id is None:
        raise LayerInvalid(
            f"the layer of {members.get('id')} is cut, no archive that clients could unpack, or unpacks to too much"
        )
    entry: dict[str, Any] = {"created": _time(members.get("created")), "created_by": _command(members)[:LONGEST]}
    for name in ("author", "comment"):
        if text := _text(members.get(name)):
            entry[name] = text[:LONGEST]
    return entry | ({"empty_layer": True} if layer.is_empty else {})


def manifest_of(top: dict[str, Any], history: Sequence[dict[str, Any]], layers: Sequence[Layer]) -> Made:
    """The manifest of an image and its ancestors.

    :param top: the JSON of the image.
    :param history: of each its `entry_of`, the root first.
    :param layers: in the same order.
    :raises LayerInvalid: with a configuration that no client would read.
    """
    kept = [layer for layer in layers if not layer.is_empty]
    config = {name: value for name, value in top.items() if name not in _NOT_CONFIGURATION}
    config |= {
        CLAIM: top.get("id"),
        "architecture": _text(top.get("architecture")) or "amd64",
        "os": _text(top.get("os")) or "linux",
        "created": _time(top.get("created")),
        "history": list(history),
        "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in kept]},
    }
    content = _bytes(config)
    if len(content) > CONFIG_BYTES:
        raise LayerInvalid(f"what is said of {top.get('id')} is longer than clients read")
    manifest = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {"mediaType": CONFIG, "size": len(content), "digest": str(Digest.of(content))},
        "layers": [
            {"mediaType": layer.media_type, "size": layer.size, "digest": str(layer.digest)} for layer in kept
        ],
    }
    return Made(content, _bytes(manifest), tuple(layer.digest for layer in kept))


def claimed(config: dict[str, Any]) -> str:
    """The image of v1 that a configuration says it was made of; ``""`` is none."""
    return _text(config.get(CLAIM))


def is_expressible(document: Document) -> bool:
    """Whether clients of v1 could use it: an image with layers that they can unpack, and not too many."""
    return (
        0 < len(document.layers) <= MAX_CHAIN
        and document.blobs[0].media_type in CONFIGS
        and document.blobs[0].size <= CONFIG_BYTES
        and all(each.media_type in _LAYERS for each in document.layers)
    )


def images_of(document: Document, config: dict[str, Any], attempt: int = 0) -> list[MadeImage]:
    """The images of v1 that an image of v2 comes to: one for each layer, the root first.

    An id is made of all that the image is: the same id is always the same image.

    :param document: one that `is_expressible`.
    :param attempt: counts up, for other ids than before.
    """
    history = _filled(config)
    made: list[MadeImage] = []
    for number, descriptor in enumerate(document.layers):
        said = history[number] if number < len(history) else {}
        # What is said of the whole image goes to the last one; what docker parses is of the type that it parses.
        is_last = number == len(document.layers) - 1
        whole = {name: value for name, value in config.items() if name not in _NOT_CONFIGURATION} if is_last else {}
        members: dict[str, Any] = whole | {
            "architecture": _text(config.get("architecture")) or "amd64",
            "os": _text(config.get("os")) or "linux",
            "created": _time(whole.get("created") or said.get("created")),
            "Size": descriptor.size,
        }
        members.setdefault("container_config", {"Cmd": [_text(said.get("created_by"))]})
        if made:
            members["parent"] = str(made[-1].id)
        seed = b"%b %b %d" % (_bytes(members), str(descriptor.digest).encode(), attempt)
        image = ImageId(hashlib.sha256(seed).hexdigest())
        # What a configuration says that its layers unpack to is its own claim: others may build on the same layers.
        layer = Layer(descriptor.digest, descriptor.size, None, None, "")
        made.append(MadeImage(image, _bytes(members | {"id": str(image)}), layer))
    return made


def _command(members: dict[str, Any]) -> str:
    container = members.get("container_config")
    command = container.get("Cmd") if isinstance(container, dict) else None
    return " ".join(map(_text, command)) if isinstance(command, list) else _text(command)


def _filled(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of the history that made a layer."""
    history = config.get("history")
    entries = [each for each in history if isinstance(each, dict)] if isinstance(history, list) else []
    return [each for each in entries if each.get("empty_layer") is not True]


def _time(value: Any) -> str:
    """As clients parse it (RFC 3339); what they could not parse would make them refuse the image."""
    return value if isinstance(value, str) and _TIME.fullmatch(value) else _NO_TIME


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _bytes(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
