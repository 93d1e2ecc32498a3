"""Whole lines at the end of a file or a pipe that other processes may write to as well, or of the standard output.

All writing here blocks: on a disk, and for a while on whoever reads a pipe, the journal's socket or a terminal.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

PIECE = 4096
"""Bytes that a pipe takes whole or not at all (pipe(7), ``PIPE_BUF``)."""

PATIENCE = 1000
"""Milliseconds that whoever reads a pipe may take before it is written to again."""

STDOUT = 1


class Appender:
    """:param path: made when there is none; ``None`` is the standard output."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fd = -1
        self._most = PIECE                          # bytes that are written in one step
        self._is_torn = False                       # whether what was written last does not end as a line

    def append(self, lines: Sequence[bytes], is_patient: bool = True) -> int:
        """:param lines: each with its line break.
        :param is_patient: whether a reader has `PATIENCE`; lines that he has no room for are lost at once otherwise.
        :returns: how many found no reader.
        :raises OSError: the file cannot be opened, or takes no more.
        """
        if self._fd < 0:
            self.reopen()
        for left, piece in _pieces(lines, self._most):
            if not self._write(piece, PATIENCE if is_patient else 0):
                return left
        return 0

    def reopen(self) -> None:
        """Go on with the file that has the name now.

        :raises OSError: it cannot be opened; what was open stays so.
        """
        fd = _stdout() if self._path is None else os.open(self._path, _APPENDING, 0o640)
        self.close()
        self._fd, self._is_torn = fd, False
        self._most = sys.maxsize if stat.S_ISREG(os.fstat(fd).st_mode) else PIECE

    def close(self) -> None:
        """May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes, patience: int) -> bool:
        """Whether somebody took all of it: in one step, unless a disk is full, or it is a line beyond `PIECE`."""
        room = select.poll()
        room.register(self._fd, select.POLLOUT)
        rest = memoryview(b"\n" + data if self._is_torn else data)
        while rest:
            if not room.poll(patience):             # a file always has some
                return False
            rest = rest[os.write(self._fd, rest[: self._most]) :]
            self._is_torn = bool(rest)
        return True


def _stdout() -> int:
    if sys.__stdout__ is None:                      # it was closed: what has its number now is something else
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return os.dup(STDOUT)


_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""Without waiting for a reader, where the name is that of a pipe."""


def _pieces(lines: Sequence[bytes], most: int) -> Iterator[tuple[int, bytes]]:
    """Lines together as long as they are written in one step, and how many lines are left from the piece's first on."""
    piece: list[bytes] = []
    size = 0
    for number, line in enumerate(lines):
        if piece and size + len(line) > most:
            yield len(lines) - number + len(piece), b"".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield len(piece), b"".join(piece)
