"""A registry over a container, on its good days and its bad ones; what S3 has to pass this passes by the same tests."""

from __future__ import annotations

import hashlib
import json
import re
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, capturedLogs, formatEvent

from docker_registry.digest import Digest
from docker_registry.errors import StorageError
from docker_registry.leftovers import show
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.storage import layout
from docker_registry.storage.http import Http
from docker_registry.storage.swift import client
from docker_registry.test import test_s3_registry as s3
from docker_registry.test.clients.daemon import until
from docker_registry.test.clients.wire import Wrong
from docker_registry.test.hasty import Hasty, hanging
from docker_registry.test.served import OCI_MANIFEST, Serving, digest_of, manifest_of
from docker_registry.test.swift_case import MIB, SwiftFaultCase
from docker_registry.test.test_s3_registry import LAYER, S3RegistryCase

LATER = 1e12


class SwiftRegistryCase(SwiftFaultCase, Serving):
    """:ivar repository: of a registry whose store is behind the proxy; called in a thread."""

    call: Any = S3RegistryCase.call

    async def setUp(self) -> None:                          # type: ignore[override]
        super().setUp()
        self.storage = self.make(self.http())
        self.repository = await self.serve(self.storage)

    def http(self) -> Http | None:
        """That the store is asked by, if it is another one than usual."""
        return None


class CallTests(SwiftRegistryCase):
    """What a request costs."""

    test_pull_by_tag: Any = s3.CallTests.test_pull_by_tag
    test_pull_of_blobs: Any = s3.CallTests.test_pull_of_blobs
    def asked(self) -> list[str]:
        """But what becomes of notes: nobody waits for that."""
        return [each for each in s3.CallTests.asked(self) if not each.endswith("GROUP")]

    test_small: Any = s3.CallTests.test_small
    test_end_of_a_large_one: Any = s3.CallTests.test_end_of_a_large_one
    test_wrong_digest: Any = s3.CallTests.test_wrong_digest
    test_a_digest_that_was_wrong_can_be_said_right: Any = s3.CallTests.test_a_digest_that_was_wrong_can_be_said_right

    async def test_pushes(self) -> None:
        """Each byte is sent once, and none is copied, whoever says the digest when."""
        for push in (self.repository.push_post, self.repository.push_put, self.repository.push_stream):
            self.proxy.asked.clear()
            self.assertEqual((await deferToThread(push, digest_of(LAYER), LAYER)).status, 201)
            sent = self.proxy.seen("PUT", "/[.]segments/")
            self.assertEqual(sum(len(each.body) for each in sent), len(LAYER))
            self.assertEqual(hashlib.sha256(b"".join(
                each.body for each in sorted(sent, key=lambda each: each.target.replace("rest", "~"))
            )).hexdigest(), digest_of(LAYER)[7:])
            self.assertEqual([each for each in self.proxy.asked if "x-copy-from" in each.headers], [])
            got = await self.call("GET", f"blobs/{digest_of(LAYER)}")
            self.assertEqual(digest_of(got.body), digest_of(LAYER))
            await self.call("DELETE", f"blobs/{digest_of(LAYER)}")
            await self.storage.delete_tree("docker")
        self.assertEqual(await self.storage.leftovers(LATER), [])


