"""Protocol v1, ``files`` and ``diff``: what lies in a layer, and what it changes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable
from typing import Any

from docker_registry.test.clients.conformance import rows
from docker_registry.test.clients.v1_case import V1Case
from docker_registry.test.clients.v1_images import Image, image
from docker_registry.test.layer_case import extended, header, member, record, tar

NO_ARCHIVE = "Layer format not supported"


class ContentsCase(V1Case):
    def holding(self, archive: bytes, parent: str | None = None) -> Image:
        return self.pushed(parent, archive=archive)

    def files(self, image: Image) -> Any:
        return self.call("GET", self.of(image, "files")).expect(200, Content_Type="application/json").json

    def names(self, archive: bytes) -> list[str]:
        return [each[0] for each in self.files(self.holding(archive))]


class FilesTests(ContentsCase):
    def test_everything(self) -> None:
        """In the order of the archive, each kind with its letter."""
        archive = tar([
            member("./", type=tarfile.DIRTYPE, mode=0o755, mtime=1365182122),
            member("./etc/hosts", b"127.0.0.1", mode=0o644, uid=3, gid=4),
            member("./hard", type=tarfile.LNKTYPE, linkname="./etc/hosts"),
            member("soft", type=tarfile.SYMTYPE, linkname="etc/hosts", mode=0o777),
            member("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3), member("dev/sda", type=tarfile.BLKTYPE),
            member("pipe", type=tarfile.FIFOTYPE),
            member("deep/" + "n" * 200, b"pax"), member("caf\u00e9", b""),
        ])
        self.assertEqual(self.files(self.holding(archive)), [
            ["/", "d", False, 0, 1365182122, 0o755, 0, 0], ["/etc/hosts", "f", False, 9, 0, 0o644, 3, 4],
            ["/hard", "l", False, 0, 0, 0o644, 0, 0], ["soft", "s", False, 0, 0, 0o777, 0, 0],
            ["dev/null", "c", False, 0, 0, 0o644, 0, 0], ["dev/sda", "b", False, 0, 0, 0o644, 0, 0],
            ["pipe", "i", False, 0, 0, 0o644, 0, 0],
            ["deep/" + "n" * 200, "f", False, 3, 0, 0o644, 0, 0], ["caf\u00e9", "f", False, 0, 0, 0o644, 0, 0],
        ])

    def test_deleted(self) -> None:
        """Also below the root, which docker-registry 0.x did not see; what AUFS keeps for itself is left out."""
        names = "./.wh.a", "etc/.wh.b", "etc/c.wh.", ".wh..wh.aufs", ".wh..wh.plnk/1"
        archive = tar([member(name) for name in names])
        self.assertEqual([each[:3] for each in self.files(self.holding(archive))],
                         [["/a", "f", True], ["etc/b", "f", True], ["etc/c.wh.", "f", False]])

    @rows({"plain": bytes, "gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress})
    def packed(self, pack: Callable[[bytes], bytes]) -> None:
        made = image(archive=tar([member("a", b"1"), member("b", b"2" * 70_000)]))
        self.push(made, pack(made.archive))
        self.assertEqual([each[0] for each in self.files(made)], ["a", "b"])

    @rows({"nothing": b"", "end": bytes(1024), "no_end": header()})
    def short(self, archive: bytes) -> None:
        self.assertEqual(len(self.names(archive)), 1 if archive.strip(b"\0") else 0)

    @rows({
        "text": b"no archive" * 100, "cut_gzip": gzip.compress(bytes(range(256)) * 100)[:-20],
        "gzip_of_text": gzip.compress(b"text" * 1000), "cut": tar([member("a", b"1" * 600)])[:700],
        "negative": header(size=b"\xff" * 12), "sum": header()[:148] + bytes(364),
        "zstd": b"\x28\xb5\x2f\xfd" + bytes(100),
        "dictionary": lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 512 << 20}]),
    })
    def no_archive(self, layer: bytes) -> None:
        """Twice: what is not worth reading is remembered."""
        made = self.started()
        self.put_layer(made, layer)
        self.confirm_payload(made, layer)
        for _ in range(2):
            for what in ("files", "diff"):
                self.call("GET", self.of(made, what)).error(400, NO_ARCHIVE)
                self.call("HEAD", self.of(made, what)).expect(400)
        self.assertComplete(made, layer)

    def test_odd_names(self) -> None:
        """Names are data, and no text breaks the answer."""
        raw = [b"../../etc/passwd", b"/abs", b"a\nb", b"\x1b[2J", b"\xff\xfe", b"<script>", b'"quoted\\', b"x" * 100]
        archive = b"".join(header(name=name + bytes(100 - len(name))) for name in raw)
        expected = [*(name.decode() for name in raw[:4]), "\\xff\\xfe", *(name.decode() for name in raw[5:])]
        self.assertEqual(self.names(archive), expected)

    def test_long_names(self) -> None:
        """Of GNU tar and of pax, the latter before what the header says."""
        gnu = tar([member("g" * 3000, b"1")], tarfile.GNU_FORMAT)
        pax = extended(record(b"path", b"p" * 100_000) + record(b"size", b"0")) + header(name=b"short")
        self.assertEqual(self.names(gnu), ["g" * 3000])
        self.assertEqual(self.names(pax), ["p" * 100_000])


class DiffTests(ContentsCase):
    def diff(self, image: Image) -> Any:
        return self.call("GET", self.of(image, "diff")).expect(200, Content_Type="application/json").json

    def test_chain(self) -> None:
        """Compared with the nearest ancestor that has the name."""
        root = self.holding(tar([member("./kept", b"1"), member("./changed", b"1"), member("./etc/gone", b"1")]))
        middle = self.holding(tar([member("./etc/.wh.gone"), member("./new", b"1")]), root.id)
        top = self.holding(tar([
            member("./changed", b"22", mode=0o600, mtime=5), member("./etc/gone", b"again"), member("./fresh", b"1"),
            member("./.wh.new"), member("dir", type=tarfile.DIRTYPE),
        ]), middle.id)
        file = ["f", False, 1, 0, 420, 0, 0]
        self.assertEqual(self.diff(root)["created"].keys(), {"/kept", "/changed", "/etc/gone"})
        self.assertEqual(self.diff(middle), {
            "deleted": {"/etc/gone": ["f", True, 0, 0, 420, 0, 0]}, "changed": {}, "created": {"/new": file},
        })
        for _ in range(2):
            self.assertEqual(self.diff(top), {
                "deleted": {"/new": ["f", True, 0, 0, 420, 0, 0]},
                "changed": {"/changed": ["f", False, 2, 5, 0o600, 0, 0]},
                "created": {"/etc/gone": ["f", False, 5, 0, 420, 0, 0], "/fresh": file,
                            "dir": ["d", False, 0, 0, 420, 0, 0]},
            })

    def test_of_an_image_from_v2(self) -> None:
        """Its layers are read as any other's."""
        top = self.pushed_through_v2(tar([member("a", b"1")]), tar([member("a", b"22")]))
        self.assertEqual(self.diff(top)["changed"], {"a": ["f", False, 2, 0, 420, 0, 0]})
