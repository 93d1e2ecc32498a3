"""What is stored of an upload whose digest is not known yet.

Its bytes lie in pieces: ordinary objects, which anybody can read (a hash that another process began
has to be computed again) and of which the store makes one in the end without sending them. What is behind the last
piece stands, with the list of the pieces, in one small object at the upload's key: that object is the one truth about
what was made durable. The names of pieces are of the writer that sent them: two daemons that write to one session at a
time never mix their bytes.

::

    <key>       the rest, then the list, with the meta-data "<size of all> <size of the rest>"
    elsewhere   pieces: where, the store says (`Naming`)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from docker_registry.errors import Damaged, NotFound
from docker_registry.storage.flows import Octets
from docker_registry.storage.objects.store import Head

RECORD = 576 << 20
"""Longest rest, which is shorter than the largest part, with its list."""

_SIZES = re.compile(r"([0-9]{1,15}) ([0-9]{1,15})")


@dataclass(frozen=True, slots=True)
class Run:
    """Pieces of one size that one writer sent.

    :ivar name: of the writer.
    :ivar count: pieces.
    :ivar size: of each in bytes.
    :ivar first: the number of the first one.
    """

    name: str
    count: int
    size: int
    first: int = 0

    @property
    def is_sound(self) -> bool:
        """Others write to buckets, too."""
        numbers = self.count, self.size, self.first
        return isinstance(self.name, str) and all(type(each) is int and each >= 0 for each in numbers) and self.size > 0

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.count)


@dataclass(frozen=True, slots=True)
class Piece:
    """:ivar tag: of its content, if that is known."""

    key: str
    size: int
    tag: str = ""


Naming = Callable[[str, str, int], str]
"""The key of a piece: of the upload's key, the name of the run, and the piece's number."""


@dataclass(frozen=True, slots=True)
class Session:
    """:ivar naming: where pieces are.
    :ivar runs: in their order, of the pieces.
    :ivar rest: bytes behind them, in parts.
    """

    key: str
    naming: Naming
    runs: tuple[Run, ...]
    rest: Sequence[Octets]

    @property
    def size(self) -> int:
        return sum(run.count * run.size for run in self.runs) + sum(map(len, self.rest))

    def pieces(self) -> list[Piece]:
        return [
            Piece(self.naming(self.key, run.name, number), run.size) for run in self.runs for number in run.numbers
        ]

    def body(self) -> tuple[Sequence[Octets], str]:
        """As it is stored: content and meta-data."""
        runs = json.dumps([[run.name, run.count, run.size, run.first] for run in self.runs]).encode()
        return [*self.rest, runs], f"{self.size} {sum(map(len, self.rest))}"

    @classmethod
    def read(cls, key: str, naming: Naming, content: bytes, head: Head) -> Session:
        """:raises NotFound: no upload was begun there.
        :raises Damaged: it is not what was stored.
        """
        if not head.session:
            raise NotFound(key)
        rest = rest_size(key, head)
        return cls(key, naming, read_runs(key, content[rest:]), [content[:rest]])


def read_runs(key: str, content: bytes) -> tuple[Run, ...]:
    """Of the list behind the rest.

    :raises Damaged: it is not what was stored.
    """
    try:
        runs = tuple(Run(*each) for each in json.loads(content))
    except (ValueError, TypeError, RecursionError):
        raise Damaged(key) from None
    if not all(run.is_sound for run in runs):
        raise Damaged(key)
    return runs


def cut(runs: Sequence[Run], offset: int) -> tuple[tuple[Run, ...], int, tuple[str, int] | None]:
    """The runs of the first ``offset`` bytes, how many bytes are behind them, and the name of the run and number of the
    piece that those begin; ``None`` if they begin what is behind the last piece."""
    kept: list[Run] = []
    left = offset
    for run in runs:
        count = min(run.count, left // run.size)
        if count:
            kept.append(replace(run, count=count))
        left -= count * run.size
        if count < run.count:
            return tuple(kept), left, (run.name, run.first + count)
    return tuple(kept), left, None


def total(key: str, head: Head) -> int:
    """Bytes of what lies at a key: of all of an upload, though it is not finished.

    :raises Damaged: it is not what was stored.
    """
    return _sizes(key, head)[0] if head.session else head.size


def rest_size(key: str, head: Head) -> int:
    """Bytes behind the last piece.

    :raises Damaged: it is not what was stored.
    """
    return _sizes(key, head)[1]


def _sizes(key: str, head: Head) -> tuple[int, int]:
    """Of all of an upload, and of its rest."""
    match = _SIZES.fullmatch(head.session)
    if match is None:
        raise Damaged(key)
    return int(match[1]), int(match[2])
