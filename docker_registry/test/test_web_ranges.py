"""Which bytes a Range asks for (E10)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.web.ranges import Range, RangeNotSatisfiable, parse_range

SIZE = 2048

PARTS = [
    (b"bytes=500-1499", 500, 1499),
    (b"bytes=500-", 500, 2047),
    (b"bytes=-500", 1548, 2047),
    (b"bytes=-5000", 0, 2047),
    (b"bytes=2000-5000", 2000, 2047),
    (b"bytes=0-0", 0, 0),
    (b"bytes=2047-2047", 2047, 2047),
    (b"bytes=0-9999999999999999999", 0, 2047),
    (b"bytes=0-2047", 0, 2047),
    (b"Bytes=1-2", 1, 2),
    (b"bytes= 1-2 ", 1, 2),
    (b"bytes=0001-0002", 1, 2),
]
WHOLE = [
    None, b"", b"bytes", b"bytes=", b"bytes=-", b"bytes=a-b", b"bytes=1", b"bytes=1-2,4-5", b"bytes=1-2, 4-5",
    b"bytes=--1", b"bytes=-1-2", b"bytes=1-2-3", b"items=1-2", b"bytes 1-2", b"bytes=+1-2", b"bytes=1-2;",
    b"bytes=0x1-0x2", b"1-2", b"bytes=1 - 2", b"bytes=\xd9\xa1-2", b"bytes=" + b"1" * 5000 + b"-",
    b"bytes=0-" + b"9" * 5000,
]
NOTHING = [b"bytes=5000-10000", b"bytes=2048-", b"bytes=2048-2048", b"bytes=500-0", b"bytes=-0", b"bytes=9000-2000"]


class RangeTests(SynchronousTestCase):
    def test_parts(self) -> None:
        for header, first, last in PARTS:
            part = parse_range(header, SIZE)
            self.assertEqual(part, Range(first, last), header)
            assert part is not None
            self.assertEqual(part.length, last - first + 1)

    def test_whole(self) -> None:
        for header in WHOLE:
            self.assertIsNone(parse_range(header, SIZE), header)

    def test_nothing_of_it(self) -> None:
        for header in NOTHING:
            with self.assertRaises(RangeNotSatisfiable, msg=header) as raised:
                parse_range(header, SIZE)
            self.assertEqual(raised.exception.size, SIZE)

    def test_nothing_there(self) -> None:
        """No byte of an empty blob can be asked for."""
        for header in (b"bytes=0-", b"bytes=0-0", b"bytes=-1"):
            self.assertRaises(RangeNotSatisfiable, parse_range, header, 0)
        self.assertIsNone(parse_range(None, 0))
