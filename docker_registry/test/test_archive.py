"""Tar archives, good and hostile, and what is listed of them."""

from __future__ import annotations

import io
import json
import tarfile

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.errors import LayerInvalid
from docker_registry.registry.archive import TarReader
from docker_registry.registry.archive_limits import ArchiveLimits
from docker_registry.registry.listing import Difference, Entry, Listing, entries
from docker_registry.registry.tar_headers import Member
from docker_registry.test.layer_case import archives, cuts, extended, header, member, record, show, tar


class Seen:
    """A visitor that remembers."""

    def __init__(self, limits: ArchiveLimits | None = None) -> None:
        self.members: list[tuple[Member, bytes]] = []
        self.ended = 0
        reader = TarReader(self, limits or ArchiveLimits())
        self.update, self.finish = reader.update, reader.finish

    def begin(self, member: Member) -> None:
        self.members.append((member, b""))

    def content(self, data: bytes) -> None:
        member, content = self.members[-1]
        self.members[-1] = member, content + data

    def end(self) -> None:
        self.ended += 1


def read(archive: bytes, *cuts: int) -> list[tuple[Member, bytes]]:
    seen = show(Seen(), archive, cuts)
    assert seen.ended == len(seen.members)
    return seen.members


def one(archive: bytes) -> Member:
    [(member, _)] = read(archive)
    return member


