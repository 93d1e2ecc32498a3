"""Sums of layers: against a second, simple computation with the standard library."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import threading
import zlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.digest import Digest
from docker_registry.errors import LayerInvalid
from docker_registry.registry.archive_limits import ArchiveLimits
from docker_registry.registry.checksums import Attempt, LayerSums, Tarsum, TarsumVersion
from docker_registry.storage.interface import Digester
from docker_registry.test.layer_case import (
    archives,
    cuts,
    expected_tarsum,
    extended,
    header,
    member,
    pieces,
    record,
    show,
    tar,
)

J = b'{"id": "46af0962ab5a"}'
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def settings_of(before: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A container's settings as docker 0.4 to 0.11 wrote them: in this order, most of them unset."""
    return {
        "Hostname": "", "Domainname": "", "User": "", "Memory": 0, "MemorySwap": 0, "CpuShares": 0, **before,
        "AttachStdin": False, "AttachStdout": False, "AttachStderr": False, "PortSpecs": None, "ExposedPorts": None,
        "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": None, "Cmd": None, "Image": "", "Volumes": None,
        "WorkingDir": "", "Entrypoint": None, "NetworkDisabled": False, "OnBuild": None,
    } | more


def compact(document: dict[str, Any]) -> bytes:
    """As Go writes JSON."""
    return json.dumps(document, separators=(",", ":")).replace("&", "\\u0026").encode()