class GoneTests(SwiftRegistryCase):
    """An operator empties or deletes the container while the registry runs."""

    async def setUp(self) -> None:                          # type: ignore[override]
        await super().setUp()
        self.store = replace(self.store, name=f"gone-{uuid.uuid4().hex}")
        self.settings = replace(self.settings, container=self.store.name)
        self.assertEqual(self.store.ask("PUT", f"/{self.store.name}")[0], 201)
        self.addCleanup(deferToThread, self.gone)
        self.storage = self.make()
        self.repository = await self.serve(self.storage)
        await deferToThread(self.push_image, self.repository, LAYER)

    def emptied(self) -> None:
        for name in self.store.names(""):
            self.store.ask("DELETE", f"/{self.store.name}/{quote(name)}")

    def gone(self) -> None:
        def is_gone() -> bool:
            self.emptied()                                  # lists may be late
            return self.store.ask("DELETE", f"/{self.store.name}")[0] in (204, 404)

        until(is_gone)

    async def test_emptied(self) -> None:
        """What is not there is 404, an upload that had begun as well; who pushes again has all of it again."""
        session = await deferToThread(self.repository.begin)
        await deferToThread(self.emptied)
        for path in ("manifests/latest", f"blobs/{digest_of(LAYER)}"):
            (await self.call("GET", path)).expect(404)
        answer = await deferToThread(self.repository.put, session, digest_of(b"1"), b"1")
        answer.expect(404)
        await self.is_as_before()

    async def test_deleted(self) -> None:
        """503 for all that needs it, with a line that says what to do; nothing is acknowledged. As soon as it is there
        again so is the registry."""
        session, blob = await deferToThread(self.repository.begin), f"blobs/{digest_of(LAYER)}"
        await deferToThread(self.gone)
        self.patch(client, "PROVED", 0.0)                   # seconds later
        with capturedLogs() as events:
            for method, path in (
                ("GET", "manifests/latest"), ("GET", blob), ("HEAD", blob), ("GET", "tags/list"),
                ("POST", "blobs/uploads/"), ("DELETE", "manifests/latest"),
            ):
                self.assertEqual((await self.call(method, path)).expect(503)["Retry-After"], "30")
            for answer in (
                await deferToThread(self.repository.put, session, digest_of(b"1"), b"1"),
                await deferToThread(self.repository.push_post, digest_of(b"1"), b"1"),
                await self.call("PUT", "manifests/latest", manifest_of(LAYER), ("Content-Type", OCI_MANIFEST)),
            ):
                answer.error(503, "UNAVAILABLE")
        told = [each for each in events if each["log_level"] > LogLevel.info]
        self.assertEqual({each["alert"] for each in told}, {"store unavailable"})
        for each in told:
            self.assertNotIn("log_failure", each)
            self.assertIn(f"container {self.store.name} does not exist: make it", formatEvent(each))
        self.assertEqual(self.store.ask("PUT", f"/{self.store.name}")[0], 201)
        await self.is_as_before()

    async def is_as_before(self) -> None:
        await deferToThread(self.push_image, self.repository, LAYER)
        (await self.call("GET", "manifests/latest", None, ("Accept", OCI_MANIFEST))).expect(200)
        self.assertEqual((await self.call("GET", f"blobs/{digest_of(LAYER)}")).expect(200).body, LAYER)


