"""A store that misbehaves, and a network between: what is tried again, what is not, and what comes of it."""

from __future__ import annotations

import time
from email.utils import formatdate

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from docker_registry.deferreds import outcomes
from docker_registry.errors import (
    Damaged,
    NotFound,
    StorageError,
    StorageFailed,
    StorageFull,
    StoreUnavailable,
    Transient,
)
from docker_registry.storage.objects.store import Refused
from docker_registry.storage.retries import TRIES
from docker_registry.storage.s3.client import PROVED
from docker_registry.storage.s3.documents import LIMIT
from docker_registry.storage.s3.errors import ERROR_LIMIT, NoKeys
from docker_registry.test.s3_case import MIB, SHORT, S3FaultCase
from docker_registry.test.servers.faults import FaultProxy
from docker_registry.test.servers.stores import swift
from docker_registry.test.storage_contract import content

WHOLE = content(3 * MIB)


def error(code: str, message: str = "", more: str = "") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>'
    ).encode()


class RetryTests(S3FaultCase):
    """F1: exactly what may be tried again is."""

    async def test_passing_faults(self) -> None:
        for fault in (
            {"status": 503, "body": error("SlowDown")}, {"status": 500, "body": error("InternalError")},
            {"status": 502}, {"status": 504}, {"status": 429}, {"refuse": True}, {"lose": True},
            {"status": 400, "body": error("RequestTimeout")},
        ):
            rule = self.proxy.add(method="PUT", times=TRIES - 1, **fault)
            await self.storage.put("k", b"x")
            self.assertEqual(rule.met, TRIES - 1, fault)
            self.assertEqual(await self.storage.get("k"), b"x")

    async def test_for_ever(self) -> None:
        rule = self.proxy.add(status=503, body=error("SlowDown"))
        raised = await self.fails(self.storage.get("k"), Transient)
        self.assertIn("SlowDown", str(raised))
        self.assertEqual(rule.met, TRIES)
        rule.times = 0
        await self.storage.put("k", b"x")

    async def test_what_is_no_accident(self) -> None:
        for status, code, kind in (
            (403, "AccessDenied", NoKeys), (403, "InvalidAccessKeyId", NoKeys), (403, "SignatureDoesNotMatch", NoKeys),
            (404, "NoSuchKey", NotFound), (404, "NoSuchBucket", StoreUnavailable), (409, "BucketNotEmpty", Refused),
            (412, "PreconditionFailed", Refused), (400, "InvalidArgument", Refused), (400, "BadDigest", Refused),
            (403, "QuotaExceeded", StorageFull), (507, "XMinioStorageFull", StorageFull),
            (400, "ExpiredToken", NoKeys), (307, "TemporaryRedirect", StoreUnavailable),
        ):
            rule = self.proxy.add(times=TRIES, status=status, body=error(code))
            raised = await self.fails(self.storage.get("k"), kind)
            self.assertNotIsInstance(raised, Transient)
            self.assertEqual(rule.met, 1, code)
            rule.times = 0

    async def test_a_lost_completion(self) -> None:
        """The store did it, and nobody heard: the upload is gone at the next try, and the object is there."""
        self.proxy.add(method="POST", target="uploadId", times=1, lose=True)
        writer = await self.storage.create_direct("u", "b", None)
        await writer.write([content(6 * MIB)])
        await writer.commit("b")
        self.assertEqual((await self.storage.stat("b")).size, 6 * MIB)

    async def test_another_object_is_no_completion(self) -> None:
        """What stood at the key before: it has another size, or was not made of as many parts."""

        async def in_parts() -> None:
            writer = await self.storage.create_direct("u", "b", None)
            await writer.write([content(7 * MIB)])
            await writer.commit("b")

        async def whole() -> None:
            await self.storage.bucket.put(f"{self.settings.prefix}b", [content(6 * MIB)])

        for before in (in_parts, whole):
            await before()
            for said in ({"status": 404, "body": error("NoSuchUpload")}, {"status": 503, "body": error("SlowDown")}):
                rule = self.proxy.add(method="POST", target="uploadId", **said)
                writer = await self.storage.create_direct("u", "b", None)
                await writer.write([content(6 * MIB)])
                await self.fails(writer.commit("b"), StorageError)
                await writer.abandon()
                rule.times = 0

    async def test_a_completion_that_never_was(self) -> None:
        self.proxy.add(method="POST", target="uploadId", status=404, body=error("NoSuchUpload"))
        writer = await self.storage.create_direct("u", "b", None)
        await writer.write([content(6 * MIB)])
        await self.fails(writer.commit("b"), Refused)
        await writer.abandon()
        await self.fails(self.storage.stat("b"), NotFound)


