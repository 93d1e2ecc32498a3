"""How far the content of a layer is followed (T15, T16): whoever pushes chooses the bytes."""

from __future__ import annotations

from dataclasses import dataclass

from docker_registry.errors import LayerInvalid


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """:ivar unpacked: bytes of an archive without its compression.
    :ivar ratio: unpacked bytes for one packed byte, looked at once ``ratio_from`` bytes are unpacked.
    :ivar ratio_from: see ``ratio``.
    :ivar streams: compressed streams one behind the other; estargz has one for each file.
    :ivar dictionary: bytes of memory for the decoder of xz; ``xz -9`` wants 65 MiB.
    :ivar header: bytes of one long name or extended header.
    :ivar headers: tar headers of every kind, extended ones included.
    :ivar records: records of all extended headers together.
    :ivar listed: members in a listing.
    :ivar listing: bytes of a listing as JSON.
    """

    unpacked: int = 10 << 30
    ratio: int = 200
    ratio_from: int = 64 << 20
    streams: int = 1_000_000
    dictionary: int = 80 << 20
    header: int = 1 << 20
    headers: int = 1_000_000
    records: int = 4_000_000
    listed: int = 200_000
    listing: int = 32 << 20


def unreadable(reason: str) -> LayerInvalid:
    """The refusal of a layer, in the words of docker-registry 0.x; ``reason`` is its note, for the log."""
    refusal = LayerInvalid("Layer format not supported")
    refusal.add_note(reason)
    return refusal