class BadDayTests(SwiftRegistryCase):
    check: Any = s3.BadDayTests.check
    test_a_store_that_sends_half: Any = s3.BadDayTests.test_a_store_that_sends_half

    async def test_busy_for_ever(self) -> None:
        await self.check(503, {"status": 503})

    async def test_cuts_every_connection(self) -> None:
        await self.check(503, {"refuse": True})

    async def test_refused_for_ever(self) -> None:
        """For a reason that none of ours has a name for."""
        await self.check(500, {"target": "/v1/", "status": 405})

    async def test_no_token_is_taken(self) -> None:
        await self.check(503, {"target": "/v1/", "status": 401})

    async def test_no_rights(self) -> None:
        await self.check(503, {"target": "/v1/", "status": 403})

    async def test_a_redirect_to_another_host(self) -> None:
        await self.check(503, {"target": "/v1/", "status": 307, "headers": {"Location": "http://127.0.0.2:1/"}})

    async def test_the_container_is_deleted(self) -> None:
        self.patch(client, "PROVED", 0.0)
        await self.check(503, {"target": "/v1/", "status": 404})

    async def test_answers_that_are_no_lists(self) -> None:
        for body in (b"", b"{", b'{"name": 1}', b"[1]", b'[{"name": 1}]', b'[{"name": "a", "last_modified": "then"}]',
                     b"[" * 100_000, b"\xff"):
            rule = self.proxy.add(method="GET", target="format=json", status=200, body=body)
            answer = await deferToThread(self.repository.wire, "GET", "/v2/shop/web/tags/list")
            self.assertEqual(answer.status, 503, body[:50])
            self.assertIn("errors", json.loads(answer.body))
            rule.times = 0

    async def test_a_token_that_ends_in_the_middle(self) -> None:
        """Of a push, and of a pull: nobody notices."""
        rule = self.proxy.add(method="PUT", target=".segments", times=2, skip=1, status=401)
        answer = await deferToThread(self.repository.push_stream, digest_of(LAYER), LAYER)
        self.assertEqual((answer.status, rule.met), (201, 2))
        rule = self.proxy.add(method="GET", target="blobs/sha256", times=1, status=401)
        got = await self.call("GET", f"blobs/{digest_of(LAYER)}")
        self.assertEqual((digest_of(got.body), rule.met), (digest_of(LAYER), 1))

    async def test_a_segment_that_is_changed_on_its_way(self) -> None:
        rule = self.proxy.add(method="PUT", target=".segments/[^/]*/000002", flip=1000)
        answer = await deferToThread(self.repository.push_put, digest_of(LAYER), LAYER)
        self.assertEqual((answer.status, rule.met), (500, 2))      # as it came, and when it was whole
        self.assertEqual((await self.call("HEAD", f"blobs/{digest_of(LAYER)}")).status, 404)
        self.assertEqual(await self.storage.leftovers(LATER), [])
        self.flushLoggedErrors(StorageError)

    async def test_segments_that_come_to_harm_while_they_are_sent(self) -> None:
        """Each of them is sent again, and nobody notices: whatever happened to the first try, the bytes are right."""
        faults: list[dict[str, Any]] = [
            {"flip": 1000}, {"status": 503}, {"status": 408}, {"status": 201}, {"refuse": True}, {"lose": True},
            {"status": 201, "headers": {"ETag": "0" * 32}},
        ]
        for fault in faults:
            for push in (self.repository.push_put, self.repository.push_stream):
                rule = self.proxy.add(method="PUT", target=".segments/[^/]*/00000[012]", times=1, **fault)
                answer = await deferToThread(push, digest_of(LAYER), LAYER)
                self.assertEqual((answer.status, rule.met), (201, 1), fault)
                got = await self.call("GET", f"blobs/{digest_of(LAYER)}")
                self.assertEqual((got.status, got.body == LAYER), (200, True), fault)
                await self.storage.delete(layout.blob(Digest.parse(digest_of(LAYER))))
        self.assertEqual(await self.storage.leftovers(LATER), [])

    async def test_wrong_key(self) -> None:
        """An operator is told once, and never the key."""
        storage = self.make(key="wrong/and+secret")
        other = await self.serve(storage)
        with capturedLogs() as events:
            for _ in range(3):
                answer = await deferToThread(other.call, "GET", "manifests/latest")
                self.assertEqual((answer.status, answer["Retry-After"]), (503, "30"))
        self.assertEqual(len(self.proxy.seen("GET", "/auth/")), 1)
        (told,) = [each for each in events if each.get("alert") == "login refused"]
        self.assertNotIn("log_failure", told)
        self.assertNotIn("wrong/and", " ".join(map(formatEvent, events)))
        said = str(await self.fails(storage.start(), StorageError))
        self.assertIn("cannot log in (the swift_ and os_ options say who): Swift's login at 127.0.0.1", said)

    async def test_quota(self) -> None:
        """A real one: what does not fit is refused, what is there can be read, and there is room again afterwards."""
        name = f"small-{uuid.uuid4().hex}"
        self.settings = replace(self.settings, container=name)
        storage = self.make()
        await storage.start()                   # makes the container
        self.store.ask("POST", f"/{name}", b"", X_Container_Meta_Quota_Bytes=str(MIB))
        repository = await self.serve(storage)
        await deferToThread(self.push_image, repository, b"layer")
        answer = await deferToThread(repository.push_put, digest_of(LAYER), LAYER)
        self.assertEqual(answer.status, 507)
        self.assertIn("errors", json.loads(answer.body))
        with self.assertRaisesRegex(Wrong, "PATCH .*: 507"):
            await deferToThread(repository.push_stream, digest_of(LAYER), LAYER)
        self.assertEqual((await deferToThread(repository.call, "GET", f"blobs/{digest_of(b'layer')}")).body, b"layer")
        self.store.ask("POST", f"/{name}", b"", X_Container_Meta_Quota_Bytes=str(1 << 40))
        self.assertEqual((await deferToThread(repository.push_put, digest_of(LAYER), LAYER)).status, 201)
        self.flushLoggedErrors(StorageError)