class SuccessTests(S3FaultCase):
    """F2: a status of 200 is not yet success."""

    async def test_error_in_a_success(self) -> None:
        await self.storage.put("a", b"x")
        for body in (
            error("InternalError"), error("SlowDown"), b"", b"  \n ", b"<?xml version='1.0'?><CopyObjectRes",
            b'<?xml version="1.0"?>\n\n   \n' + error("InternalError").partition(b"\n")[2],
        ):
            rule = self.proxy.add(method="PUT", target="a", times=2, status=200, body=body)
            await self.storage.touch("a")
            self.assertEqual(rule.met, 2, body)
        rule = self.proxy.add(method="PUT", target="a", status=200, body=error("InternalError"))
        await self.fails(self.storage.touch("a"), Transient)
        self.assertEqual(rule.met, TRIES)
        rule.times = 0
        rule = self.proxy.add(method="PUT", target="a", status=200, body=error("AccessDenied"))
        with capturedLogs() as events:
            await self.fails(self.storage.touch("a"), NoKeys)
        self.assertEqual((rule.met, self.mailed(events)), (1, {"login refused"}))
        rule.times = 0
        self.proxy.add(method="PUT", target="a", status=200, body=error("Odd", "no&#10;&#9;[31m" * 50))
        said = str(await self.fails(self.storage.touch("a"), Refused))
        self.assertTrue(said.isprintable())
        self.assertLess(len(said), 300)

    async def test_error_in_a_completion(self) -> None:
        """Of a commit: what is in between is given up, and nothing is published."""
        rule = self.proxy.add(method="POST", target="uploadId", status=200, body=error("InternalError"))
        writer = await self.storage.create("u")
        await writer.write([content(6 * MIB)])
        await self.fails(writer.commit("b"), Transient)
        self.assertEqual(rule.met, TRIES)
        await self.fails(self.storage.stat("b"), NotFound)
        self.assertEqual(await self.storage.leftovers(1e12), [])
        rule.times = 0
        await writer.commit("b")
        self.assertEqual((await self.storage.stat("b")).size, 6 * MIB)

    async def test_one_of_many_is_not_deleted(self) -> None:
        """It is tried again if that may help, and what was not there is gone."""
        await self.storage.put("t/a", b"x")
        for inside, kind, tries in (
            ("<Code>InternalError</Code>", Transient, TRIES), ("<Code>SlowDown</Code>", Transient, TRIES),
            ("<Code>AccessDenied</Code>", NoKeys, 1), ("<Code>Odd</Code>", Refused, 1), ("", Transient, TRIES),
        ):
            body = f"<DeleteResult><Error><Key>t/a</Key>{inside}</Error></DeleteResult>".encode()
            rule = self.proxy.add(method="POST", target="delete", status=200, body=body)
            self.assertIn("t/a" if tries == 1 else "busy", str(await self.fails(self.storage.delete_tree("t"), kind)))
            self.assertEqual(rule.met, tries, inside)
            rule.times = 0
        body = b"<DeleteResult><Error><Key>t</Key><Code>NoSuchKey</Code></Error></DeleteResult>"
        self.proxy.add(method="POST", target="delete", status=200, body=body)
        await self.storage.delete_tree("t")


