"""What is kept of the layer of an image of protocol v1, so that its bytes need not be read again."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from docker_registry.digest import Digest
from docker_registry.errors import DigestInvalid

MAX_CHAIN = 127
"""Layers from a tag down to the root, as many as docker could mount."""

_CHECKSUM = re.compile(r"[A-Za-z0-9.+_-]{1,64}:[A-Za-z0-9]{1,128}", re.ASCII)

_NOTHING = Digest.of(b"")


def is_checksum(text: str) -> bool:
    """Whether it looks like one, whatever it is of: ``sha256:...``, ``tarsum+sha256:...``."""
    return _CHECKSUM.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Layer:
    """:ivar digest: of the bytes as they are stored; the name of the blob.
    :ivar size: of those bytes.
    :ivar diff_id: of the archive without its compression; ``None`` if it cannot be unpacked.
    :ivar unpacked: bytes of the archive without its compression, 0 if it cannot be unpacked; ``None`` if nobody has
        tried, and then there is no diff id and no media type, either.
    :ivar media_type: as a manifest says it.
    :ivar sums: checksums of JSON and layer, as v1 writes them: ``sha256:...``, ``tarsum+sha256:...``. None are known of
        a layer that came through v2.
    """

    digest: Digest
    size: int
    diff_id: Digest | None
    unpacked: int | None
    media_type: str
    sums: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it has no archive in it: clients up to docker 0.7 sent nothing, compressed, for a change of JSON."""
        return self.diff_id == _NOTHING

    def to_json(self) -> dict[str, Any]:
        return {
            "digest": str(self.digest),
            "size": self.size,
            "diff_id": str(self.diff_id) if self.diff_id else None,
            "unpacked": self.unpacked,
            "media_type": self.media_type,
            "sums": list(self.sums),
        }

    @classmethod
    def from_json(cls, record: Any) -> Layer:
        """:raises ValueError: nobody here wrote this."""
        try:
            return cls(
                digest=Digest.parse(record["digest"]),
                size=int(record["size"]),
                diff_id=Digest.parse(record["diff_id"]) if record["diff_id"] else None,
                unpacked=None if record["unpacked"] is None else int(record["unpacked"]),
                media_type=str(record["media_type"]),
                sums=tuple(map(str, record["sums"])),
            )
        except (KeyError, TypeError, DigestInvalid) as error:
            raise ValueError(f"no record of a layer: {error}") from None

    def to_bytes(self) -> bytes:
        return json.dumps(self.to_json()).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Layer:
        """:raises ValueError: nobody here wrote this."""
        return cls.from_json(json.loads(content))


@dataclass(frozen=True, slots=True)
class Pushed:
    """A layer that was pushed, and whose checksum has not been confirmed.

    :ivar image_json: of the image at that time: the checksum is of both.
    """

    layer: Layer
    image_json: bytes

    def to_bytes(self) -> bytes:
        return json.dumps({"layer": self.layer.to_json(), "json": self.image_json.decode()}).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Pushed:
        """:raises ValueError: nobody here wrote this."""
        record = json.loads(content)
        try:
            return cls(Layer.from_json(record["layer"]), record["json"].encode())
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no record of a push: {error}") from None
