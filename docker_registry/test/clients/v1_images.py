"""Images of protocol v1 for clients to push, the sums that Docker made of them, and what is in a stack of layers."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from docker_registry.test.layer_case import member, members_of, tar

BLOCK = 512


@dataclass(frozen=True)
class Image:
    """:ivar id: 64 hexadecimal digits.
    :ivar json: the exact bytes.
    :ivar archive: the layer, a tar without compression.
    """

    id: str
    json: bytes
    archive: bytes


Chain = tuple[Image, ...]
"""The root first."""

Contents = dict[str, tuple[bytes, int, str, bytes]]
"""Type, mode, target and bytes of each file, by its path."""


def new_id() -> str:
    return os.urandom(32).hex()


def image(parent: str | None = None, archive: bytes | None = None, id: str | None = None, **more: Any) -> Image:
    """A fresh image, its JSON spaced as no program would write it again."""
    id = id or new_id()
    archive = tar([member("file", os.urandom(3000))]) if archive is None else archive
    document = {"id": id, **({"parent": parent} if parent else {}), "created": "2013-09-19T21:02:00.5Z", **more}
    document |= {"architecture": "amd64", "os": "linux", "Size": len(archive)}
    return Image(id, json.dumps(document, separators=(" ,", " :")).encode(), archive)


def chain() -> Chain:
    """A fresh image of four levels: files and links, nothing, a change and two whiteouts, a directory."""
    archives = [
        tar([
            member("etc", type=tarfile.DIRTYPE, mode=0o755),
            member("etc/passwd", b"root:x:0:0\n" + os.urandom(9000)),
            member("etc/old", b"old"),
            member("bin", type=tarfile.DIRTYPE, mode=0o755),
            member("bin/sh", os.urandom(200_000), mode=0o100755),
            member("bin/bash", type=tarfile.LNKTYPE, linkname="bin/sh", mode=0o755),
            member("sh", type=tarfile.SYMTYPE, linkname="bin/sh", mode=0o777),
            member("cache", type=tarfile.DIRTYPE, mode=0o1777),
            member("cache/a/" + "long" * 40, b"pax", mode=0o600),
        ]),
        b"",
        tar([member("etc/passwd", b"nobody\n"), member("etc/.wh.old"), member(".wh.cache")]),
        tar([member("srv", type=tarfile.DIRTYPE, mode=0o700), member("srv/\u00e9", os.urandom(70_000))]),
    ]
    images: list[Image] = []
    for number, archive in enumerate(archives):
        more: dict[str, Any] = {"container_config": {"Cmd": ["/bin/sh", "-c", f"step {number}"]}}
        if number == len(archives) - 1:
            more["config"] = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], "Labels": None}
        images.append(image(images[-1].id if images else None, archive, **more))
    return tuple(images)


def without_end(archive: bytes) -> bytes:
    """As docker 0.7 sent it: the two blocks of zeros that end an archive are missing."""
    last = members_of(archive)[-1][0] if archive else None
    return archive[: last.offset_data - -last.size // BLOCK * BLOCK] if last else b""


# Sums


def payload_sum(image_json: bytes, layer: bytes) -> str:
    """:param layer: as it is sent."""
    return "sha256:" + hashlib.sha256(image_json + b"\n" + layer).hexdigest()


# What is in it


def unpacked(layer: bytes) -> bytes:
    """An archive without its compression, whichever it has."""
    if layer.startswith(b"\x1f\x8b"):
        return gzip.decompress(layer)
    return lzma.decompress(layer) if layer.startswith(b"\xfd7zXZ") else layer


def contents(archives: Sequence[bytes]) -> Contents:
    """What a container sees of these layers, the lowest first."""
    seen: Contents = {}
    for archive in archives:
        above: Contents = {}
        for entry, content in members_of(archive):
            path = entry.name.removeprefix("./").rstrip("/")
            directory, _, base = path.rpartition("/")
            if base.startswith(".wh."):
                gone = f"{directory}/{base[4:]}".removeprefix("/")
                seen = {name: each for name, each in seen.items() if name != gone and not name.startswith(f"{gone}/")}
            elif entry.islnk():                 # which of two names is the link is all the same
                target = entry.linkname.removeprefix("./")
                above[path] = above[target] if target in above else seen[target]
            else:
                above[path] = entry.type, entry.mode & 0o7777, entry.linkname, content
        seen |= above
    return seen