class TarReaderTests(SynchronousTestCase):
    @settings(max_examples=80, deadline=None)
    @given(archives, st.data())
    def test_like_the_standard_library(self, archive: bytes, data: st.DataObject) -> None:
        with tarfile.open(fileobj=io.BytesIO(archive), encoding="utf-8", errors="surrogateescape") as whole:
            expected = [
                (info.name.rstrip("/"), info.mode, info.uid, info.gid, info.size, int(info.mtime), info.type,
                 info.linkname, info.uname, info.gname, info.devmajor, info.devminor,
                 file.read() if info.isreg() and (file := whole.extractfile(info)) else b"")
                for info in whole
            ]
        found = [
            (it.name.decode().rstrip("/"), it.mode, it.uid, it.gid, it.size, it.mtime, it.typeflag,
             it.linkname.decode(), it.uname.decode(), it.gname.decode(), it.devmajor, it.devminor, content)
            for it, content in read(archive, *data.draw(cuts(archive)))
        ]
        self.assertEqual(found, expected)

    @settings(max_examples=40, deadline=None)
    @given(archives, st.data())
    def test_damaged_anywhere(self, archive: bytes, data: st.DataObject) -> None:
        """It is read, or it is refused, in the same way however it is cut."""
        damaged = bytearray(archive)
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
        damaged = damaged[:data.draw(st.integers(0, len(archive)))]
        outcomes = []
        for places in ([], data.draw(cuts(bytes(damaged))), range(0, len(damaged), 7)):
            seen = Seen()
            try:
                show(seen, bytes(damaged), places)
            except LayerInvalid as refusal:
                outcomes.append((seen.members[:-1], refusal.__notes__))
            else:
                outcomes.append((seen.members, []))
        self.assertEqual(outcomes[0], outcomes[1])
        self.assertEqual(outcomes[0], outcomes[2])

    def test_numbers(self) -> None:
        """Octal digits with blanks or zeros around them, or base 256."""
        for field, value in (
            (b"0000644\0", 0o644), (b"   644 \0", 0o644), (b"0000644 ", 0o644), (b"00000644", 0o644), (bytes(8), 0),
            (b" " * 8, 0), (b"\0\0000644\0", 0o644), (b"\x80" + bytes(5) + b"\1\2", 258), (b"\xff" * 8, -1),
            (b"\xff" * 7 + b"\xfe", -2), (b"\x80\0\0\0\x80\0\0\0", 1 << 31),
        ):
            self.assertEqual(one(header(uid=field)).uid, value, field)
        self.assertEqual(one(header(mode=b"0100644\0")).mode, 33188, "with the bits of the file's type")

    def test_malformed_numbers(self) -> None:
        for field in (b"-000001\0", b"0000698\0", b"0x00001\0", b"1_0\0\0\0\0\0", b"00\xb2\0\0\0\0\0",
                      b"+1\0\0\0\0\0\0", b"1 2\0\0\0\0\0"):
            with self.assertRaises(LayerInvalid, msg=field):
                read(header(uid=field))
        for field in (b"\xff" * 12, b"\x80" + b"\xff" * 11, b"\xbf" * 12, b"\xc0" + bytes(11)):
            with self.assertRaises(LayerInvalid, msg=field):
                Seen().update(header(size=field))
        for field in (b"\x80" + b"\xff" * 11, b"\xc0" + bytes(11)):
            with self.assertRaises(LayerInvalid, msg=field):
                read(header(mtime=field))
        for records in ((b"size", b"-1"), (b"size", b"9" * 19), (b"size", b"1" * 5000), (b"uid", b"x"),
                        (b"uid", b"1e3"), (b"mtime", b"nan"), (b"mtime", b"inf"), (b"mtime", b"1 "),
                        (b"gid", "\u0663".encode())):
            with self.assertRaises(LayerInvalid, msg=records):
                Seen().update(extended(record(*records)) + header())

    def test_times(self) -> None:
        for text, seconds in ((b"1365182122.9999", 1365182122), (b"-1.5", -1), (b"7.", 7), (b"0", 0)):
            self.assertEqual(one(extended(record(b"mtime", text)) + header()).mtime, seconds)

    def test_names_are_bytes(self) -> None:
        for name in (b"\xff\xfe", b"../../x", b"/etc/passwd", b"a\nb", b"100\xc0\xaf", b"n" * 100):
            self.assertEqual(one(header(name=name)).name, name)
        self.assertEqual(one(header(name=b"a", prefix=b"p/q")).name, b"p/q/a")
        gnu = header(name=b"a", magic=b"ustar  \0", prefix=b"12345670123\0")
        self.assertEqual(one(gnu).name, b"a", "GNU tar has times where others have a prefix")
        self.assertEqual(one(extended(record(b"path", b"\xff" * 300)) + header()).name, b"\xff" * 300)

    def test_version_7(self) -> None:
        """Behind the name of the link there is nothing, or whatever lay in memory."""
        found = one(header(magic=bytes(8), uname=b"who", devmajor=b"garbage", prefix=b"garbage"))
        self.assertEqual((found.name, found.uname, found.devmajor), (b"x", b"", 0))

    def test_signed_checksum(self) -> None:
        block = bytearray(header(name=b"\xff" * 5))
        block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * 32 - 5 * 256)
        self.assertEqual(one(bytes(block)).name, b"\xff" * 5)

    def test_extended_header_of_all(self) -> None:
        """It holds for every member behind it, but those that say otherwise."""
        said = [(b"uid", b"7"), (b"comment", b"c"), (b"path", b"all"), (b"SCHILY.xattr.user.a", b"b")]
        archive = (extended(b"".join(record(*it) for it in said), b"g")
                   + header(name=b"a") + extended(record(b"uid", b"8")) + header(name=b"b") + header(name=b"c"))
        found = [(it.name, it.uid, it.xattrs) for it, _ in read(archive)]
        self.assertEqual(found, [(b"a", 7, {}), (b"b", 8, {}), (b"c", 7, {})])

    def test_taken_back(self) -> None:
        """An empty value says nothing, and what was said before no longer holds."""
        for records, uid in ((record(b"uid", b""), 0), (record(b"uid", b"7") + record(b"uid", b""), 0),
                             (record(b"uid", b"") + record(b"uid", b"7"), 7)):
            self.assertEqual(one(extended(records) + header()).uid, uid)

    def test_size_of_an_extended_header(self) -> None:
        archive = extended(record(b"size", b"600")) + header(size=b"1") + b"c" * 600 + bytes(424) + header()
        self.assertEqual([content for _, content in read(archive)], [b"c" * 600, b""])

    def test_links_have_no_content(self) -> None:
        for kind in b"123456":
            archive = header(typeflag=bytes([kind]), size=b"00000001000\0") + header(name=b"next")
            self.assertEqual([(it.name, it.size) for it, _ in read(archive)], [(b"x", 512), (b"next", 0)])

    def test_attributes(self) -> None:
        said = record(b"SCHILY.xattr.user.a", b"\0\xff=\n ") + record(b"LIBARCHIVE.xattr.user.b", b"eA")
        self.assertEqual(one(extended(said) + header()).xattrs, {b"user.a": b"\0\xff=\n "})

    def test_sparse(self) -> None:
        old = header(typeflag=b"S", size=b"00000001000\0", realsize=b"00000010000\0", extended=b"\1")
        archive = old + bytes(504) + b"\1" + bytes(7) + bytes(512) + b"c" * 512 + header(name=b"next")
        (first, content), (second, _) = read(archive)
        self.assertEqual((first.sparse, content), ((b"x", 4096), b"c" * 512))
        self.assertEqual(second.name, b"next")
        named = one(extended(record(b"path", b"long")) + header(typeflag=b"S", size=b"0", realsize=b"00000010000\0"))
        self.assertEqual(named.sparse, (b"long", 4096))
        said = record(b"GNU.sparse.name", b"real") + record(b"GNU.sparse.realsize", b"4096")
        self.assertEqual(one(extended(said) + header(name=b"GNUSparseFile.0/real")).sparse, (b"real", 4096))

    def test_malformed_extended_headers(self) -> None:
        for records in (b"x", b"5 a=", b"6 a=b", b"99 a=b\n", b"-6 a=b\n", b"3 \n", b"0 a=b\n", b"6 ab1\n",
                        b"999999999999999999999 a=b\n", b"7 a=b\n", b"6 a=bx", b" 6 a=b\n", b"\xb2 a=b\n", b"12",
                        b"1" * 5000):
            with self.assertRaises(LayerInvalid, msg=records):
                read(extended(records) + header())
        self.assertEqual(one(extended(b"6 a=b\n\0\0\0") + header()).name, b"x", "filled up with zeros")

    def test_cut_off(self) -> None:
        archive = extended(record(b"uid", b"7")) + header(size=b"00000001130\0") + b"c" * 600
        for length in (1, 511, 513, 520, 1023, 1024, 1025, 1535, 1536, 2135):
            with self.assertRaises(LayerInvalid, msg=length):
                read(archive[:length])
        self.assertEqual(len(read(archive)), 1)
        with self.assertRaises(LayerInvalid):
            read(header(typeflag=b"S", size=b"0", extended=b"\1"))
        with self.assertRaises(LayerInvalid):
            read(extended(record(b"uid", b"7")) + bytes(1024))
        with self.assertRaises(LayerInvalid):
            read(header(size=b"\x80" + bytes(6) + b"\2" + bytes(4)) + bytes(512))

    def test_what_lies_behind_the_end(self) -> None:
        self.assertEqual(len(read(header() + bytes(512) + b"anything" * 100)), 1)

    def test_limits(self) -> None:
        """Each is met by what is just beyond it, and not by what is just within."""
        long = record(b"path", b"n" * 988)
        self.assertEqual(len(long), 998)
        for limits, archive in (
            (ArchiveLimits(headers=6), [header()] * 6),
            (ArchiveLimits(headers=6), [extended(record(b"a", b"b")), header()] * 3),
            (ArchiveLimits(headers=6), [header(typeflag=b"L", size=b"00000000001\0") + bytes(512)] * 5 + [header()]),
            (ArchiveLimits(headers=2), [header(typeflag=b"S", size=b"0", extended=b"\1"), bytes(512)]),
            (ArchiveLimits(records=6), [extended(record(b"a", b"b") * 3), header()] * 2),
            (ArchiveLimits(header=998), [extended(long), header()]),
            (ArchiveLimits(), [extended(record(b"a", b"b") * 682 + b"\0" * 4, b"g"), header()]),
        ):
            show(Seen(limits), b"".join(archive))
        for limits, archive in (
            (ArchiveLimits(headers=6), [header()] * 7),
            (ArchiveLimits(headers=5), [extended(record(b"a", b"b")), header()] * 3),
            (ArchiveLimits(headers=6), [header(typeflag=b"L", size=b"00000000001\0") + bytes(512)] * 7),
            (ArchiveLimits(headers=2), [header(typeflag=b"S", size=b"0", extended=b"\1"),
                                        bytes(504) + b"\1" + bytes(7), bytes(512)]),
            (ArchiveLimits(records=5), [extended(record(b"a", b"b") * 3), header()] * 2),
            (ArchiveLimits(header=997), [extended(long), header()]),
            (ArchiveLimits(), [extended(record(b"a", b"b") * 683, b"g"), header()]),
        ):
            with self.assertRaises(LayerInvalid):
                show(Seen(limits), b"".join(archive))

    def test_a_refused_header_is_not_collected(self) -> None:
        """Its announcement is enough."""
        with self.assertRaises(LayerInvalid):
            Seen().update(header(typeflag=b"x", size=b"77777777777\0"))


