"""Options of ``storage: s3``, the old names among them, and what comes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.task import Clock

from docker_registry.storage.choose import choose
from docker_registry.storage.interface import IRedirects
from docker_registry.storage.s3.storage import S3Storage
from docker_registry.test.certificates import make_certificate
from docker_registry.test.config_case import MARKER, ConfigCase
from docker_registry.test.registry_case import Direct

ENDPOINT = "https://HOST or https://HOST:PORT, or the same with http"
CA = "the path of a file with certificates in PEM"

PROBLEMS = [
    # options beside storage: s3, and what is said of them
    ("a: 1", "unknown option"),
    ("", "x.storage: s3_bucket is missing, and storage is s3 (allowed: local, memory, s3, swift, glance)"),
    ("s3_bucket: a/b", "x.s3_bucket: no name of a bucket (allowed: text)"),
    ("s3_bucket: bb, s3_access_key: k", "x.s3_secret_key: s3_access_key and s3_secret_key belong together"),
    (f"s3_bucket: bb, s3_secret_key: {MARKER}", "x.s3_secret_key: s3_access_key and s3_secret_key belong together"),
    ("s3_bucket: bb, s3_endpoint: h", f"x.s3_endpoint: not https://HOST:PORT, without a path (allowed: {ENDPOINT})"),
    ("s3_bucket: bb, s3_endpoint: https://h/p", "x.s3_endpoint: not https://HOST:PORT, without a path"),
    ("s3_bucket: bb, s3_endpoint: 'https://h', boto_host: h", "x.boto_host: s3_endpoint says where the store is"),
    ("s3_bucket: bb, boto_host: 'https://h'", "x.boto_host: not a host, without scheme and port"),
    ("s3_bucket: bb, boto_port: 0", "x.boto_port: wrong value 0"),
    ("s3_bucket: bb, s3_part_size: 1MiB", 'x.s3_part_size: wrong value "1MiB"'),
    ("s3_bucket: bb, s3_part_size: 64MiB, s3_memory: 100MiB", "x.s3_memory: less than two parts of s3_part_size"),
    ("s3_bucket: bb, s3_ca: /none", f"x.s3_ca: the file cannot be read: No such file or directory (allowed: {CA})"),
    ("s3_bucket: bb, s3_ca: /dev/null", "x.s3_ca: no certificate in PEM"),
    ("s3_bucket: bb, storage_path: /../etc", "x.storage_path: not a prefix of keys, such as /prod"),
    ("s3_bucket: bb, cloudfront: {base: 'https://d'}", "x.cloudfront: base, keyid and keysecret belong together"),
    ("s3_bucket: bb, cloudfront: {base: d}", "x.cloudfront.base: not https://HOST or https://HOST/PATH"),
    ("s3_bucket: bb, cloudfront: {keysecret: /dev/null}", "x.cloudfront.keysecret: no private RSA key in PEM"),
    ("s3_bucket: bb, s3_storage_class: GLACIER", "x.s3_storage_class: what is of this class has to be thawed"),
    ("s3_bucket: bb, s3_access_key: '', s3_secret_key: s", "s3_access_key and s3_secret_key belong together"),
    ("s3_bucket: bb, s3_addressing: host", 'x.s3_addressing: wrong value "host" (allowed: auto, path, virtual)'),
]


class OptionTests(ConfigCase):
    def store(self, options: str, **environ: str) -> S3Storage:
        config = self.load(f"x: {{storage: s3, {options}}}", environ=environ).config
        storage = choose(config, Direct(), Clock())
        assert isinstance(storage, S3Storage)
        return storage

    def settings(self, options: str, **environ: str) -> Any:
        return self.store(options, **environ)._settings

    def test_problems(self) -> None:
        for options, expected in PROBLEMS:
            with self.subTest(options):
                said = self.problems(f"x: {{storage: s3, {options}}}")
                self.assertIn(expected, said)
                self.assertNotIn(MARKER, said)

    def test_as_in_docker_registry_0x(self) -> None:
        """The options of the first versions, and those of 0.9, secrets as they are found in the wild."""
        settings = self.settings(
            "s3_access_key: _env:AWS_KEY, s3_secret_key: _env:AWS_SECRET, s3_bucket: _env:AWS_BUCKET, "
            "storage_path: /prod",
            AWS_KEY="AKIA", AWS_SECRET="a/b+c=", AWS_BUCKET="images",
        )
        self.assertEqual((settings.access_key, settings.secret_key, settings.prefix), ("AKIA", "a/b+c=", "prod/"))
        self.assertEqual(settings.place.url("k"), "https://images.s3.us-east-1.amazonaws.com/k")
        self.assertNotIn("a/b+c=", repr(settings))
        settings = self.settings(
            "boto_bucket: bb, boto_host: h, boto_port: 8080, s3_secure: false, s3_region: r, s3_encrypt: true"
        )
        self.assertEqual(settings.place.url("k"), "http://h:8080/bb/k")
        self.assertEqual(settings.object_headers, {"x-amz-server-side-encryption": "AES256"})
        self.assertEqual(self.settings("boto_bucket: bb, boto_host: h").place.url("k"), "https://h/bb/k")

    def test_keys_that_are_empty(self) -> None:
        """As those of a variable that nobody set: the chain is asked."""
        settings = self.settings("s3_bucket: bb, s3_access_key: '_env:NONE:', s3_secret_key: '_env:NONE:'")
        self.assertEqual((settings.access_key, settings.secret_key), (None, None))

    def test_prefixes(self) -> None:
        for path, prefix in (("/", ""), ("/prod", "prod/"), ("/a/b/", "a/b/"), ("test", "test/"), ("//a//b", "a/b/")):
            self.assertEqual(self.settings(f"s3_bucket: bb, storage_path: {path}").prefix, prefix)
        self.assertEqual(self.settings("s3_bucket: bb").prefix, "")

    def test_of_today(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        make_certificate(directory)
        settings = self.settings(
            f"s3_bucket: bb, s3_endpoint: 'https://h:1', s3_addressing: virtual, s3_kms_key: K, s3_storage_class: S, "
            f"s3_ca: {directory.absolute()}/cert.pem, s3_part_size: 16MiB, storage_check: off"
        )
        self.assertEqual(settings.place.url("k"), "https://bb.h:1/k")
        self.assertEqual(settings.object_headers, {
            "x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "K",
            "x-amz-storage-class": "S",
        })
        self.assertEqual((settings.part_size, settings.check, settings.memory), (16 << 20, False, 512 << 20))

    def test_workers_share_the_memory(self) -> None:
        settings = self.settings("s3_bucket: bb, workers: 4, secret_key: s, s3_memory: 256MiB")
        self.assertEqual(settings.memory, 64 << 20)

    def test_redirects(self) -> None:
        self.assertFalse(IRedirects.providedBy(self.store("s3_bucket: bb")))
        self.assertTrue(IRedirects.providedBy(self.store("s3_bucket: bb, storage_redirect: true")))
        key = rsa.generate_private_key(65537, 2048)
        path = Path(self.mktemp()).absolute()
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        store = self.store(
            f"s3_bucket: bb, storage_redirect: true, cloudfront: {{base: 'https://d', keyid: K, keysecret: {path}}}"
        )
        url = self.successResultOf(store.link("k"))
        self.assertTrue(url.startswith("https://d/k?Expires="), url)
