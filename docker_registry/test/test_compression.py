"""Taking off the compression of layers, whatever they unpack to."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import zlib
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.errors import LayerInvalid
from docker_registry.registry.archive_limits import ArchiveLimits
from docker_registry.registry.compression import OUTPUT, Compression, Unpacker
from docker_registry.test.layer_case import cuts, show

MIB = 1 << 20

Pack = Callable[[bytes], bytes]
PACKS: list[Pack] = [gzip.compress, bz2.compress, lzma.compress]


class Pieces:
    """A consumer that remembers what it was shown."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def update(self, data: bytes) -> None:
        self.pieces.append(data)


def unpack(packed: bytes, limits: ArchiveLimits | None = None) -> bytes:
    seen = Pieces()
    show(Unpacker([seen], limits or ArchiveLimits()), packed)
    return b"".join(seen.pieces)


def dictionary_of_4_gib() -> bytes:
    """An xz stream whose block header asks for it (xz file format 1.2, 3.1 and 5.3.1)."""
    packed = bytearray(lzma.compress(b"x"))
    start, length = 12, (packed[12] + 1) * 4
    packed[packed.index(b"\x21\x01", start) + 2] = 40
    packed[start + length - 4:start + length] = zlib.crc32(packed[start:start + length - 4]).to_bytes(4, "little")
    return bytes(packed)


class UnpackerTests(SynchronousTestCase):
    def refused(self, packed: bytes, note: str, limits: ArchiveLimits | None = None) -> None:
        with self.assertRaises(LayerInvalid) as caught:
            unpack(packed, limits)
        [found] = caught.exception.__notes__
        self.assertIn(note, found)

    def test_told_by_the_first_bytes(self) -> None:
        for head, compression in (
            (gzip.compress(b""), Compression.GZIP), (bz2.compress(b""), Compression.BZIP2),
            (bz2.compress(b"x", 1), Compression.BZIP2), (lzma.compress(b""), Compression.XZ),
            (b"\x28\xb5\x2f\xfd", Compression.ZSTD), (b"", Compression.NONE), (b"BZh91AY", Compression.NONE),
            (b"\x1f", Compression.NONE), (lzma.compress(b"", lzma.FORMAT_ALONE), Compression.NONE),
        ):
            self.assertIs(Compression.of(head[:10]), compression, head)

    def test_streams_behind_each_other(self) -> None:
        for pack in PACKS:
            self.assertEqual(unpack(pack(b"a") + pack(b"") + pack(b"b") + bytes(8) + pack(b"c") + bytes(1000)), b"abc")

    def test_something_else_behind_a_stream(self) -> None:
        for pack in PACKS:
            for rest in (b"x", b"\0x", pack(b"a")[:-1], pack(b"a")[:1]):
                with self.assertRaises(LayerInvalid):
                    unpack(pack(b"a") + rest)
        self.refused(gzip.compress(b"a") + bz2.compress(b"a"), "gzip: ")

    def test_cut_off(self) -> None:
        for pack in PACKS:
            packed = pack(b"some content")
            for length in (10, len(packed) // 2, len(packed) - 8, len(packed) - 1):
                self.refused(packed[:length], "the ")

    def test_damaged(self) -> None:
        for pack in PACKS:
            packed = bytearray(pack(random.Random(1).randbytes(5000)))
            packed[2500] ^= 1
            with self.assertRaises(LayerInvalid):
                unpack(bytes(packed))

    def test_not_unpacked(self) -> None:
        self.refused(b"\x28\xb5\x2f\xfd" + bytes(100), "zstd is not unpacked here")

    def test_shown_in_pieces(self) -> None:
        """However much a few bytes unpack to, little of it is in memory at a time."""
        content = bytes(8 * MIB)
        for pack in [*PACKS, bytes]:
            seen = Pieces()
            show(Unpacker([seen]), pack(content))
            self.assertEqual(b"".join(seen.pieces), content)
            self.assertLessEqual(max(map(len, seen.pieces)), OUTPUT)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(1, 300_000), st.integers(0, 200_000), st.sampled_from([*PACKS, bytes]), st.data())
    def test_cuts_do_not_matter(self, noise: int, zeros: int, pack: Pack, data: st.DataObject) -> None:
        """Not even to where it is given up, and to what was shown until then."""
        packed = pack(random.Random(noise).randbytes(noise)) + pack(bytes(zeros))
        limits = ArchiveLimits(unpacked=400_000, ratio=2, ratio_from=10_000)
        outcomes = []
        for places in ([], data.draw(cuts(packed)), range(0, len(packed), 1000)):
            seen = Pieces()
            unpacker = Unpacker([seen], limits)
            try:
                show(unpacker, packed, places)
            except LayerInvalid as refusal:
                outcomes.append((seen.pieces, unpacker.size, refusal.__notes__))
            else:
                outcomes.append((seen.pieces, unpacker.size, []))
        self.assertEqual(outcomes[0], outcomes[1])
        self.assertEqual(outcomes[0], outcomes[2])

    def test_limits(self) -> None:
        """Each is met by what is just beyond it, and not by what is just within."""
        noise = random.Random(2).randbytes(10_000)
        for pack in [*PACKS, bytes]:
            unpack(pack(noise), ArchiveLimits(unpacked=10_000))
            self.refused(pack(noise), "more than 9999 bytes", ArchiveLimits(unpacked=9_999))
        for pack in PACKS:
            packed, wide = pack(bytes(MIB)), ArchiveLimits(ratio=100_000, ratio_from=0)
            unpack(packed, wide)
            unpack(packed, ArchiveLimits(ratio=10, ratio_from=MIB))
            self.refused(packed, "more than 10 times its size", ArchiveLimits(ratio=10, ratio_from=MIB - 1))
            unpack(pack(b"a") * 3, ArchiveLimits(streams=3))
            self.refused(pack(b"a") * 3, "more than 2 compressed streams", ArchiveLimits(streams=2))

    def test_memory_of_xz(self) -> None:
        self.assertEqual(unpack(lzma.compress(b"x", preset=9)), b"x")
        self.refused(dictionary_of_4_gib(), "Memory usage limit exceeded")
        self.refused(lzma.compress(b"x", preset=9), "Memory usage limit", ArchiveLimits(dictionary=64 * MIB))

    def test_many_short_streams(self) -> None:
        self.assertEqual(unpack(gzip.compress(b"a") * 20_000), b"a" * 20_000)