class GoldenTests(SynchronousTestCase):
    """Layers of that time, with the sums that Docker gave them. As its writer of archives left them, all fields are of
    zeros where there is nothing to say."""

    zeros: dict[str, bytes] = {
        "uid": b"0000000\0", "gid": b"0000000\0", "magic": b"ustar\x0000", "devmajor": b"0000000\0",
        "devminor": b"0000000\0",
    }

    def header(self, name: bytes, mode: int, size: int, mtime: int, typeflag: bytes) -> bytes:
        numbers = {"mode": b"%07o\0" % mode, "size": b"%011o\0" % size, "mtime": b"%011o\0" % mtime}
        return header(name=name.ljust(100, b"\0"), typeflag=typeflag, **numbers, **self.zeros)

    def assertSums(self, image_json: bytes, layer: bytes, tarsum: str, payload: str) -> None:
        sums = LayerSums(image_json, [TarsumVersion.V0])
        sums.update(layer)
        self.assertEqual(sums.finish().sums, (f"sha256:{payload}", f"tarsum+sha256:{tarsum}"))

    def test_scratch(self) -> None:
        """The root of most images: one directory, its mode with the bits of its type."""
        image_json = compact({
            "id": "511136ea3c5a64f264b78b5433614aec563103b4d4702f3ba7d4d2698e22c158", "comment": "Imported from -",
            "created": "2013-06-13T14:03:50.821769-07:00", "container_config": settings_of({}),
            "docker_version": "0.4.0", "architecture": "x86_64", "Size": 0,
        })
        layer = self.header(b"./", 0o40755, 0, 1371157405, b"5") + bytes(1024)
        self.assertEqual((len(image_json), len(layer)), (573, 1536))
        self.assertSums(
            image_json, layer, "ac672ee85da9ab7f9667ae3c32841d3e42f33cc52c273c23341dabba1c8b0c8b",
            "728301b48ba3badfbe1dec727c2e1a2f04b0b25eaad4378b1585333cc5c4ec27",
        )

    def test_capability(self) -> None:
        """An extended attribute that is no text, and no part of the sum."""
        parent = "73b164f4437db87e96e90083c73a6592f549646ae2ec00ed33c6b9b49a5c4470"
        common: dict[str, Any] = {
            "Hostname": "9565c6517a0e", "Image": parent, "OnBuild": [],
            "Env": ["HOME=/", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        }
        command = ["/bin/sh", "-c", "setcap 'cap_setgid,cap_setuid+ep' ./file && getcap ./file"]
        image_json = compact({
            "id": "4439c3c7f847954100b42b267e7e5529cac1d6934db082f65795c5ca2e594d93", "parent": parent,
            "created": "2014-05-16T17:19:44.091534414Z",
            "container": "5f92fb06cc58f357f0cde41394e2bbbb664e663974b2ac1693ab07b7a306749b",
            "container_config": settings_of({"Cpuset": ""}, **common, Cmd=command), "docker_version": "0.11.1-dev",
            "config": settings_of({"Cpuset": ""}, **common), "architecture": "amd64", "os": "linux", "Size": 0,
        })
        capability = record(b"SCHILY.xattr.security.capability", b"\1\0\0\2\xc0" + bytes(15))
        layer = (
            self.header(b"PaxHeaders.12099/file", 0, len(capability), 1400260726, b"x") + capability.ljust(512, b"\0")
            + self.header(b"file", 0o100644, 0, 1400260726, b"0") + bytes(1024)
        )
        self.assertEqual((len(image_json), len(layer)), (1476, 2560))
        self.assertSums(
            image_json, layer, "e86f81a4d552f13039b1396ed03ca968ea9717581f9577ef1876ea6ff9b38c98",
            "4ec4a1a5726966b01d9c453b96da3d8ca453a711e3826f3983e39a3be0c720d9",
        )


class TarsumTests(SynchronousTestCase):
    def sum(self, layer: bytes, version: TarsumVersion = TarsumVersion.V0) -> str:
        return str(show(Tarsum(J, version), layer))

    def test_by_hand(self) -> None:
        """One member, spelled out: the reference of the other tests may not share a mistake with the code."""
        layer = header(name=b"etc", typeflag=b"5", mode=b"0040755\0", mtime=b"12127547752\0", uid=b"1\0     ",
                       gid=b"     2\0", uname=b"u")
        text = b"nameetc/mode16877uid1gid2size0mtime1365168106typeflag5linknameunameugnamedevmajor0devminor0"
        inner = hashlib.sha256(text).hexdigest().encode()
        self.assertEqual(self.sum(layer), f"tarsum+sha256:{hashlib.sha256(J + inner).hexdigest()}")
        inner = hashlib.sha256(text.replace(b"mtime1365168106", b"")).hexdigest().encode()
        self.assertEqual(self.sum(layer, TarsumVersion.V1), f"tarsum.v1+sha256:{hashlib.sha256(J + inner).hexdigest()}")

    @settings(max_examples=60, deadline=None)
    @given(archives, st.data())
    def test_like_the_description(self, layer: bytes, data: st.DataObject) -> None:
        for version in TarsumVersion:
            sums = str(show(Tarsum(J, version), layer, data.draw(cuts(layer))))
            self.assertEqual(sums, expected_tarsum(J, layer, version))

    def test_order_of_members_does_not_matter(self) -> None:
        a, b = member("a", b"1"), member("b", b"2")
        self.assertEqual(self.sum(tar([a, b])), self.sum(tar([b, a])))
        self.assertNotEqual(self.sum(tar([a, b])), self.sum(tar([a, member("b", b"3")])))

    def test_extended_attributes_are_of_version_1_only(self) -> None:
        """As docker writes them: not text."""
        plain = tar([member("ping", b"x")])
        with_attribute = extended(record(b"SCHILY.xattr.security.capability", b"\1\0\0\2\0\xff=\n")) + plain
        self.assertEqual(self.sum(plain), self.sum(with_attribute))
        self.assertEqual(self.sum(plain), expected_tarsum(J, plain))
        self.assertNotEqual(self.sum(plain, TarsumVersion.V1), self.sum(with_attribute, TarsumVersion.V1))

    def test_no_members(self) -> None:
        for layer in (b"", bytes(1024), bytes(10240)):
            self.assertEqual(self.sum(layer), f"tarsum+sha256:{hashlib.sha256(J).hexdigest()}")

    def test_no_end_marker(self) -> None:
        layer = tar([member("a", b"1" * 512), member("b", b"2")])
        content = len(layer.rstrip(b"\0"))
        self.assertEqual(self.sum(layer[:2048]), self.sum(layer))
        self.assertEqual(self.sum(layer[:content]), self.sum(layer), "not even filled up to a block")

    def test_typeflag_nul_stays(self) -> None:
        self.assertNotEqual(self.sum(header(typeflag=b"\0")), self.sum(header(typeflag=b"0")))

    def test_broken(self) -> None:
        layer = tar([member("a", b"1" * 600), member("b", b"2")])
        for broken in (layer[:100], layer[:700], layer[:1600], b"no tar" * 200, layer[:512] + b"\xff" * 2048):
            with self.assertRaises(LayerInvalid):
                self.sum(broken)


class LayerSumsTests(SynchronousTestCase):
    def test_payload_of_the_description(self) -> None:
        for image_json, payload in (
            (b"", "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b"),
            (b"test", "f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2"),
        ):
            self.assertEqual(LayerSums(image_json).finish().sums, (f"sha256:{payload}",))

    @settings(max_examples=40, deadline=None)
    @given(archives, st.sampled_from(["gzip", "members", "bzip2", "xz", "none"]), st.data())
    def test_however_packed_and_cut(self, archive: bytes, packing: str, data: st.DataObject) -> None:
        half = len(archive) // 2
        layer = {
            "gzip": gzip.compress,
            "members": lambda it: gzip.compress(it[:half]) + gzip.compress(b"") + gzip.compress(it[half:]) + bytes(7),
            "bzip2": lambda it: bz2.compress(it[:half]) + bz2.compress(it[half:]),
            "xz": lambda it: lzma.compress(it[:half]) + bytes(8) + lzma.compress(it[half:]),
            "none": bytes,
        }[packing](archive)
        sums = LayerSums(J, tuple(TarsumVersion))
        for piece in pieces(layer, data.draw(cuts(layer))):
            sums.update(piece)
        found = sums.finish()
        self.assertEqual(found.digest, Digest.of(layer))
        self.assertEqual(found.size, len(layer))
        self.assertEqual(found.diff_id, Digest.of(archive))
        self.assertEqual(found.unpacked, len(archive))
        self.assertEqual(found.sums, (
            f"sha256:{hashlib.sha256(J + bytes([10]) + layer).hexdigest()}",
            *(expected_tarsum(J, archive, version) for version in TarsumVersion),
        ))

    def test_media_types(self) -> None:
        archive = tar([member("a", b"1")])
        docker = "application/vnd.docker.image.rootfs.diff.tar"
        for layer, media_type in (
            (archive, docker), (b"", docker), (gzip.compress(archive), f"{docker}.gzip"),
            (bz2.compress(archive), docker), (lzma.compress(archive), docker),
            (b"\x28\xb5\x2f\xfd" + bytes(20), "application/vnd.oci.image.layer.v1.tar+zstd"),
            (tar([member("BZh9 is a name", b"1")]), docker),
        ):
            sums = LayerSums(J)
            sums.update(layer)
            self.assertEqual(sums.finish().media_type, media_type)

    def test_nothing(self) -> None:
        """docker 0.7 sends no bytes, or the gzip of none, for an image that changes no file."""
        for layer in (b"", gzip.compress(b"")):
            sums = LayerSums(J, [TarsumVersion.V0])
            sums.update(layer)
            found = sums.finish()
            self.assertEqual((found.diff_id, found.unpacked), (Digest("sha256", EMPTY), 0))
            self.assertEqual(found.sums[1], f"tarsum+sha256:{hashlib.sha256(J).hexdigest()}")

    def test_what_cannot_be_unpacked_is_taken(self) -> None:
        """It has the sums of its bytes, and no diff id."""
        whole = gzip.compress(b"content" * 1000)
        changed = whole[:-8] + bytes(8)
        for layer in (whole[:-1], whole[:-9], whole[:30], changed, whole + b"more", b"\x1f\x8b", b"\x1f\x8bnot gzip",
                      lzma.compress(b"c")[:-1], bz2.compress(b"c")[:-1], b"\x28\xb5\x2f\xfd" + bytes(20)):
            sums = LayerSums(J, [TarsumVersion.V0])
            sums.update(layer)
            found = sums.finish()
            self.assertEqual((found.diff_id, found.unpacked), (None, 0), layer[-20:])
            self.assertEqual(found.digest, Digest.of(layer))
            self.assertEqual(len(found.sums), 1)
            self.assertIsNotNone(sums.unpacked.refusal)

    def test_no_tar(self) -> None:
        """It has a diff id all the same, and no tarsum."""
        sums = LayerSums(J, [TarsumVersion.V0])
        sums.update(b"no tar" * 1000)
        found = sums.finish()
        self.assertEqual(found.diff_id, Digest.of(b"no tar" * 1000))
        self.assertEqual(len(found.sums), 1)

    def test_bomb(self) -> None:
        """12 GiB of zeros arrive in 12 MB; the push goes on, and hardly any of them is unpacked."""
        deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
        zeros = bytes(1 << 20)
        layer = b"".join(deflate.compress(zeros) for _ in range(256)) + deflate.flush()
        sums = LayerSums(J, [TarsumVersion.V0], ArchiveLimits(ratio_from=8 << 20))
        sums.update(layer)
        found = sums.finish()
        self.assertEqual((found.digest, found.diff_id), (Digest.of(layer), None))
        assert sums.unpacked.refusal is not None
        self.assertEqual(sums.unpacked.refusal.__notes__, ["unpacks to more than 200 times its size"])

    def test_two_threads(self) -> None:
        layer = gzip.compress(tar([member(f"{n}", bytes([n]) * 10000) for n in range(50)]))
        sums = LayerSums(J, [TarsumVersion.V0])

        def run(half: Digester) -> None:
            for start in range(0, len(layer), 100):
                half.update(layer[start:start + 100])

        threads = [threading.Thread(target=run, args=(half,)) for half in (sums.raw, sums.unpacked)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        alone = LayerSums(J, [TarsumVersion.V0])
        alone.update(layer)
        self.assertEqual(sums.finish(), alone.finish())


class AttemptTests(SynchronousTestCase):
    def test_refusals(self) -> None:
        for data in (b"x" * 512, b"x"):
            attempt = Attempt(Tarsum(J))
            attempt.update(data)
            attempt.update(data)
            self.assertFalse(attempt.finish())
            self.assertEqual(str(attempt.refusal), "Layer format not supported")
        attempt = Attempt(Tarsum(J))
        attempt.update(bytes(512))
        self.assertTrue(attempt.finish())