class InputTests(S3FaultCase):
    """What a store says is input (T43)."""

    async def test_bombs(self) -> None:
        bomb = b'<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;&x;&x;">]><ListBucketResult>&z;</ListBucketResult>'
        outside = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><ListBucketResult>&x;</ListBucketResult>'
        for body in (bomb, outside, b"<a>" * 100_000, b"\xff\xfe"):
            rule = self.proxy.add(method="GET", status=200, body=body)
            await self.fails(self.storage.list("x"), StorageError)
            rule.times = 0

    async def test_longer_than_any_document(self) -> None:
        self.proxy.add(method="GET", status=200, body=b" " * (LIMIT + 1))
        await self.fails(self.storage.list("x"), StorageFailed)

    async def test_error_longer_than_any(self) -> None:
        """It is not read to its end, so nobody knows what it says: the status has to do."""
        rule = self.proxy.add(status=400, body=error("SlowDown", "x" * ERROR_LIMIT))
        await self.fails(self.storage.get("k"), Refused)
        self.assertEqual((rule.met, ERROR_LIMIT), (1, 65536))

    async def test_keys_that_are_none(self) -> None:
        prefix = self.settings.prefix
        names = ["../x", "/etc", "a//b", ".", "..", ".hidden", "ok", "a\n", ""]
        keys = "".join(f"<Contents><Key>{prefix}{name}</Key></Contents>" for name in names)
        self.proxy.add(method="GET", status=200, body=f"<ListBucketResult>{keys}</ListBucketResult>".encode())
        self.assertEqual([entry.name for entry in await self.storage.list("")], ["ok"])

    async def test_error_texts_are_cleaned(self) -> None:
        text = "x" * 190 + "&#9;[31m&#13;&#10;&lt;script&gt;" * 50
        more = "<StringToSign>AWS4 s3cret</StringToSign><AWSAccessKeyId>AKIA</AWSAccessKeyId>"
        self.proxy.add(status=400, body=error("Invalid&#9;", text, more))
        said = str(await self.fails(self.storage.get("k"), Refused))
        self.assertLess(len(said), 300)
        self.assertTrue(said.isprintable())
        for secret in ("s3cret", "AKIA", self.settings.secret_key or "?"):
            self.assertNotIn(secret, said)

    async def test_too_long_for_a_small_object(self) -> None:
        self.proxy.add(method="GET", status=200, body=b"x" * (17 * MIB), headers={"Last-Modified": formatdate()})
        await self.fails(self.storage.get("k"), Damaged)


class ClockTests(S3FaultCase):
    """F3, with a store that looks at the time."""

    store = staticmethod(swift)

    async def test_a_clock_that_is_off(self) -> None:
        for minutes in (20, -20):
            storage = self.make(now=lambda minutes=minutes: time.time() + 60 * minutes)
            await storage.put("k", b"x")
            self.assertEqual(await storage.get("k"), b"x")
        self.assertEqual((await self.storage.stat("k")).size, 1)

    async def test_head_says_no_reason(self) -> None:
        await self.storage.put("k", b"x")
        self.assertEqual((await self.make(now=lambda: time.time() - 1200).stat("k")).size, 1)

    async def test_still_refused(self) -> None:
        rule = self.proxy.add(status=403, body=error("RequestTimeTooSkewed"), headers={"Date": formatdate(1e9)})
        with capturedLogs() as events:
            await self.fails(self.storage.get("k"), NoKeys)
        self.assertEqual((rule.met, self.mailed(events)), (2, {"login refused"}))


