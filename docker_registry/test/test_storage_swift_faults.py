"""A Swift that misbehaves, and a network between: what is tried again, what is not, and what comes of it."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

from twisted.logger import LogEvent, globalLogPublisher

from docker_registry.errors import NotFound, StorageError, StorageFailed, StorageFull, StoreUnavailable, Transient
from docker_registry.storage.objects.store import Refused
from docker_registry.storage.retries import TRIES
from docker_registry.storage.swift.client import LIMIT
from docker_registry.storage.swift.errors import BUSY, NoRights
from docker_registry.storage.tokens import LoginRefused
from docker_registry.test import test_storage_s3_faults as s3
from docker_registry.test.servers.faults import FaultProxy
from docker_registry.test.storage_contract import content
from docker_registry.test.swift_case import MIB, SwiftFaultCase
from docker_registry.test.test_storage_s3_faults import WHOLE

FIVE = content(5 * MIB)


class RetryTests(SwiftFaultCase):
    """F1: exactly what may be tried again is."""

    async def test_passing_faults(self) -> None:
        statuses: list[dict[str, Any]] = [{"status": status} for status in sorted(BUSY)]
        for fault in (*statuses, {"refuse": True}, {"lose": True}):
            rule = self.proxy.add(method="PUT", times=TRIES - 1, **fault)
            await self.storage.put("k", b"x")
            self.assertEqual(rule.met, TRIES - 1, fault)
            self.assertEqual(await self.storage.get("k"), b"x")

    async def test_for_ever(self) -> None:
        rule = self.proxy.add(target="/v1/", status=503)
        raised = await self.fails(self.storage.get("k"), Transient)
        self.assertIn("the store is busy: 503", str(raised))
        self.assertEqual(rule.met, TRIES)

    async def test_what_is_no_accident(self) -> None:
        await self.storage.put("k", b"x")
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        for status, kind in (
            (400, Refused), (403, NoRights), (404, StoreUnavailable), (409, Refused), (412, Refused), (422, Refused),
            (413, StorageFull), (507, StorageFull), (301, StoreUnavailable), (307, StoreUnavailable), (501, Refused),
        ):
            rule = self.proxy.add(method="PUT", times=TRIES, status=status)
            raised = await self.fails(self.storage.put("k", b"y"), kind)
            self.assertNotIsInstance(raised, Transient)
            self.assertEqual(rule.met, 1, status)
            rule.times = 0
        self.assertEqual(await self.storage.get("k"), b"x")
        self.assertEqual([each["alert"] for each in events if each.get("alert")], ["login refused"])

    async def test_other_bytes_are_there(self) -> None:
        """The store says success, and a tag that is not of what it was sent."""
        self.proxy.add(method="PUT", times=1, status=201, headers={"ETag": "0" * 32})
        raised = await self.fails(self.storage.put("k", b"x"), StorageFailed)
        self.assertIn("other bytes than it was sent", str(raised))

    async def test_to_another_host(self) -> None:
        """F8: the token goes nowhere else."""
        other = FaultProxy(self.proxy.reactor).start()
        self.addCleanup(other.stop)
        where = {"Location": f"http://127.0.0.1:{other.port}/k"}
        self.proxy.add(target="/v1/", status=307, headers=where)
        said = str(await self.fails(self.storage.get("k"), StoreUnavailable))
        self.assertIn(f"is elsewhere: http://127.0.0.1:{other.port}; set swift_storage_url if that is right", said)
        self.assertEqual(other.asked, [])


class LoginTests(SwiftFaultCase):
    async def test_busy(self) -> None:
        rule = self.proxy.add(target="/auth/", times=TRIES - 1, status=503)
        await self.storage.put("k", b"x")
        self.assertEqual(rule.met, TRIES - 1)

    async def test_what_it_says(self) -> None:
        for fault, kind, said in (
            ({"status": 401}, LoginRefused, "refuses the user or the key: 401; see swift_user"),
            ({"status": 404}, StoreUnavailable, "is none of version 1 at /auth/v1.0: it answers 404"),
            ({"status": 200}, StoreUnavailable, "is none of version 1"),
            ({"status": 200, "headers": {"X-Auth-Token": "t", "X-Storage-Url": "file:///etc"}}, StorageFailed, ""),
        ):
            storage = self.make()
            if "headers" in fault:
                storage.container.client._service._log_in._url = ""     # type: ignore[attr-defined]
            rule = self.proxy.add(target="/auth/", **fault)
            self.assertIn(said, str(await self.fails(storage.get("k"), kind)))
            rule.times = 0


class LateAnswerTests(SwiftFaultCase):
    """F2: that a list of segments is made is said after the success."""

    async def push(self) -> None:
        writer = await self.storage.create_direct("u", "b", len(FIVE))
        await writer.write([FIVE])
        try:
            await writer.commit("b")
        except BaseException:
            await writer.abandon()
            raise

    async def check(self, kind: type[Exception], times: int, body: bytes, said: str, left: int = 0) -> None:
        rule = self.proxy.add(method="PUT", target="multipart-manifest=put", status=202, body=body)
        self.assertIn(said, str(await self.fails(self.push(), kind)))
        self.assertEqual(rule.met, times, body)
        rule.times = 0
        await self.fails(self.storage.stat("b"), NotFound)
        found = await self.storage.leftovers(1e12)
        self.assertEqual([each.key for each in found], ["b"] * left)
        for each in found:
            await self.storage.remove_leftover(each)
        self.assertEqual((await self.storage.container.page(self.settings.prefix)).keys, [])

    async def test_busy(self) -> None:
        for body in (
            json.dumps({"Response Status": "503 Service Unavailable", "Errors": []}).encode(), b"", b"  \r\n\r\n",
            b'{"Response Sta', b'{"Response Status": "201', b"[]", b"{}",
        ):
            await self.check(Transient, TRIES, body, "", left=1)    # it may still become an object

    async def test_a_segment_is_not_there(self) -> None:
        errors = [["/c/.segments/x/000001", "404 Not Found"]]
        body = json.dumps({"Response Status": "400 Bad Request", "Errors": errors}).encode()
        await self.check(Refused, 1, b" \r\n" + body, "its segments: /c/.segments/x/000001 404 Not Found")

    async def test_made_and_not_heard_of(self) -> None:
        """What its list leads to stays, whatever further tries come to."""
        for fault in ({"refuse": True}, {"status": 413}):
            self.proxy.add(method="PUT", target="multipart-manifest=put", times=1, lose=True)
            self.proxy.add(method="PUT", target="multipart-manifest=put", **fault)
            await self.fails(self.push(), StorageError)
            self.proxy.rules.clear()
            self.assertEqual(await self.content("b"), FIVE)
            self.assertEqual(await self.storage.leftovers(1e12), [])
            await self.storage.delete("b")

    async def test_success(self) -> None:
        """Of the store itself; and of one that knows nothing of it."""
        await self.push()
        self.assertEqual(await self.content("b"), FIVE)


class TruncationTests(SwiftFaultCase):
    """F4: an answer that ends early is gone on with; an object that is made of segments as any other."""

    test_resumed: Any = s3.TruncationTests.test_resumed
    test_once_too_often: Any = s3.TruncationTests.test_once_too_often
    test_changed_meanwhile: Any = s3.TruncationTests.test_changed_meanwhile
    test_wrong_range: Any = s3.TruncationTests.test_wrong_range
    test_small_object: Any = s3.TruncationTests.test_small_object
    test_without_length: Any = s3.TruncationTests.test_without_length

    async def setUp(self) -> None:                          # type: ignore[override]
        super().setUp()
        writer = await self.storage.create_direct("u", "b", len(WHOLE))
        await writer.write([WHOLE])
        await writer.commit("b")
        await self.storage.large.tidied()
        head = await self.storage.container.head(f"{self.settings.prefix}b")
        self.assertTrue(head.is_large)
        self.tag = f'"{head.tag}"'
        self.proxy.asked.clear()


class InputTests(SwiftFaultCase):
    """What a store says is input (T43)."""

    async def test_longer_than_any_document(self) -> None:
        self.proxy.add(method="GET", target="format=json", status=200, body=b" " * (LIMIT + 1))
        await self.fails(self.storage.list("x"), StorageFailed)

    async def test_keys_that_are_none(self) -> None:
        prefix = self.settings.prefix
        names = ["../x", "/etc", "a//b", ".", "..", ".hidden", "ok", "a\n", ""]
        body = json.dumps([{"name": prefix + name, "last_modified": "2026-01-01T00:00:00.000000"} for name in names])
        self.proxy.add(method="GET", target="format=json", status=200, body=body.encode())
        self.assertEqual([entry.name for entry in await self.storage.list("")], ["ok"])

    async def test_error_texts_are_not_repeated(self) -> None:
        self.proxy.add(target="/v1/", status=400, body=b"\x1b[31m\r\n<script>" * 50)
        said = str(await self.fails(self.storage.get("k"), StorageError))
        self.assertEqual(said, f"container {self.settings.container} refuses: 400")

    async def test_without_a_time(self) -> None:
        self.proxy.add(target="/v1/", status=200, body=b"x")
        await self.fails(self.storage.get("k"), StorageFailed)

    async def test_times(self) -> None:
        """Of a store that has no times of its own beside HTTP's."""
        self.proxy.add(method="HEAD", status=200, headers={"Last-Modified": formatdate(1e9, usegmt=True)})
        self.assertEqual((await self.storage.stat("k")).modified, 1e9)