class ListingTests(SynchronousTestCase):
    def files(self, archive: bytes, limits: ArchiveLimits | None = None) -> list[Entry]:
        listing = Listing(limits) if limits else Listing()
        return list(entries(show(listing, archive).document))

    def test_entries(self) -> None:
        archive = tar([
            member("./", type=tarfile.DIRTYPE, mode=0o755, mtime=1365182122),
            member("./etc/hosts", b"127.0.0.1", mode=0o644, uid=3, gid=4),
            member("etc", type=tarfile.DIRTYPE, mode=0o755),
        ])
        self.assertEqual(self.files(archive), [
            ["/", "d", False, 0, 1365182122, 0o755, 0, 0],
            ["/etc/hosts", "f", False, 9, 0, 0o644, 3, 4],
            ["etc", "d", False, 0, 0, 0o755, 0, 0],
        ])

    def test_types(self) -> None:
        for flag, kind in ((b"0", "f"), (b"\0", "f"), (b"1", "l"), (b"2", "s"), (b"3", "c"), (b"4", "b"), (b"5", "d"),
                           (b"6", "i"), (b"7", "t"), (b"S", "S"), (b"A", "u"), (b"\xff", "u")):
            self.assertEqual(self.files(header(typeflag=flag))[0][1], kind)
        self.assertEqual(self.files(header(name=b"old/", typeflag=b"\0"))[0][:2], ["old", "d"])
        self.assertEqual(self.files(header(name=b"/", typeflag=b"5"))[0][:2], ["/", "d"])

    def test_sparse(self) -> None:
        old = header(typeflag=b"S", size=b"0", realsize=b"00000010000\0")
        new = extended(record(b"GNU.sparse.name", b"real") + record(b"GNU.sparse.realsize", b"4096")) + header()
        self.assertEqual([entry[:4] for entry in self.files(old + new)],
                         [["x", "S", False, 4096], ["real", "f", False, 4096]])

    def test_names(self) -> None:
        for raw, name, deleted in (
            (b".", "/", False), (b"./a", "/a", False), (b"/a", "/a", False), (b"a/b", "a/b", False),
            (b"./.wh.x", "/x", True), (b".wh.x", "x", True), (b"/.wh.x", "/x", True), (b"a/.wh.x", "a/x", True),
            (b"./a/b/.wh.x", "/a/b/x", True), (b"a.wh.x", "a.wh.x", False), (b".wh", ".wh", False),
            (b".wh.a/b", ".wh.a/b", False), (b"caf\xc3\xa9", "caf\u00e9", False), (b"caf\xe9", "caf\\xe9", False),
            (b"\xed\xa0\x80", "\\xed\\xa0\\x80", False), (b"../../x", "../../x", False), (b"\x1b[2J", "\x1b[2J", False),
        ):
            [entry] = self.files(header(name=raw))
            self.assertEqual(entry[:3], [name, "f", deleted])
            self.assertEqual(json.loads(json.dumps(entry).encode()), entry)
        for aufs in (b"./.wh..wh.plnk", b".wh..wh.aufs", b"./.wh..wh.plnk/12.34", b"a/.wh..wh..opq"):
            self.assertEqual(self.files(header(name=aufs)), [])

    def test_empty(self) -> None:
        self.assertEqual(self.files(b""), [])
        self.assertEqual(self.files(bytes(1024)), [])

    def test_refusals(self) -> None:
        for archive, limits in (
            (b"no tar" * 100, None),
            (header() * 4, ArchiveLimits(listed=3)),
            (header() * 4, ArchiveLimits(listing=140)),
        ):
            with self.assertRaisesRegex(LayerInvalid, "^Layer format not supported$"):
                self.files(archive, limits)

    def test_bytes_of_the_listing(self) -> None:
        """The limit is that of the JSON, where a control character is six bytes."""
        archive = b"".join(header(name=name) for name in (b"a", b"\1" * 90, b"\xff" * 90))
        length = len(json.dumps(self.files(archive)))
        self.files(archive, ArchiveLimits(listing=length + 2))
        self.assertEqual(len(show(Listing(), archive).document), length)
        with self.assertRaises(LayerInvalid):
            self.files(archive, ArchiveLimits(listing=length - 1))


