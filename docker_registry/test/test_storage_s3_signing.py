"""URLs and signatures: by the examples that AWS publishes, and by whoever verifies them."""

from __future__ import annotations

import base64
import json
import time
import urllib.request
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlsplit

from botocore.credentials import ReadOnlyCredentials
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.storage.interface import IRedirects
from docker_registry.storage.s3.links import VALID, Presigned, cloud_front
from docker_registry.storage.s3.settings import Place
from docker_registry.storage.s3.signing import signed, signed_url
from docker_registry.test.s3_case import S3FaultCase
from docker_registry.test.servers.stores import swift

KEYS = ReadOnlyCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None)
THEN = 1369353600.0             # 2013-05-24, midnight UTC
URL = "https://examplebucket.s3.amazonaws.com/test.txt"


class ExampleTests(SynchronousTestCase):
    """Amazon S3 API Reference, "Signature Calculations for the Authorization Header" and "Using Query Parameters"."""

    def test_header(self) -> None:
        lines = signed(KEYS, "us-east-1", THEN, "GET", URL, {"Range": "bytes=0-9"})
        self.assertEqual(
            lines["Authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        )

    def test_query(self) -> None:
        url = signed_url(KEYS, "us-east-1", THEN, URL, 86400)
        self.assertTrue(url.endswith(
            "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        ))

    def test_token(self) -> None:
        keys = ReadOnlyCredentials("a", "s", "t/+=")
        self.assertEqual(signed(keys, "r", THEN, "GET", URL, {})["X-Amz-Security-Token"], "t/+=")
        self.assertIn("X-Amz-Security-Token=t%2F%2B%3D", signed_url(keys, "r", THEN, URL, 60))


class PlaceTests(SynchronousTestCase):
    def test_urls(self) -> None:
        for place, url in (
            (Place("b"), "https://b.s3.us-east-1.amazonaws.com/k/%C3%A9%2B"),
            (Place("b", "cn-north-1"), "https://b.s3.cn-north-1.amazonaws.com.cn/k/%C3%A9%2B"),
            (Place("b.c"), "https://s3.us-east-1.amazonaws.com/b.c/k/%C3%A9%2B"),
            (Place("b", endpoint="http://[::1]:9000"), "http://[::1]:9000/b/k/%C3%A9%2B"),
            (Place("b", endpoint="https://h:1", addressing="virtual"), "https://b.h:1/k/%C3%A9%2B"),
            (Place("b", addressing="path"), "https://s3.us-east-1.amazonaws.com/b/k/%C3%A9%2B"),
        ):
            self.assertEqual(place.url("k/é+"), url)
        self.assertEqual(Place("b").url("", {"a b": "c/d", "A": ""}),
                         "https://b.s3.us-east-1.amazonaws.com/?A=&a%20b=c%2Fd")

    def test_elsewhere(self) -> None:
        """Another region of AWS, a host below the configured one; nothing else."""
        aws, own = Place("b"), Place("b", endpoint="https://s3.example.org")
        for place, region, host, expected in (
            (aws, "eu-west-1", "", Place("b", "eu-west-1")),
            (aws, "", "b.s3-us-west-2.amazonaws.com", Place("b", "us-west-2")),
            (aws, "", "b.s3.eu-west-1.amazonaws.com", Place("b", "eu-west-1")),
            (aws, "", "s3.evil.example", None),
            (aws, "", "s3.eu-west-1.amazonaws.com.evil.example", None),
            (aws, "us-east-1", "", None),
            (aws, "evil.example/", "", None),
            (own, "eu-west-1", "", Place("b", "eu-west-1", own.endpoint)),
            (own, "", "zone2.s3.example.org", Place("b", endpoint="https://zone2.s3.example.org", addressing="path")),
            (own, "", "evils3.example.org", None),
            (own, "", "s3.example.org", None),
            (own, "", "evil.example/.s3.example.org", None),
            (own, "eu-west-1", "evil.example?.s3.example.org", None),
            (own, "", "evil.example#.s3.example.org", None),
            (own, "", "evil.example:80\\@a.s3.example.org", None),
            (own, "", "a@b.s3.example.org", None),
            (aws, "eu-west-1", "evil.example/s3.eu-west-1.amazonaws.com", None),
        ):
            self.assertEqual(place.elsewhere(region, host), expected, (region, host))


class LinkTests(S3FaultCase):
    """A URL that this registry signed is one that a store takes, for a while, and for that object."""

    store = staticmethod(swift)

    def fetch(self, url: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(url) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            error.close()
            return error.code, b""

    async def test_presigned(self) -> None:
        self.assertFalse(IRedirects.providedBy(self.storage))
        storage = self.make(links=Presigned())
        self.assertTrue(IRedirects.providedBy(storage))
        await storage.put("k/a+b", b"content")
        url = await storage.link("k/a+b")
        self.assertEqual(await deferToThread(self.fetch, url), (200, b"content"))
        self.assertEqual((await deferToThread(self.fetch, url.replace("a%2Bb", "ab")))[0], 403)
        late = self.make(links=Presigned(), now=lambda: time.time() - VALID - 60)
        self.assertEqual((await deferToThread(self.fetch, await late.link("k/a+b")))[0], 403)


class CloudFrontTests(SynchronousTestCase):
    def key(self, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Path:
        path = Path(self.mktemp())
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        return path

    def test_url(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        front = cloud_front("https://d1.cloudfront.net/", "KEYID", self.key(key), lambda: 1000.0)
        work = front.link(None, "prod/a+b")         # the bucket is not asked
        with self.assertRaises(StopIteration) as ended:
            work.send(None)
        url = ended.exception.value
        self.assertTrue(url.startswith("https://d1.cloudfront.net/prod/a%2Bb?Expires=2200&"))
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        self.assertEqual(query["Key-Pair-Id"], "KEYID")
        text = query["Signature"].replace("-", "+").replace("_", "=").replace("~", "/")
        policy = json.dumps({"Statement": [{
            "Resource": "https://d1.cloudfront.net/prod/a%2Bb",
            "Condition": {"DateLessThan": {"AWS:EpochTime": 2200}},
        }]}, separators=(",", ":")).encode()
        key.public_key().verify(base64.b64decode(text), policy, PKCS1v15(), SHA1())

    def test_another_kind_of_key(self) -> None:
        with self.assertRaises(ValueError):
            cloud_front("https://d1", "K", self.key(ec.generate_private_key(ec.SECP256R1())), time.time)
