"""Range requests for one range (RFC 9110, 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(rb"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.IGNORECASE)


class RangeNotSatisfiable(Exception):
    """:ivar size: of the whole, in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes ``first`` to ``last``, both included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1

    def header(self, size: int) -> tuple[bytes, bytes]:
        """What goes with them.

        :param size: of the whole, in bytes.
        """
        return b"Content-Range", b"bytes %d-%d/%d" % (self.first, self.last, size)


def parse_range(header: bytes | None, size: int) -> Range | None:
    """The bytes that a ``Range`` header asks for; ``None`` is all of them.

    Several ranges, other units and nonsense are answered whole, as RFC 9110 allows. A range that runs backwards is
    refused, as registries' clients expect.

    :param size: of the whole, in bytes.
    :raises RangeNotSatisfiable: nothing of it is there.
    """
    match = _ONE_RANGE.fullmatch(header) if header is not None else None
    if match is None or (not match[1] and not match[2]):
        return None
    if not match[1]:
        first, last = max(size - int(match[2]), 0), size - 1
    else:
        first, last = int(match[1]), min(int(match[2]), size - 1) if match[2] else size - 1
        if match[2] and int(match[2]) < first:
            raise RangeNotSatisfiable(size)
    if first > last:
        raise RangeNotSatisfiable(size)
    return Range(first, last)
