"""Tar archives, read as they arrive.

Nothing is ever extracted, and names are bytes without meaning. What an archive says of itself is bounded before it is
believed (T16).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from docker_registry.registry.archive_limits import ArchiveLimits, unreadable
from docker_registry.registry.tar_headers import (
    BLOCK,
    KEYS,
    KEYS_OF_ALL,
    WITHOUT_CONTENT,
    Member,
    apply,
    read_header,
    read_records,
    text,
)

_ZEROS = bytes(BLOCK)
_GLOBAL = b"g"
_LONG = {b"L": b"path", b"K": b"linkpath"}
_PREFACES = frozenset((b"x", b"X", _GLOBAL, *_LONG))
"""Kinds of headers whose content is about members; X is what Solaris wrote before pax."""

_GLOBAL_HEADER = 4 << 10
"""Bytes: what is said there is repeated for each member behind it."""


class Visitor(Protocol):
    """Who is shown the members, one after the other."""

    def begin(self, member: Member) -> None: ...

    def content(self, data: bytes) -> None: ...

    def end(self) -> None: ...


class TarReader:
    """Shows a tar archive to ``visitor``, member by member, content as it comes.

    The archive ends at its first block of zeros; what lies behind is not looked at. It may also just end, behind a
    member or its content. The maps of sparse files are skipped: their content is what lies in the archive.
    """

    def __init__(self, visitor: Visitor, limits: ArchiveLimits = ArchiveLimits()) -> None:  # noqa: B008
        self._visitor = visitor
        self._limits = limits
        self._headers = 0
        self._records = 0
        self._take: Callable[[bytes, int], int] = self._take_block
        self._on_block: Callable[[bytes], None] = self._header
        self._partial = b""
        self._left = 0              # bytes of content, or of a header's value, still to come
        self._padding = 0
        self._member: Member | None = None
        self._collected = bytearray()
        self._collecting = b""      # the kind of header whose value is being collected
        self._of_all: dict[bytes, bytes] = {}
        self._extended: dict[bytes, bytes] = {}

    def update(self, data: bytes) -> None:
        """:raises LayerInvalid: no tar, a broken one, or beyond the limits. It is of no use afterwards."""
        position = 0
        while position < len(data):
            position += self._take(data, position)

    def finish(self) -> None:
        """:raises LayerInvalid: the archive ends too early."""
        if self._take == self._take_nothing:
            return
        if any(self._partial) or self._left or self._extended or self._on_block != self._header:
            raise unreadable("the archive is cut off")

    # Where the bytes belong. Each takes some of ``data``, from ``position`` on, and says how many.

    def _take_block(self, data: bytes, position: int) -> int:
        block = self._partial + data[position:position + BLOCK - len(self._partial)]
        taken = len(block) - len(self._partial)
        if len(block) < BLOCK:
            self._partial = block
        else:
            self._partial = b""
            self._on_block(block)
        return taken

    def _take_content(self, data: bytes, position: int) -> int:
        piece = data[position:position + self._left]
        self._left -= len(piece)
        if self._member is None:
            self._collected += piece
        else:
            self._visitor.content(piece)
        if not self._left:
            self._content_ended()
        return len(piece)

    def _take_padding(self, data: bytes, position: int) -> int:
        taken = min(self._padding, len(data) - position)
        self._padding -= taken
        if not self._padding:
            self._take = self._take_block
        return taken

    def _take_nothing(self, data: bytes, position: int) -> int:
        return len(data) - position

    # What the blocks say.

    def _header(self, block: bytes) -> None:
        if block == _ZEROS:
            if self._extended:
                raise unreadable("an extended header belongs to no member")
            self._take = self._take_nothing
            return
        self._count_header()
        header = read_header(block)
        kind = header.typeflag
        if kind in _PREFACES:
            if header.size > (_GLOBAL_HEADER if kind == _GLOBAL else self._limits.header):
                raise unreadable(f"a header of {header.size} bytes")
            self._collecting = kind
            self._begin_content(header.size)
            return
        self._member = apply(header, self._of_all | self._extended) if self._of_all or self._extended else header
        self._extended = {}
        self._visitor.begin(self._member)
        if header.sparse and block[482]:
            self._on_block = self._sparse_map
        else:
            self._begin_member()

    def _sparse_map(self, block: bytes) -> None:
        self._count_header()
        if not block[504]:
            self._on_block = self._header
            self._begin_member()

    def _count_header(self) -> None:
        self._headers += 1
        if self._headers > self._limits.headers:
            raise unreadable(f"more than {self._limits.headers} headers")

    def _begin_member(self) -> None:
        assert self._member is not None
        self._begin_content(0 if self._member.typeflag in WITHOUT_CONTENT else self._member.size)

    def _begin_content(self, size: int) -> None:
        self._left = size
        self._padding = -size % BLOCK
        if size:
            self._take = self._take_content
        else:
            self._content_ended()

    def _content_ended(self) -> None:
        if self._member is None:
            self._understand(self._collecting, bytes(self._collected))
            self._collected.clear()
        else:
            self._member = None
            self._visitor.end()
        self._take = self._take_padding if self._padding else self._take_block

    def _understand(self, kind: bytes, value: bytes) -> None:
        if kind in _LONG:
            self._extended[_LONG[kind]] = text(value)
            return
        target, keys = (self._of_all, KEYS_OF_ALL) if kind == _GLOBAL else (self._extended, KEYS)
        self._records += read_records(value, target, keys, self._limits.records - self._records)
