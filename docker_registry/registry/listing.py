"""What a v1 layer holds, and what it changes: the answers of ``files`` and ``diff``."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Iterator
from typing import Any

from docker_registry.registry.archive import TarReader
from docker_registry.registry.archive_limits import LISTING_LIMITS, ArchiveLimits, unreadable
from docker_registry.registry.tar_headers import Member

Entry = list[Any]
"""One member: name, type, whether it says that the name is deleted, size, mtime, mode, uid, gid."""

_TYPES = {
    b"0": "f", b"\0": "f", b"1": "l", b"2": "s", b"3": "c", b"4": "b", b"5": "d", b"6": "i", b"7": "t", b"S": "S"
}
_WHITEOUT = ".wh."
_AUFS = ".wh..wh."

_BEGINNING = re.compile(r"\s*\[\s*(\]\s*\Z)?")
_BETWEEN = re.compile(r"\s*(?:,|(\])\s*\Z)\s*")
_DECODER = json.JSONDecoder()


class Listing:
    """The members of an archive, in its order. It is shown the archive without its compression.

    Names are text: what is not UTF-8 is escaped with backslashes. Whiteouts, also below the root, are the name they
    delete; what AUFS keeps for itself (``.wh..wh.*``) is left out.
    """

    def __init__(self, limits: ArchiveLimits = LISTING_LIMITS) -> None:
        self._entries: list[bytes] = []         # as JSON, which takes a tenth of the memory
        self._limits = limits
        self._bytes = 2
        self._reader = TarReader(self, limits)

    def update(self, data: bytes) -> None:
        """:raises LayerInvalid: no tar, a broken one, or beyond the limits."""
        self._reader.update(data)

    def finish(self) -> None:
        """:raises LayerInvalid: the archive ends too early."""
        self._reader.finish()

    def begin(self, member: Member) -> None:
        raw, size = member.sparse or (member.name, member.size)
        kind = _TYPES.get(member.typeflag, "u")
        if kind == "f" and member.typeflag == b"\0" and raw.endswith(b"/"):
            kind = "d"                              # version 7 had no other way to say so
        name, deleted = _name(raw, kind == "d")
        if name is None:
            return
        entry = _bytes([name, kind, deleted, size, member.mtime, member.mode, member.uid, member.gid])
        self._bytes += len(entry) + 2
        if len(self._entries) >= self._limits.listed or self._bytes > self._limits.listing:
            raise unreadable("more members than are listed")
        self._entries.append(entry)

    def content(self, data: bytes) -> None:
        pass

    def end(self) -> None:
        pass

    @property
    def document(self) -> bytes:
        """The entries, a JSON list."""
        return b"[%b]" % b", ".join(self._entries)


def entries(document: bytes) -> Iterator[Entry]:
    """What a `Listing`, or docker-registry 0.6.1 and later, wrote down.

    One by one: reading a large document at once, `json` would keep all other threads from running.

    :raises ValueError: it is no such document.
    """
    text = document.decode()
    between = _BEGINNING.match(text)
    while between is not None and between[1] is None:
        try:
            entry, at = _DECODER.raw_decode(text, between.end())
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(entry, list) or len(entry) != 8 or not isinstance(entry[0], str):
            raise ValueError("no entry of a listing")
        yield entry
        between = _BETWEEN.match(text, at)
    if between is None:
        raise ValueError("no listing")


def _name(raw: bytes, directory: bool) -> tuple[str | None, bool]:
    """The name as it is listed, ``None`` if it is not, and whether the member deletes it."""
    name = raw.decode("utf-8", "backslashreplace")
    if directory:
        name = name.rstrip("/") or "/"
    if name == ".":
        return "/", False
    if name.startswith("./"):
        name = name[1:]
    if _WHITEOUT not in name:
        return name, False
    parent, slash, last = name.rpartition("/")
    deleted = last.startswith(_WHITEOUT)
    last = last.removeprefix(_WHITEOUT)
    if last.startswith(_WHITEOUT) or any(part.startswith(_AUFS) for part in parent.split("/")):
        return None, False
    return f"{parent}{slash}{last}", deleted


class Difference:
    """What a layer does to those below it, which it is compared with one by one, the nearest first.

    :param own: the listing of the layer.
    """

    def __init__(self, own: Iterable[Entry]) -> None:
        self._found: dict[str, list[Entry]] = {"deleted": [], "changed": [], "created": []}
        self._sought: dict[str, Entry] = {}
        for path, entry in _by_path(own).items():
            if entry[2]:
                self._found["deleted"].append(entry)
            else:
                self._sought[path] = entry

    @property
    def is_complete(self) -> bool:
        """Whether every name has been found, so that nothing further below matters."""
        return not self._sought

    def compare(self, below: Iterable[Entry]) -> None:
        """A name was changed if the nearest layer that has it does not delete it."""
        for path, entry in _by_path(below, self._sought).items():
            self._found["created" if entry[2] else "changed"].append(self._sought.pop(path))

    @property
    def document(self) -> bytes:
        """``deleted``, ``changed`` and ``created``: by name, the rest of the entry; as JSON."""
        found = self._found | {"created": [*self._found["created"], *self._sought.values()]}
        kinds = [(kind, [_bytes({entry[0]: entry[1:]})[1:-1] for entry in listed]) for kind, listed in found.items()]
        return b"{%b}" % b", ".join(b'"%b": {%b}' % (kind.encode(), b", ".join(parts)) for kind, parts in kinds)


def _by_path(listing: Iterable[Entry], wanted: Container[str] | None = None) -> dict[str, Entry]:
    """The entries by where they lie: ``/a`` and ``a`` are one place. What is there counts more than that it was deleted
    below, else the last one counts.

    :param wanted: others are left out.
    """
    paths: dict[str, Entry] = {}
    for entry in listing:
        path = entry[0].strip("/")
        if (wanted is None or path in wanted) and not (entry[2] and path in paths):
            paths[path] = entry
    return paths


def _bytes(value: Any) -> bytes:
    return json.dumps(value).encode()
