"""Answers that are none of S3's: from somebody on the way, and with values in them that nothing good comes of (T43)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from docker_registry.errors import Damaged, StorageFailed, StoreUnavailable, Transient
from docker_registry.storage.http import moment
from docker_registry.storage.retries import TRIES
from docker_registry.test.s3_case import MIB, S3FaultCase
from docker_registry.test.servers.faults import FaultProxy
from docker_registry.test.storage_contract import content
from docker_registry.test.test_storage_s3_faults import error

PAGE = b"<html><body><p>We are back soon</p></body></html>"


class StrangerTests(S3FaultCase):
    """A success that somebody tells who knows nothing of S3 is none (F2): what he was sent is nowhere."""

    async def test_writes(self) -> None:
        for key in ("a", "t/a"):
            await self.storage.put(key, b"x")
        upload = await self.storage.bucket.begin(f"{self.settings.prefix}b")
        works: list[tuple[dict[str, Any], Callable[[], Awaitable[Any]]]] = [
            ({"method": "PUT"}, lambda: self.storage.put("b", b"x")),
            ({"method": "PUT"}, lambda: self.storage.touch("a")),
            ({"method": "GET", "target": "list-type"}, lambda: self.storage.list("t")),
            ({"method": "GET", "target": "list-type"}, lambda: self.storage.delete_tree("t/none")),
            ({"method": "POST", "target": "delete"}, lambda: self.storage.delete_tree("t")),
            ({"method": "GET", "target": "uploads"}, lambda: self.storage.leftovers(time.time())),
        ]
        for where, work in works:
            rule = self.proxy.add(status=200, body=PAGE, **where)
            await self.fails(work(), Transient)
            self.assertEqual(rule.met, TRIES, where)
            rule.times = 0
            await work()
        self.proxy.add(method="GET", target="uploadId", status=200, body=PAGE)
        await self.fails(self.storage.leftovers(time.time()), Transient)
        await self.storage.bucket.abort(f"{self.settings.prefix}b", upload)

    async def test_in_parts(self) -> None:
        """Of a blob whose key is known, and of one whose key is not: each step."""
        for begin in (lambda: self.storage.create_direct("u", "b", None), lambda: self.storage.create("u")):
            for where in (
                {"method": "POST", "target": "uploads"}, {"method": "PUT", "target": "partNumber=1"},
                {"method": "POST", "target": "uploadId"},
            ):
                rule = self.proxy.add(status=200, body=PAGE, **where)
                writer = await begin()
                await writer.write([content(6 * MIB)])
                await self.fails(writer.commit("b"), Transient)
                await writer.abandon()
                self.assertEqual(rule.met, TRIES, where)
                rule.times = 0
                self.assertEqual(await self.storage.list(""), [])

    async def test_nothing_is_there(self) -> None:
        """An absent object has an answer of S3; this one says that nobody knows."""
        self.proxy.add(status=404, body=PAGE)
        for ask in (self.storage.get, self.storage.open, self.storage.stat):
            await self.fails(ask("k"), StoreUnavailable)


class ElsewhereTests(S3FaultCase):
    """F8: what is said to be a host of the store's domain may be none."""

    async def test_endpoint(self) -> None:
        other = FaultProxy(self.proxy.reactor).start()
        self.addCleanup(other.stop)
        other.add(status=200, body=b"stolen", headers={"Last-Modified": formatdate()})
        own = f"127.0.0.1:{self.proxy.port}"
        for mark in "/?#":
            where = f"<Endpoint>127.0.0.1:{other.port}{mark}.{own}</Endpoint>"
            rule = self.proxy.add(status=307, body=error("TemporaryRedirect", "", where))
            await self.fails(self.storage.get("k"), StoreUnavailable)
            self.assertEqual((rule.met, other.asked), (1, []))
            rule.times = 0


class ValueTests(S3FaultCase):
    async def test_dates(self) -> None:
        for when in ("", "soon", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "0"):
            headers = {"Last-Modified": when, "Date": when, "ETag": '"e"'}
            rules = [self.proxy.add(status=200, headers=headers, times=1),
                     self.proxy.add(status=403, headers=headers, body=error("RequestTimeTooSkewed"), times=1)]
            await self.fails(self.storage.stat("k"), StorageFailed)
            await self.fails(self.storage.get("k"), StoreUnavailable)
            self.assertEqual([rule.met for rule in rules], [1, 1])

    async def test_sessions(self) -> None:
        """Of an upload that others have been at."""
        runs = (
            b'[["r", 1, 1, 0, 0, 0]]', b'[["r", "1", 1, 0]]', b'[[1, 1, 1, 0]]', b'[["r", 1, 0, 0]]', b"[" * 100_000,
            b'[["r", 1, -1, 0]]', b'{"a": 1}', b'[["r", true, 1, 0]]',
        )
        cases = [(mark, b"[]") for mark in ("x", "1", "1 x", "-1 0", "1  0", "9" * 20 + " 0")]
        for mark, record in [*cases, *(("1 0", each) for each in runs)]:
            await self.storage.bucket.put(f"{self.settings.prefix}u", [record], mark)
            if (mark, record) in cases:
                await self.fails(self.storage.stat("u"), Damaged)
            await self.fails(self.storage.resume("u", 0), Damaged)
            await self.fails(self.storage.open("u"), Damaged)
        self.assertEqual(self.storage.budget.left, self.settings.memory)

    async def test_uploads_of_no_age(self) -> None:
        """A store that does not say when one was begun: somebody may be at it."""
        begun = "<Initiated>2026-01-01T00:00:00.000Z</Initiated>"
        key = f"{self.settings.prefix}b"

        def listed(when: str) -> bytes:
            upload = f"<Upload><Key>{key}</Key><UploadId>id</UploadId>{when}</Upload>"
            return f"<ListMultipartUploadsResult>{upload}</ListMultipartUploadsResult>".encode()

        none = b"<ListPartsResult><UploadId>id</UploadId></ListPartsResult>"
        new = none.replace(b"</L", b"<Part><LastModified>2026-03-01T00:00:00.000Z</LastModified></Part></L")
        before = 1771200000.0                   # in February
        for when, parts, count in (
            ("", none, 0), ("<Initiated>once</Initiated>", none, 0), (begun, none, 1), (begun, new, 0), ("", new, 0),
        ):
            rules = [self.proxy.add(target="uploads", status=200, body=listed(when), times=1),
                     self.proxy.add(target="uploadId", status=200, body=parts, times=1)]
            self.assertEqual(len(await self.storage.leftovers(before)), count, (when, parts))
            self.assertEqual([rule.met for rule in rules], [1, 1])


class MomentTests(SynchronousTestCase):
    def test_anything(self) -> None:
        self.assertEqual(moment("Fri, 24 May 2013 00:00:00 GMT"), 1369353600.0)
        for said in (None, "", " ", ",", "1 2 3 4 5", "1 Jan 10000 00:00:00 GMT", "1 Jan 2020 00:00:00 +99999999999"):
            self.assertIsNone(moment(said), said)
