"""Layers made with the standard library, for the tests of what is computed from them."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol, TypeVar

from hypothesis import strategies

from docker_registry.registry.checksums import TarsumVersion

Content = tuple[tarfile.TarInfo, bytes]


class Reads(Protocol):
    def update(self, data: bytes) -> None: ...

    def finish(self) -> object: ...


R = TypeVar("R", bound=Reads)


def member(name: str, content: bytes = b"", **fields: Any) -> Content:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar(members: Iterable[Content], format: int = tarfile.PAX_FORMAT, **options: Any) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=format, **options) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def members_of(archive: bytes) -> list[Content]:
    """As `tarfile` reads them; there may be none, and no end."""
    if not archive:
        return []
    with tarfile.open(fileobj=io.BytesIO(archive), errors="surrogateescape", encoding="utf-8", errorlevel=2) as reader:
        found = []
        for info in reader:
            file = reader.extractfile(info) if info.isreg() else None
            found.append((info, file.read() if file else b""))
        return found


def expected_tarsum(image_json: bytes, archive: bytes, version: TarsumVersion = TarsumVersion.V0) -> str:
    """Word for word from the description, with `tarfile` to read the archive."""
    sums = []
    for info, content in members_of(archive):
        name = info.name + "/" if info.isdir() else info.name
        fields = [("name", name), ("mode", info.mode), ("uid", info.uid), ("gid", info.gid), ("size", info.size),
                  ("mtime", int(info.mtime)), ("typeflag", info.type.decode()), ("linkname", info.linkname),
                  ("uname", info.uname), ("gname", info.gname), ("devmajor", info.devmajor),
                  ("devminor", info.devminor)]
        if version is TarsumVersion.V1:
            fields = [field for field in fields if field[0] != "mtime"]
            fields += sorted((key.removeprefix("SCHILY.xattr."), value) for key, value in info.pax_headers.items()
                             if key.startswith("SCHILY.xattr."))
        text = "".join(f"{key}{value}" for key, value in fields).encode("utf-8", "surrogateescape")
        sums.append(hashlib.sha256(text + content).hexdigest())
    return f"{version.value}:{hashlib.sha256(image_json + ''.join(sorted(sums)).encode()).hexdigest()}"


def header(**fields: bytes) -> bytes:
    """One block, from an ordinary header in which ``fields`` are replaced, with a checksum that fits."""
    where = {"name": 0, "mode": 100, "uid": 108, "gid": 116, "size": 124, "mtime": 136, "typeflag": 156,
             "linkname": 157, "magic": 257, "uname": 265, "devmajor": 329, "devminor": 337, "prefix": 345,
             "sparse": 386, "extended": 482, "realsize": 483}
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT))
    for field, value in fields.items():
        block[where[field]:where[field] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def extended(records: bytes, kind: bytes = b"x") -> bytes:
    return header(name=b"pax", typeflag=kind, size=b"%011o\0" % len(records)) + records + bytes(-len(records) % 512)


def record(key: bytes, value: bytes) -> bytes:
    """One record of an extended header; its length counts itself."""
    rest = b" %b=%b\n" % (key, value)
    length = len(rest) + len(str(len(rest)))
    length += len(str(length)) > len(str(len(rest)))
    return b"%d%b" % (length, rest)


def pieces(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    for start, end in pairwise([0, *sorted(cuts), len(data)]):
        yield data[start:end]


def show(reader: R, data: bytes, cuts: Sequence[int] = ()) -> R:
    """Show ``data`` to ``reader``, in the pieces that ``cuts`` make."""
    for piece in pieces(data, cuts):
        reader.update(piece)
    reader.finish()
    return reader


def cuts(data: bytes) -> strategies.SearchStrategy[list[int]]:
    return strategies.lists(strategies.integers(0, len(data)), max_size=8)


_names = strategies.text(strategies.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
_numbers = strategies.integers(0, 0o7777777)


@strategies.composite
def members(draw: strategies.DrawFn) -> Content:
    kind = draw(strategies.sampled_from("0123456"))
    return member(
        draw(_names.map(lambda name: name.strip("/") or "a")) + draw(strategies.sampled_from(["", "n" * 120])),
        draw(strategies.binary(max_size=1500)) if kind == "0" else b"",
        type=kind.encode(),
        mode=draw(_numbers), uid=draw(_numbers), gid=draw(_numbers),
        mtime=draw(strategies.one_of(_numbers, _numbers.map(lambda number: number / 100))),
        linkname=draw(_names) if kind in "12" else "",
        uname=draw(strategies.text("abc", max_size=5)), gname=draw(strategies.text("abc", max_size=5)),
        devmajor=draw(strategies.integers(0, 255)) if kind in "34" else 0,
        pax_headers=draw(strategies.dictionaries(
            strategies.sampled_from(["SCHILY.xattr.user.a", "SCHILY.xattr.security.capability", "comment"]),
            strategies.text("xyz\u20ac", min_size=1), max_size=3,
        )),
    )


archives = strategies.builds(
    tar, strategies.lists(members(), max_size=4), strategies.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
)