class DocumentTests(SynchronousTestCase):
    def test_as_json(self) -> None:
        """Also as other programs write it."""
        listed = [["/a", "f", False, 1, 2, 3, 4, 5], ["b\u00e9\n", "d", True, 0, 0, 0, 0, 0]]
        for document in (json.dumps(listed), json.dumps(listed, indent=4), json.dumps(listed, separators=(",", ":")),
                         f" {json.dumps(listed, ensure_ascii=False)} \n"):
            self.assertEqual(list(entries(document.encode())), listed)
        for empty in (b"[]", b" [ ] \n"):
            self.assertEqual(list(entries(empty)), [])

    def test_no_listing(self) -> None:
        entry = b'["a", "f", false, 1, 2, 3, 4, 5]'
        for document in (b"", b"[", b"{}", b"null", b"[" + entry, b"[" + entry + b",]", b"[" + entry + b"] x",
                         b"[[1, 2, 3, 4, 5, 6, 7, 8]]", b"[" + entry + entry + b"]", b"[[]]", b"[1]", b"\xff", entry,
                         b"[" * 100_000, b"[" + entry[:-3], b"[,]"):
            with self.assertRaises(ValueError, msg=document[:50]):
                list(entries(document))


class DifferenceTests(SynchronousTestCase):
    def entry(self, name: str, deleted: bool = False, size: int = 0) -> Entry:
        return [name, "f", deleted, size, 0, 420, 0, 0]

    def difference(self, own: list[Entry], *ancestors: list[Entry]) -> dict[str, dict[str, Entry]]:
        found = Difference(own)
        for each in ancestors:
            found.compare(each)
        answer: dict[str, dict[str, Entry]] = json.loads(found.document)
        return answer

    def names(self, own: list[Entry], *ancestors: list[Entry]) -> dict[str, list[str]]:
        return {what: sorted(found) for what, found in self.difference(own, *ancestors).items()}

    def test_by_the_nearest_that_has_the_name(self) -> None:
        own = [self.entry("/a"), self.entry("/b"), self.entry("/c"), self.entry("/d", deleted=True), self.entry("/e")]
        nearest = [self.entry("/a", size=1), self.entry("/b", deleted=True), self.entry("/d"), self.entry("/other")]
        root = [self.entry("/a", deleted=True), self.entry("/b"), self.entry("/e")]
        self.assertEqual(self.names(own, nearest, root),
                         {"deleted": ["/d"], "changed": ["/a", "/e"], "created": ["/b", "/c"]})
        self.assertEqual(self.difference([self.entry("/a", size=3)])["created"],
                         {"/a": ["f", False, 3, 0, 420, 0, 0]})

    def test_one_place_has_one_entry(self) -> None:
        """Layers of different clients name the same place with a slash and without one."""
        self.assertEqual(self.names([self.entry("etc/a")], [self.entry("/etc/a")])["changed"], ["etc/a"])
        both = [self.entry("a"), self.entry("a", deleted=True)]
        for own in (both, both[::-1]):
            self.assertEqual(self.names(own, [self.entry("a")]), {"deleted": [], "changed": ["a"], "created": []})
            self.assertEqual(self.names([self.entry("a")], own)["changed"], ["a"])
        twice = self.difference([self.entry("a", size=1), self.entry("a", size=2)])
        self.assertEqual(twice["created"]["a"][2], 2)

    def test_complete(self) -> None:
        """Then nobody needs to read the layers below."""
        found = Difference([self.entry("a"), self.entry("/b")])
        for below, is_complete in (([self.entry("c")], False), ([self.entry("/a")], False), ([self.entry("b")], True)):
            found.compare(below)
            self.assertIs(found.is_complete, is_complete)
        self.assertTrue(Difference([self.entry("a", deleted=True)]).is_complete)
        self.assertEqual(self.difference([self.entry("a", deleted=True)]), {
            "deleted": {"a": self.entry("a", deleted=True)[1:]}, "changed": {}, "created": {}
        })
