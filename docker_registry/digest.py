"""Content addresses."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from docker_registry.errors import DigestInvalid

CANONICAL = "sha256"
"""The algorithm of digests that nobody chose."""

_HEX_LENGTH = {"sha256": 64, "sha512": 128}
ALGORITHMS = tuple(_HEX_LENGTH)
_SHAPE = re.compile(r"([a-z0-9+._-]{1,32}):([0-9a-f]{64}|[0-9a-f]{128})", re.ASCII)


class Hash(Protocol):
    """What `hashlib` hands out, as far as it is used here."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...

    def copy(self) -> Hash: ...


def new_hash(algorithm: str) -> Hash:
    """:raises DigestInvalid: ``algorithm`` is not registered (image-spec 1.1, "Registered algorithms")."""
    if algorithm not in _HEX_LENGTH:
        raise DigestInvalid(algorithm)
    return hashlib.new(algorithm)


@dataclass(frozen=True, slots=True)
class Digest:
    """The content address of a blob or a manifest.

    :ivar algorithm: ``"sha256"`` or ``"sha512"``.
    :ivar hex: lower-case hexadecimal, 64 or 128 characters.
    """

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``text``, as it stands in a URL, a header or a manifest.

        :raises DigestInvalid: unknown algorithm, wrong length, or upper case.
        """
        return _parse(text)

    @classmethod
    def of(cls, content: bytes, algorithm: str = CANONICAL) -> Digest:
        """Hash ``content`` whole; for manifests, never for blobs."""
        hasher = new_hash(algorithm)
        hasher.update(content)
        return cls(algorithm, hasher.hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@lru_cache(4096)
def _parse(text: str) -> Digest:
    match = _SHAPE.fullmatch(text)
    if match is None or len(match[2]) != _HEX_LENGTH.get(match[1]):
        raise DigestInvalid(text)
    return Digest(match[1], match[2])
