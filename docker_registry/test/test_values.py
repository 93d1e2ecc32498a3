"""Names, tags, digests and upload ids: what is let in at the edge, and nothing else (T1-T4)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.digest import Digest, new_hash
from docker_registry.errors import DigestInvalid, NameInvalid, TagInvalid, UploadUnknown
from docker_registry.names import Repository, Tag, UploadId, parse_reference

HEX = "ab" * 32

GOOD_NAMES = [
    "a", "0", "busybox", "library/busybox", "a/b/c/d/e/f/g", "a.b", "a_b", "a__b", "a-b", "a---b", "a-b.c_d__e",
    "blobs", "manifests", "tags", "uploads", "a/blobs/b", "a/manifests/b/tags/c", "tags/list", "blobs/uploads",
    "a" * 255, "/".join(["a"] * 128),
]
BAD_NAMES = [
    "", ".", "..", "/", "a/", "/a", "a//b", "a/../b", "./a", "a/.", "A", "A/b", "a/B", "-a", "a-", ".a", "a.", "_a",
    "a_",
    "a..b", "a._b", "a___b", "a/_uploads/b", "_catalog", "a b", "a\n", "\na", "a\x00b", "a\\b", "a%2fb", "a:b", "a@b",
    "a+b",
    "ä", "\u0430", "a\u2024b", "a" * 256, "/".join(["a"] * 129), "a\u0660", "a/b\r", "a\tb", "*", "a?b", "~", "a,b",
]
GOOD_TAGS = ["a", "latest", "_", "_a", "0", "V1.0", "a-b.c_d", "A" * 128, "1.2.3-rc.1", "index", "current", "link"]
BAD_TAGS = [
    "", ".", "..", ".a", "-a", "a b", "a\n", "a/b", "a:b", "a@b", "a+b", "a%2fb", "A" * 129, "ä", "a\x00", "a\\b",
    "\u0660",
    "a\r\nb", " a", "a ",
]
BAD_DIGESTS = [
    "", ":", "sha256:", HEX, f"sha256:{HEX[:-1]}", f"sha256:{HEX}a", f"sha256:{HEX.upper()}", f"SHA256:{HEX}",
    f"md5:{'a' * 32}",
    f"sha256:{HEX}\n", f"sha256: {HEX}", f" sha256:{HEX}", "sha256:../../x", f"sha512:{HEX}", f"sha256:{HEX}{HEX}",
    f"sha256+b64:{HEX}", f"sha384:{'a' * 96}", f"sha1:{'a' * 40}", f"sha256:{'g' * 64}", f"sha256:{HEX[:-1]}\x00",
    f"sha256:{HEX[:-2]}\u0660a", f"sha256-{HEX}", f"blake3:{HEX}", "sha256:%00", f"sha256:{HEX}:x", f"..:{HEX}",
    f"/etc:{HEX}", "sha256", f":{HEX}", f"sha256:sha256:{HEX}",
]
BAD_UPLOADS = [
    "", "x", ".", "..", "../x", "0" * 36, "5F1C3E9E-0C1B-4D6B-9D7A-000000000000", "5f1c3e9e0c1b4d6b9d7a000000000000",
    "5f1c3e9e-0c1b-4d6b-9d7a-00000000000", "5f1c3e9e-0c1b-4d6b-9d7a-0000000000000",
    "5f1c3e9e-0c1b-4d6b-9d7a-000000000000\n",
    " 5f1c3e9e-0c1b-4d6b-9d7a-000000000000", "5f1c3e9e-0c1b-4d6b-9d7a-00000000000g",
    "5f1c3e9e/0c1b/4d6b/9d7a/000000000000",
    "%2e%2e%2f", "5f1c3e9e-0c1b-4d6b-9d7a-00000000\x000000", "{5f1c3e9e-0c1b-4d6b-9d7a-000000000000}", "state", "data",
    "5f1c3e9e-0c1b-4d6b-9d7a-\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660",
]


class NameTests(SynchronousTestCase):
    def test_good_names(self) -> None:
        for text in GOOD_NAMES:
            self.assertEqual(str(Repository.parse(text)), text)

    def test_bad_names(self) -> None:
        for text in BAD_NAMES:
            with self.assertRaises(NameInvalid, msg=repr(text)):
                Repository.parse(text)

    def test_long_hostile_name_is_judged_fast(self) -> None:
        """The grammar has no nested choice that a near miss could make slow."""
        with self.assertRaises(NameInvalid):
            Repository.parse("a-" * 127 + "!")

    def test_good_tags(self) -> None:
        for text in GOOD_TAGS:
            self.assertEqual(str(Tag.parse(text)), text)

    def test_bad_tags(self) -> None:
        for text in BAD_TAGS:
            with self.assertRaises(TagInvalid, msg=repr(text)):
                Tag.parse(text)

    def test_reference(self) -> None:
        self.assertEqual(parse_reference("latest"), Tag("latest"))
        self.assertEqual(parse_reference(f"sha256:{HEX}"), Digest("sha256", HEX))
        with self.assertRaises(DigestInvalid):
            parse_reference("sha256:latest")

    def test_upload_ids(self) -> None:
        ids = {UploadId.new() for _ in range(100)}
        self.assertEqual(len(ids), 100)
        for each in ids:
            self.assertEqual(UploadId.parse(str(each)), each)

    def test_bad_upload_ids(self) -> None:
        for text in BAD_UPLOADS:
            with self.assertRaises(UploadUnknown, msg=repr(text)):
                UploadId.parse(text)


class DigestTests(SynchronousTestCase):
    def test_parse(self) -> None:
        for algorithm, length in (("sha256", 64), ("sha512", 128)):
            text = f"{algorithm}:{'0a' * (length // 2)}"
            self.assertEqual(str(Digest.parse(text)), text)

    def test_bad_digests(self) -> None:
        for text in BAD_DIGESTS:
            with self.assertRaises(DigestInvalid, msg=repr(text)):
                Digest.parse(text)

    def test_of(self) -> None:
        """Known answers, from FIPS 180-4's empty message."""
        self.assertEqual(
            str(Digest.of(b"")), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        )
        self.assertTrue(str(Digest.of(b"", "sha512")).startswith("sha512:cf83e1357eefb8bdf1542850d66d8007"))

    def test_unsupported_algorithm(self) -> None:
        for name in ("md5", "sha1", "", "SHA256", "shake_128"):
            with self.assertRaises(DigestInvalid, msg=name):
                new_hash(name)