class IntegrityTests(S3FaultCase):
    """What was changed on its way is not taken (F4)."""

    store = staticmethod(swift)

    async def test_object(self) -> None:
        self.proxy.add(method="PUT", flip=1000)
        await self.fails(self.storage.put("k", b"x" * 2000), StorageError)
        await self.fails(self.storage.stat("k"), NotFound)

    async def test_part(self) -> None:
        self.proxy.add(method="PUT", target="partNumber=2", flip=1000)
        writer = await self.storage.create_direct("u", "b", None)
        await writer.write([content(11 * MIB)])
        await self.fails(writer.commit("b"), StorageError)
        await writer.abandon()
        await self.fails(self.storage.stat("b"), NotFound)

    async def test_wrong_key(self) -> None:
        settings = type(self.settings)(self.settings.place, access_key="test:tester", secret_key="wrong/key+=")
        storage = self.make(settings=settings)
        with capturedLogs() as events:
            for _ in range(3):
                await self.fails(storage.put("k", b"x"), NoKeys)
        self.assertEqual((len(self.proxy.asked), self.mailed(events)), (3, {"login refused"}))
        (told,) = [formatEvent(each) for each in events if "alert" in each]
        self.assertIn("the store does not let this registry in: bucket ", told)
        self.assertNotIn("wrong/key", told)
        said = str(await self.fails(storage.start(), StorageError))
        self.assertIn("cannot look for an object (s3:GetObject and s3:ListBucket)", said)
        self.assertNotIn("\n", said)


class TruncationTests(S3FaultCase):
    """F4: an answer that ends early is gone on with."""

    async def setUp(self) -> None:                          # type: ignore[override]
        super().setUp()
        writer = await self.storage.create_direct("u", "b", len(WHOLE))
        await writer.write([WHOLE])
        await writer.commit("b")
        self.tag = (await self.storage.bucket.head(f"{self.settings.prefix}b")).tag
        self.proxy.asked.clear()

    async def test_resumed(self) -> None:
        self.proxy.add(method="GET", times=3, cut=500_000)
        self.assertEqual(await self.content("b"), WHOLE)
        asked = self.proxy.asked
        self.assertEqual([each.headers.get("range") for each in asked],
                         [None, "bytes=500000-", "bytes=1000000-", "bytes=1500000-"])
        self.assertEqual({each.headers.get("if-match") for each in asked[1:]}, {self.tag})

    async def test_once_too_often(self) -> None:
        self.proxy.add(method="GET", cut=500_000)
        await self.fails(self.content("b"), StoreUnavailable)

    async def test_changed_meanwhile(self) -> None:
        self.proxy.add(method="GET", times=1, cut=500_000)
        reader = await self.storage.open("b")
        found = await reader.read(MIB)
        await self.storage.put("b", b"another")
        with self.assertRaises(StorageFailed):
            while part := await reader.read(MIB):
                found += part
        self.assertEqual(found, WHOLE[: len(found)])
        reader.close()

    async def test_a_store_that_ignores_the_condition(self) -> None:
        """It sends the rest of another object; or it has no tag by which to ask."""
        part, when = WHOLE[500_000:], {"Last-Modified": formatdate()}
        there = {**when, "Content-Range": f"bytes 500000-{len(WHOLE) - 1}/{len(WHOLE)}"}
        for whole, headers in (({}, {**there, "ETag": '"another"'}), ({}, there), (when, there)):
            first = {"status": 200, "body": WHOLE, "headers": whole} if whole else {}
            rules = [self.proxy.add(method="GET", times=1, cut=500_000, **first),
                     self.proxy.add(method="GET", times=1, status=206, headers=headers, body=part)]
            await self.fails(self.content("b"), StorageFailed)
            self.assertEqual(rules[1].met, 0 if whole else 1)
            rules[1].times = 0

    async def test_wrong_range(self) -> None:
        """The store sends all in place of the rest, or a part that begins elsewhere."""
        headers = {"Last-Modified": formatdate(), "ETag": self.tag}
        part = {**headers, "Content-Range": f"bytes 400000-{len(WHOLE) - 1}/{len(WHOLE)}"}
        for said in (
            {"status": 200, "headers": headers, "body": WHOLE},
            {"status": 206, "headers": part, "body": WHOLE[400_000:]},
        ):
            rules = [self.proxy.add(method="GET", times=1, cut=500_000), self.proxy.add(method="GET", times=1, **said)]
            await self.fails(self.content("b"), StorageFailed)
            self.assertEqual([rule.met for rule in rules], [1, 1])

    async def test_small_object(self) -> None:
        await self.storage.put("s", b"x" * 1000)
        self.proxy.add(method="GET", times=2, cut=10)
        self.assertEqual(await self.storage.get("s"), b"x" * 1000)

    async def test_without_length(self) -> None:
        self.proxy.add(method="GET", status=200, body=b"half", framed=False, headers={"Last-Modified": formatdate()})
        await self.fails(self.storage.get("b"), StorageError)
        await self.fails(self.storage.open("b"), StorageError)