class SilentTests(SwiftRegistryCase):
    check: Any = s3.BadDayTests.check

    def http(self) -> Http:
        return Hasty(hanging(self.proxy))

    async def test_accepts_and_never_answers(self) -> None:
        await self.check(503, {"hang": True})


class SeveralTests(SwiftRegistryCase):
    """Two registries over one container."""

    test_share_a_session: Any = s3.SeveralTests.test_share_a_session
    test_write_to_one_session_at_once: Any = s3.SeveralTests.test_write_to_one_session_at_once
    test_see_each_others_images: Any = s3.SeveralTests.test_see_each_others_images

    async def setUp(self) -> None:                          # type: ignore[override]
        await super().setUp()
        self.other = await self.serve(self.make())


class LeftoverTests(SwiftRegistryCase):
    """Segments whose writer ended with its process (F5)."""

    async def leave_behind(self) -> None:
        upload = self.storage.large.upload(f"{self.settings.prefix}b")
        await upload.begin()
        await upload.part(0, [b"x" * 1000])

    def segments(self) -> list[str]:
        return [name for name in self.store.names(self.settings.prefix) if name.startswith(".segments/")]

    async def test_purged(self) -> None:
        """By a registry, when they are old enough."""
        await self.leave_behind()
        for later, left in ((0.0, 1), (Settings().upload_purge_age - 60, 1), (Settings().upload_purge_age + 60, 0)):
            now = time.time() + later
            registry = Registry(self.storage, self.runner, Clock(), Settings(), partial(float, now))
            self.assertEqual(await registry._purge.run(), 1 - left)
            self.assertEqual(len(self.segments()), left)

    async def test_command(self) -> None:
        await self.leave_behind()
        said: list[str] = []
        for before, remove in ((time.time() - 60, False), (time.time() + 60, False), (time.time() + 60, True)):
            await show(self.storage, before, remove, said.append)
        line = r"b \d{4}-\d\d-\d\d \d\d:\d\d [0-9a-f]{16}"
        for text, pattern in zip(said, (
            "0 found.*", f"found {line}", "1 found; --remove would remove them", f"removed {line}", "1 removed",
        ), strict=True):
            self.assertRegex(text, pattern)
        self.assertEqual(self.segments(), [])


class RedirectTests(SwiftRegistryCase):
    """Clients that read from the store themselves, by TempURLs."""

    test_v2: Any = s3.RedirectTests.test_v2
    test_v1: Any = s3.RedirectTests.test_v1

    async def setUp(self) -> None:                          # type: ignore[override]
        await super().setUp()
        self.name = f"links-{uuid.uuid4().hex}"
        self.settings = replace(self.settings, container=self.name, temp_url_key="s/e+c=ret")
        self.storage = self.make()
        await self.storage.start()
        self.repository = await self.serve(self.storage)

    async def test_signed_for_one_object(self) -> None:
        await self.storage.put("a", b"x")
        await self.storage.put("b", b"y")
        url = await self.storage.link("a")
        self.assertNotIn("s/e", url)
        for other in (re.sub("/a[?]", "/b?", url), re.sub(r"expires=\d", "expires=9", url)):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                await deferToThread(urllib.request.urlopen, other)
            self.assertEqual(caught.exception.code, 401)

    async def test_the_container_has_room_for_two_keys(self) -> None:
        other = self.make(settings=replace(self.settings, temp_url_key="two"))
        await other.start()
        for storage in (self.storage, other):
            await storage.put("a", b"x")
            url = await storage.link("a")
            self.assertEqual(await deferToThread(lambda: urllib.request.urlopen(url).read()), b"x")  # noqa: B023
        await other.start()
        third = self.make(settings=replace(self.settings, temp_url_key="three"))
        said = str(await self.fails(third.start(), StorageError))
        self.assertIn("the container has two other keys", said)
