"""Whole lines at the end of a file that other processes may write to as well; blocks, so it lives in a thread."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

PIECE = 4096
"""Bytes that a pipe takes whole or not at all (pipe(7), ``PIPE_BUF``)."""

PATIENCE = 1000
"""Milliseconds that whoever reads a pipe may take before it is written to again."""

_STDOUT = 1


class Appender:
    """:param path: made when there is none; ``None`` is the standard output."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fd = -1
        self._is_file = False
        self._is_torn = False                       # whether what was written last does not end as a line

    def append(self, lines: Sequence[bytes]) -> int:
        """:param lines: each with its line break.
        :returns: how many found no reader.
        :raises OSError: the file cannot be opened, or takes no more.
        """
        if self._fd < 0:
            self.reopen()
        if self._is_file:
            self._write(b"".join(lines))
            return 0
        for left, piece in _pieces(lines):
            if not self._has_room():
                return left
            self._write(piece)
        return 0

    def reopen(self) -> None:
        """Go on with the file that has the name now.

        :raises OSError: it cannot be opened; what was open stays so.
        """
        fd = os.dup(_STDOUT) if self._path is None else os.open(self._path, _APPENDING, 0o640)
        self.close()
        self._fd, self._is_torn = fd, False
        self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)

    def close(self) -> None:
        """May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        """In one step if the system takes it, as it does unless the disk is full."""
        rest = memoryview(b"\n" + data if self._is_torn else data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
            self._is_torn = bool(rest)

    def _has_room(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(PATIENCE))


_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""Without waiting for a reader, where the name is that of a pipe."""


def _pieces(lines: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines together as long as a pipe takes them whole, and how many lines are left from the piece's first on."""
    piece: list[bytes] = []
    size = 0
    for number, line in enumerate(lines):
        if piece and size + len(line) > PIECE:
            yield len(lines) - number + len(piece), b"".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield len(piece), b"".join(piece)
