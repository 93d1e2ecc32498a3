"""What is pushed: random bytes, in files where they are many, and never twice the same."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections.abc import Iterator
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


    def sum_after(self, before: bytes) -> str:
        """The sha256 of ``before`` and the content, in hexadecimal."""
        digest = hashlib.sha256(before)
        if self.file is not None:
            with Path(self.file).open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
        digest.update(self.tail)
        return digest.hexdigest()


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
        directory.mkdir(exist_ok=True)
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
        with self._file.open("wb") as plain, self._chunked.open("wb") as chunked:
            for block in self._blocks():
                digest.update(block)
                plain.write(block)
                for at in range(0, len(block), CHUNK):
                    chunked.write(chunk(block[at : at + CHUNK]))
        return digest

    def _blocks(self) -> Iterator[bytes]:
        left = self._size - TAIL
        while left:
            block = os.urandom(min(BLOCK, left))
            left -= len(block)
            yield block


class Archive(Large):
    """New layers: archives of one file of random bytes, compressed as far as that goes.

    :param size: of the file in the archive, in bytes.
    """

    def __init__(self, size: int, directory: Path) -> None:
        super().__init__(size, directory / "archive")

    def content(self) -> Content:
        """What makes it new is the name that a last part of gzip, without content, may have."""
        digest = self._digest.copy()
        tail = b"\x1f\x8b\x08\x08" + bytes(6) + os.urandom(TAIL).hex().encode() + b"\0\x03\0" + bytes(8)
        digest.update(tail)
        size = self._file.stat().st_size + len(tail)
        return Content(f"sha256:{digest.hexdigest()}", size, tail, str(self._file), str(self._chunked))

    def _blocks(self) -> Iterator[bytes]:
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        member = tarfile.TarInfo("random")
        member.size = self._size
        yield packer.compress(member.tobuf())
        left = self._size
        while left:
            block = os.urandom(min(BLOCK, left))
            left -= len(block)
            yield packer.compress(block)
        yield packer.compress(bytes(-self._size % 512 + 1024)) + packer.flush()


def chunk(data: bytes) -> bytes:
    """One chunk of a body (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)
