"""Layers without their compression.

Bytes go in as they arrive, and come out piece by piece, however much a few of them unpack to. What comes out, and which
limit is met where, depends on the bytes alone and never on how they were cut.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from docker_registry.registry.archive_limits import LIMITS, ArchiveLimits, unreadable
from docker_registry.storage.interface import Digester

INPUT = 256 << 10
"""Packed bytes handed to a decoder at a time, at most."""

OUTPUT = 512 << 10
"""Unpacked bytes shown to the consumers at a time, at most."""

_FIRST_INPUT = 4 << 10
"""Packed bytes for a decoder that has just begun: what lies behind the end of its stream is copied, so that many short
streams must not be handed over in large pieces."""

_BZIP2 = tuple(b"BZh%d%b" % (level, mark) for level in range(1, 10) for mark in (b"1AY&SY", b"\x17rE8P\x90"))
"""All ways to begin: also a name in a tar may begin with ``BZh``."""


class Compression(Enum):
    """How a layer is packed, told by its first bytes."""

    NONE = "none"
    GZIP = "gzip"       # RFC 1952
    BZIP2 = "bzip2"
    XZ = "xz"
    ZSTD = "zstd"       # RFC 8878; recognised, not unpacked

    @classmethod
    def of(cls, head: bytes) -> Compression:
        """:param head: the first 10 bytes, or all if there are fewer."""
        if head.startswith(b"\x1f\x8b"):
            return cls.GZIP
        if head.startswith(_BZIP2):
            return cls.BZIP2
        if head.startswith(b"\xfd7zXZ\0"):
            return cls.XZ
        if head.startswith(b"\x28\xb5\x2f\xfd"):
            return cls.ZSTD
        return cls.NONE


class _Decoder(Protocol):
    """One compressed stream, as `bz2` and `lzma` see it."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """`zlib` in the shape of `bz2`."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflate.decompress(data or self._inflate.unconsumed_tail, max_length)


class Unpacker:
    """Takes off the compression of a layer and shows the rest to ``consumers``.

    Streams may follow each other, with zero bytes between or behind them. Anything else behind a stream is refused, as
    clients refuse it, and so is a gzip stream without its trailer.

    :ivar compression: ``None`` until the first bytes have been looked at.
    :ivar size: unpacked bytes so far.
    """

    def __init__(self, consumers: Sequence[Digester], limits: ArchiveLimits = LIMITS) -> None:
        self.compression: Compression | None = None
        self.size = 0
        self._consumers = consumers
        self._limits = limits
        self._held = bytearray()
        self._piece = _FIRST_INPUT
        self._packed = 0
        self._streams = 0
        self._decoder: _Decoder | None = None

    def update(self, data: bytes) -> None:
        """:raises LayerInvalid: not to be unpacked, or beyond the limits. It is of no use afterwards."""
        self._held += data
        start = 0
        while len(self._held) - start >= self._piece:
            end = start + self._piece
            with memoryview(self._held) as view:
                piece = bytes(view[start:end])
            start = end
            self._take(piece)
        del self._held[:start]

    def finish(self) -> None:
        """Show what has been held back.

        :raises LayerInvalid: as for `update`; or a stream ends too early.
        """
        self._take(bytes(self._held))
        self._held.clear()
        if self._decoder is not None:
            raise unreadable(f"the {self._decoding} stream is cut off")

    @property
    def _decoding(self) -> str:
        return self.compression.value if self.compression else ""

    def _take(self, piece: bytes) -> None:
        if self.compression is None:
            self.compression = Compression.of(piece[:10])
        self._packed += len(piece)
        self._piece = min(2 * self._piece, INPUT)
        if self.compression is Compression.NONE:
            self._show(piece)
            return
        while piece:
            piece = self._decode(piece)

    def _decode(self, piece: bytes) -> bytes:
        """Unpack until the end of the piece or of the stream; returns what lies behind the latter."""
        if self._decoder is None:
            piece = piece.lstrip(b"\0")
            if not piece:
                return b""
            self._decoder = self._next_stream()
        decoder = self._decoder
        self._show(self._step(decoder, piece))
        while not decoder.eof and not decoder.needs_input:
            self._show(self._step(decoder, b""))
        if not decoder.eof:
            return b""
        self._decoder = None
        self._piece = _FIRST_INPUT
        return decoder.unused_data

    def _step(self, decoder: _Decoder, data: bytes) -> bytes:
        try:
            return decoder.decompress(data, OUTPUT)
        except (zlib.error, OSError, lzma.LZMAError) as error:
            raise unreadable(f"{self._decoding}: {error}") from None

    def _next_stream(self) -> _Decoder:
        self._streams += 1
        if self._streams > self._limits.streams:
            raise unreadable(f"more than {self._limits.streams} compressed streams")
        match self.compression:
            case Compression.GZIP:
                return _Gzip()
            case Compression.BZIP2:
                return bz2.BZ2Decompressor()
            case Compression.XZ:
                return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=self._limits.dictionary)
        raise unreadable(f"{self._decoding} is not unpacked here")

    def _show(self, unpacked: bytes) -> None:
        if not unpacked:
            return
        self.size += len(unpacked)
        if self.size > self._limits.unpacked:
            raise unreadable(f"more than {self._limits.unpacked} bytes without compression")
        if self.size > self._limits.ratio_from and self.size > self._limits.ratio * self._packed:
            raise unreadable(f"unpacks to more than {self._limits.ratio} times its size")
        for consumer in self._consumers:
            consumer.update(unpacked)
