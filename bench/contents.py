"""What is pushed: random bytes, in files where they are many, and never twice the same."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

CHUNK = 32 << 10
"""Bytes of a chunk, as docker sends them (Go's ``io.Copy``)."""

BLOCK = 1 << 20
TAIL = 16


@dataclass(frozen=True, slots=True)
class Content:
    """A blob: the bytes of a file, if there is one, and then ``tail``.

    :ivar digest: computed beforehand, as a client has it.
    :ivar size: of all of it, in bytes.
    :ivar file: path of the file.
    :ivar chunked: path of a file with the same bytes framed as chunks, `CHUNK` each.
    """

    digest: str
    size: int
    tail: bytes
    file: str | None = None
    chunked: str | None = None


def small(size: int) -> Content:
    """A new blob that lies in memory."""
    tail = os.urandom(size)
    return Content(f"sha256:{hashlib.sha256(tail).hexdigest()}", size, tail)


class Large:
    """New blobs that share all bytes of a file but their tails: they cost no time to make.

    :param size: of a blob, in bytes.
    :param directory: where the files are made.
    """

    def __init__(self, size: int, directory: Path) -> None:
        self._size = size
        self._file = directory / f"{size}"
        self._chunked = directory / f"{size}.chunked"

    def make(self) -> None:
        """Write the files, if that was not done: it takes seconds, and the disk goes on with it for a while."""
        self._digest.copy()

    def content(self) -> Content:
        digest = self._digest.copy()
        tail = os.urandom(TAIL)
        digest.update(tail)
        return Content(f"sha256:{digest.hexdigest()}", self._size, tail, str(self._file), str(self._chunked))

    @cached_property
    def _digest(self) -> hashlib._Hash:
        digest = hashlib.sha256()
        left = self._size - TAIL
        with self._file.open("wb") as plain, self._chunked.open("wb") as chunked:
            while left:
                block = os.urandom(min(BLOCK, left))
                left -= len(block)
                digest.update(block)
                plain.write(block)
                for at in range(0, len(block), CHUNK):
                    chunked.write(chunk(block[at : at + CHUNK]))
        return digest


def chunk(data: bytes) -> bytes:
    """One chunk of a body (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