class RedirectTests(S3FaultCase):
    """F8: credentials go nowhere else."""

    async def test_to_another_host(self) -> None:
        other = FaultProxy(self.proxy.reactor).start()
        self.addCleanup(other.stop)
        other.add(status=200, body=b"stolen", headers={"Last-Modified": formatdate()})
        for status in (301, 307):
            where = f"http://127.0.0.1:{other.port}/b/k"
            rule = self.proxy.add(status=status, headers={"Location": where}, body=error("TemporaryRedirect"))
            raised = await self.fails(self.storage.get("k"), StoreUnavailable)
            self.assertNotIsInstance(raised, Transient)
            self.assertEqual((rule.met, other.asked), (1, []))
            rule.times = 0

    async def test_another_region(self) -> None:
        """Of the same host: the request is signed for it, and so are those that follow."""
        more = "<Region>eu-west-1</Region>"
        self.proxy.add(times=1, status=400, body=error("AuthorizationHeaderMalformed", "", more))
        await self.storage.put("k", b"x")
        await self.storage.get("k")
        signed = [each.headers["authorization"].partition("/s3/")[0].rpartition("/")[2] for each in self.proxy.asked]
        self.assertEqual(signed, ["us-east-1", "eu-west-1", "eu-west-1"])


class CredentialTests(S3FaultCase):
    """F9."""

    async def test_expired_and_renewed(self) -> None:
        """Those of a role are asked for again, once."""
        settings = type(self.settings)(self.settings.place, self.settings.prefix)
        found = {"AWS_ACCESS_KEY_ID": "chain", "AWS_SECRET_ACCESS_KEY": "s/+=", "AWS_SESSION_TOKEN": "t"}
        for name, value in found.items():
            self.patch_environ(name, value)
        storage = self.make(settings=settings)
        self.proxy.add(times=1, status=400, body=error("ExpiredToken"))
        await storage.put("k", b"x")
        self.assertEqual([each.headers["x-amz-security-token"] for each in self.proxy.asked], ["t", "t"])
        self.assertIn("Credential=chain/", self.proxy.asked[0].headers["authorization"])

    async def test_none(self) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            self.patch_environ(name, None)
        self.patch_environ("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            self.patch_environ(name, "/none")
        storage = self.make(settings=type(self.settings)(self.settings.place))
        self.assertIn("AWS_ACCESS_KEY_ID", str(await self.fails(storage.get("k"), StoreUnavailable)))
        self.assertEqual(self.proxy.asked, [])

    async def test_check(self) -> None:
        """What the start-up check says of each permission that is missing."""
        for rule, said in (
            ({"method": "GET", "target": "probe"}, "s3:GetObject and s3:ListBucket"),
            ({"method": "PUT"}, "s3:PutObject"),
            ({"method": "GET", "target": "list-type"}, "s3:ListBucket"),
            ({"method": "POST"}, "s3:AbortMultipartUpload"),
            ({"method": "DELETE", "target": "[0-9a-f]{16}$"}, "s3:DeleteObject"),
        ):
            fault = self.proxy.add(status=403, body=error("AccessDenied"), **rule)
            self.assertIn(said, str(await self.fails(self.storage.start(), StorageFailed)))
            fault.times = 0
            self.assertEqual(len(await self.storage.list(".probe")), "DELETE" in rule.values())
        await self.storage.start()

    async def test_check_of_what_comes_back(self) -> None:
        other = {"Last-Modified": formatdate(), "ETag": '"e"'}
        self.proxy.add(method="GET", target="probe", status=200, body=b"other", headers=other)
        said = str(await self.fails(self.storage.start(), StorageFailed))
        self.assertIn("cannot read an object (s3:GetObject): other bytes came back", said)

    async def test_no_bucket(self) -> None:
        place = type(self.settings.place)("absent-bucket", endpoint=self.settings.place.endpoint)
        storage = self.make(settings=type(self.settings)(place, "", self.settings.access_key, self.settings.secret_key))
        said = str(await self.fails(storage.start(), StorageFailed))
        self.assertIn("bucket absent-bucket does not exist", said)

    async def test_the_bucket_goes_while_it_runs(self) -> None:
        """An absent bucket is no absent image: HEAD does not say which it is (C6)."""
        clock = Clock()
        clock.advance(time.time())
        storage = self.make(now=clock.seconds)
        await self.fails(storage.stat("k"), NotFound)
        self.proxy.add(method="HEAD", status=404)
        self.proxy.add(status=404, body=error("NoSuchBucket"))
        clock.advance(PROVED + 1)
        await self.fails(storage.stat("k"), StoreUnavailable)
        await self.fails(storage.get("k"), StoreUnavailable)


class PatienceTests(S3FaultCase):
    """F10."""

    async def test_a_store_that_never_answers(self) -> None:
        self.proxy.add(hang=True)
        storage = self.make(patience=SHORT)
        began = time.monotonic()
        for found in await outcomes(*(storage.get(f"{number}") for number in range(200))):
            self.assertIsInstance(found, Transient)
        self.assertLess(time.monotonic() - began, 30)
        self.assertLessEqual(self.proxy.open, 64)

    async def test_a_store_that_stops_in_the_middle(self) -> None:
        self.proxy.add(method="GET", status=200, headers={
            "Last-Modified": formatdate(), "Content-Length": "1000", "Transfer-Encoding": "identity",
        }, body=b"half")
        storage = self.make(patience=SHORT)
        await self.fails(storage.get("k"), StorageError)

    async def test_nobody_there(self) -> None:
        await self.proxy.stop()
        await self.fails(self.storage.get("k"), Transient)
        said = str(await self.fails(self.storage.start(), Transient))
        self.assertIn("cannot be reached: Connection refused", said)


class LeftoverTests(S3FaultCase):
    """F5, on a store that tells when an upload was begun."""

    store = staticmethod(swift)

    async def test_by_age(self) -> None:
        whole = f"{self.settings.prefix}b"
        upload = await self.storage.bucket.begin(whole)
        now = time.time()
        self.assertEqual(await self.storage.leftovers(now - 60), [])
        [found] = await self.storage.leftovers(now + 60)
        self.assertEqual((found.key, found.id), ("b", upload))
        self.assertLess(abs(found.modified - now), 10)
        await self.storage.remove_leftover(found)
        await self.storage.remove_leftover(found)
        self.assertEqual(await self.storage.leftovers(now + 60), [])

    async def test_a_new_part_counts(self) -> None:
        whole = f"{self.settings.prefix}b"
        upload = await self.storage.bucket.begin(whole)
        [unfinished] = await self.storage.bucket.unfinished(self.settings.prefix)
        self.assertEqual(await self.storage.bucket.last_part(unfinished), 0.0)
        await self.storage.bucket.part(whole, upload, 1, [b"x"])
        self.assertLess(abs(await self.storage.bucket.last_part(unfinished) - time.time()), 10)
        await self.storage.bucket.abort(whole, upload)

    async def test_of_another_prefix(self) -> None:
        """Another registry's in the same bucket are its own affair."""
        upload = await self.storage.bucket.begin("elsewhere/b")
        self.assertEqual(await self.storage.leftovers(time.time() + 60), [])
        await self.storage.bucket.abort("elsewhere/b", upload)
