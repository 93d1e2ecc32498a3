"""What a v1 layer holds, and what it changes: the answers of ``files`` and ``diff``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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


class Listing:
    """The members of an archive, in its order. It is shown the archive without its compression.

    Names are text: what is not UTF-8 is escaped with backslashes. Whiteouts, also below the root, are the name they
    delete; what AUFS keeps for itself (``.wh..wh.*``) is left out.

    :ivar files: the members so far, as JSON has them.
    """

    def __init__(self, limits: ArchiveLimits = LISTING_LIMITS) -> None:
        self.files: list[Entry] = []
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
        entry = [name, kind, deleted, size, member.mtime, member.mode, member.uid, member.gid]
        self._bytes += len(json.dumps(entry)) + 2
        if len(self.files) >= self._limits.listed or self._bytes > self._limits.listing:
            raise unreadable("more members than are listed")
        self.files.append(entry)

    def content(self, data: bytes) -> None:
        pass

    def end(self) -> None:
        pass


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


def difference(own: Sequence[Entry], ancestors: Iterable[Sequence[Entry]]) -> dict[str, dict[str, Entry]]:
    """What a layer does to those below it.

    :param own: the listing of the layer.
    :param ancestors: the listings below, the nearest first; none is asked for when all names have been found.
    :returns: ``deleted``, ``changed`` and ``created``: by name, the rest of the entry. A name was changed if the
        nearest ancestor that has it does not delete it.
    """
    answer: dict[str, dict[str, Entry]] = {"deleted": {}, "changed": {}, "created": {}}
    sought = {}
    for path, entry in _by_path(own).items():
        if entry[2]:
            answer["deleted"][entry[0]] = entry[1:]
        else:
            sought[path] = entry
    below = iter(ancestors)
    while sought and (listing := next(below, None)) is not None:
        for path, found in _by_path(listing).items():
            if path in sought:
                entry = sought.pop(path)
                answer["created" if found[2] else "changed"][entry[0]] = entry[1:]
    answer["created"].update((entry[0], entry[1:]) for entry in sought.values())
    return answer


def _by_path(listing: Sequence[Entry]) -> dict[str, Entry]:
    """The entries by where they lie: ``/a`` and ``a`` are one place. What is there counts more than that it was deleted
    below, else the last one counts."""
    paths: dict[str, Entry] = {}
    for entry in listing:
        path = entry[0].strip("/")
        if not (entry[2] and path in paths):
            paths[path] = entry
    return paths
