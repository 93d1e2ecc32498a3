"""A registry over Glance on bad days: what clients are told, and what is there afterwards."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, capturedLogs, formatEvent

from docker_registry.deferreds import outcomes
from docker_registry.digest import Digest
from docker_registry.errors import OutageKnown, StoreUnavailable
from docker_registry.storage import layout, retries
from docker_registry.storage.glance import diversion
from docker_registry.storage.http import Http, Patience
from docker_registry.storage.keystone import Wanted
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.retries import Retries
from docker_registry.test.clients.wire import Answer
from docker_registry.test.glance_case import GlanceStorageCase, reactor
from docker_registry.test.hasty import Hasty, Time, hanging
from docker_registry.test.served import OCI_MANIFEST, Serving, digest_of, manifest_of
from docker_registry.test.storage_contract import content

QUOTA = b"<html><head><title>413</title></head><body><h1>413</h1>The size of the data exceeds the quota</body></html>"
PROPERTIES = b"The limit has been exceeded on the number of allowed image properties. Attempted: 129, Maximum: 128"

REFUSALS: dict[str, tuple[dict[str, Any], int, str]] = {
    # what Glance does; what a push is answered; what the log says of it
    "quota": ({"method": "PUT", "status": 413, "body": QUOTA}, 507, "exceeds the quota"),
    "quota, forbidden": ({"method": "PUT", "status": 403, "body": QUOTA}, 507, "exceeds the quota"),
    "images": ({"method": "POST", "status": 413, "body": b"Request exceeds the limit image_count_total"}, 507,
               "image_count_total"),
    "properties": ({"method": "POST", "status": 413, "body": PROPERTIES}, 500, "raise image_property_quota"),
    "role": ({"method": "POST", "status": 403, "body": b"You are not authorized"}, 500, "does the login have the role"),
    "schema": ({"method": "POST", "status": 400, "body": b"Invalid"}, 500, "Glance refused: 400 Invalid"),
}

FAILURES: dict[str, dict[str, Any]] = {
    "500 for ever": {"status": 500},
    "503": {"status": 503},
    "busy": {"status": 429},
    "cut off": {"refuse": True},
    "silent": {"hang": True},
    "answers lost": {"lose": True},
    "elsewhere": {"status": 302, "headers": {"Location": "http://elsewhere.example/v2/images"}},
    "no token taken": {"status": 401},
}


class RegistryCase(GlanceStorageCase, Serving):
    async def setUp(self) -> None:                              # type: ignore[override]
        self.patch(diversion, "FIRST", 0.1)
        self.patch(diversion, "LONGEST", 0.2)
        self.patch(retries, "TRIES", 2)
        await super().setUp()
        self.repository = await self.serve(self.storage)
        self.service: Any = self.storage._shelf._images._service

    def call(self, *args: Any) -> Deferred[Answer]:
        return deferToThread(self.repository.call, *args)

    async def push(self, way: str = "put") -> tuple[str, Answer]:
        """A blob that nobody has pushed: its path, and the answer."""
        whole = content(300_000) + uuid.uuid4().bytes
        answer = await deferToThread(self.repository.ways[way], digest_of(whole), whole)
        return f"blobs/{digest_of(whole)}", answer


class RefusalTests(RegistryCase):
    async def test_pushes(self) -> None:
        """Said to the client, and why in the log; nothing is diverted, and nothing acknowledged is lost."""
        before, answer = await self.push()
        answer.expect(201)
        for name, (what, status, said) in REFUSALS.items():
            self.proxy.rules.clear()
            self.proxy.add(target="/v2/images", **what)
            for way in ("put", "stream"):
                with capturedLogs() as events:
                    path, answer = await self.push(way)
                answer.expect(status)
                (told,) = [each for each in events if each["log_level"] > LogLevel.info]
                self.assertIn(said, formatEvent(told), name)
                self.assertEqual(told["alert"], "storage full" if status == 507 else "store refused")
                self.assertNotIn("log_failure", told)
                (await self.call("HEAD", path)).expect(404)
            (await self.call("GET", before)).expect(200)
            self.assertEqual((self.storage.diversion.is_on, await self.storage.waiting()), (False, 0), name)


class DeactivatedTests(RegistryCase):
    """By an operator, for real (F13)."""

    async def setUp(self) -> None:                              # type: ignore[override]
        await super().setUp()
        self.path, _ = await self.push()
        self.key = layout.blob(Digest.parse(self.path.removeprefix("blobs/")))
        self.image = await self.image_of(self.key)
        self.admin = self.images(username="admin", password="admin", project_name="admin")
        await self.act("deactivate")

    async def act(self, action: str) -> None:
        answer = await self.admin._service.request("POST", f"/v2/images/{self.image}/actions/{action}", {}, [])
        self.assertEqual(answer.status, 204)
        answer.close()

    async def test_pulls(self) -> None:
        """A line each that says what to do, no traceback, and mails of one kind; then it is served again."""
        with capturedLogs() as events:
            for method in ("GET", "HEAD", "GET"):
                answer = (await self.call(method, self.path)).expect(503)
                if method == "GET":
                    self.assertIn(b"out of service", answer.error(503, "UNAVAILABLE").body)
        told = [each for each in events if each["log_level"] >= LogLevel.warn]
        self.assertEqual({each["alert"] for each in told}, {"content out of service"})
        self.assertEqual(len(told), 3)
        for each in told:
            self.assertNotIn("log_failure", each)
            self.assertIn(f"openstack image set --activate {self.image} brings it back", formatEvent(each))
        self.assertFalse(self.storage.diversion.is_on)
        await self.act("reactivate")
        for method in ("GET", "HEAD"):
            (await self.call(method, self.path)).expect(200)

    async def test_pushed_again_while_glance_fails(self) -> None:
        """What the alternate store has is served from there, and moved to an image of its own."""
        whole = content(300_000) + uuid.uuid4().bytes
        path, key = f"blobs/{digest_of(whole)}", layout.blob(Digest.of(whole))
        (await deferToThread(self.repository.push_put, digest_of(whole), whole)).expect(201)
        self.image = await self.image_of(key)
        rule = self.proxy.add(refuse=True)
        (await deferToThread(self.repository.push_put, digest_of(whole), whole)).expect(201)
        self.assertTrue(await self.is_diverted(key))
        rule.times = 0
        await self.storage.diversion.over()
        await self.act("deactivate")
        self.assertEqual((await self.call("GET", path)).expect(200).body, whole)
        self.assertEqual(await self.storage.moving.round(), 1)
        self.assertFalse(await self.is_diverted(key))
        self.assertEqual((await self.call("GET", path)).expect(200).body, whole)


class HangingTests(RegistryCase):
    """Glance takes requests and answers none; it is not tried again soon. As in life nobody who had no answer asks
    again: there is no time left."""

    async def setUp(self) -> None:                              # type: ignore[override]
        self.time = Time()
        await super().setUp()
        self.patch(diversion, "FIRST", 600)

    def http(self) -> Http:
        return self.closed(Hasty(hanging(self.proxy, self.keystone), skip=self.time.skip))

    def retries(self) -> Retries:
        return Retries(self.time, lambda low, high: 0.0)

    async def test_one_wait_for_the_first_push(self) -> None:
        """Whatever it is that waits, nobody does so twice; later ones do not at all."""
        for name, way, method, target in (
            ("a session", "stream", "POST", r"/v2/images$"), ("all at once", "post", "POST", r"/v2/images$"),
            ("its bytes", "put", "PUT", "/file$"), ("what Glance has", "stream", "GET", ""),
            ("whose it is", "stream", "PATCH", ""),
        ):
            self.alternate = LocalStorage(Path(self.mktemp()), self.runner, reactor, sync=False)
            self.storage = await self.make()
            self.repository = await self.serve(self.storage)
            rule = self.proxy.add(method=method, target=target, hang=True)
            path, answer = await self.push(way)
            answer.expect(201)
            self.assertEqual((rule.met, self.storage.diversion.is_on), (1, True), name)
            rule.times = 0
            await self.is_not_asked(path)

    async def test_one_wait_for_a_manifest(self) -> None:
        """One that was there before, and that Glance is asked about."""
        await deferToThread(self.push_image, self.repository, b"layer")
        rule = self.proxy.add(hang=True)
        manifest = manifest_of(b"layer")
        (await self.call("PUT", "manifests/latest", manifest, ("Content-Type", OCI_MANIFEST))).expect(201)
        self.assertEqual((rule.met, self.storage.diversion.is_on), (1, True))
        path, _ = await self.push()
        await self.is_not_asked(path)

    async def test_one_wait_for_a_pull(self) -> None:
        """Of what only Glance has."""
        path, _ = await self.push()
        rule = self.proxy.add(hang=True)
        for method in ("GET", "HEAD", "GET"):
            (await self.call(method, path)).expect(200 if method == "HEAD" else 503)
        self.assertEqual(rule.met, 1)

    async def is_not_asked(self, path: str) -> None:
        await self.until(lambda: not self.storage._shelf._discarding)
        self.proxy.asked.clear()
        for way in ("put", "stream", "post"):
            (await self.push(way))[1].expect(201)
        (await self.call("GET", path)).expect(200)
        self.assertEqual(self.proxy.asked, [])


class WaitingTests(RegistryCase):
    """Those who wait for Glance when somebody else finds out that it fails."""

    def http(self) -> Http:
        return self.closed(Http(reactor, patience=Patience(connect=5, first_byte=600, idle=600)))

    async def test_nobody_goes_on_waiting(self) -> None:
        self.patch(diversion, "FIRST", 600)
        self.patch(retries, "SECONDS", 600)
        key = await self.commit(content(300_000) + uuid.uuid4().bytes)
        wholes = [content(100_000 + size) + uuid.uuid4().bytes for size in range(3)]
        keys = [layout.blob(Digest.of(whole)) for whole in wholes]
        rule = self.proxy.add(hang=True)
        self.storage._shelf._sure.clear()
        waiting: list[Deferred[Any]] = [
            self.storage.open(key), self.storage.stat(key), self.storage.put(keys[0], wholes[0]),
            Deferred.fromCoroutine(self.commit(wholes[1])), Deferred.fromCoroutine(self.direct(wholes[2])),
        ]
        await self.until(lambda: rule.met == len(waiting))
        self.assertEqual([each.called for each in waiting], [False] * len(waiting))
        self.storage.diversion.failed(StoreUnavailable("as somebody else was told"))
        opened, stat, *_ = await outcomes(*waiting)
        self.assertIsInstance(opened, OutageKnown)
        self.assertGreater(stat.size, 300_000)
        for each, whole in zip(keys, wholes, strict=True):
            self.assertEqual(await self.content(each), whole)


class MovingTests(RegistryCase):
    async def test_the_alternate_store_fails(self) -> None:
        """While something is moved: that is what is said, and not that Glance does."""
        rule = self.proxy.add(refuse=True)
        path, _ = await self.push()
        rule.times = 0
        await self.storage.diversion.over()
        patched = self.patch(self.alternate, "stat", lambda key: fail(StoreUnavailable("bucket b does not exist")))
        with capturedLogs() as events:
            self.storage.moving.begin()
            await self.until(lambda: any(each.get("alert") for each in events))
            self.storage.moving.stop()
        (told,) = [each for each in events if each.get("alert")]
        self.assertEqual((told["alert"], self.storage.diversion.is_on), ("storage_alternate fails", False))
        self.assertRegex(formatEvent(told), "storage_alternate fails, .* bucket b does not exist")
        patched.restore()
        (await self.call("GET", path)).expect(200)


class DistantTests(RegistryCase):
    async def test_small_blobs(self) -> None:
        """Those that are asked for often are read once, and are there while Glance fails."""
        small, whole = b"a configuration", content(300_000)
        for each in (small, whole):
            (await deferToThread(self.repository.push_put, digest_of(each), each)).expect(201)
        self.proxy.asked.clear()
        for each in (small, whole) * 3:
            self.assertEqual((await self.call("GET", f"blobs/{digest_of(each)}")).expect(200).body, each)
        self.assertEqual(len(self.proxy.seen("GET", "/file$")), 1 + 3)
        self.proxy.add(refuse=True)
        (await self.call("GET", f"blobs/{digest_of(small)}")).expect(200)
        (await self.call("GET", f"blobs/{digest_of(whole)}")).expect(503)


class FailureTests(RegistryCase):
    async def test_pushes_and_pulls(self) -> None:
        """Pushes go on; what only Glance has is 503; afterwards all of it is there, and in Glance."""
        await deferToThread(self.push_image, self.repository, b"layer")
        before, _ = await self.push()
        for name, what in FAILURES.items():
            await self.fails_and_comes_back(name, before, self.proxy, **what)

    async def test_keystone(self) -> None:
        """Down, refusing, and nonsense: as good as a Glance that fails, once the token has ended."""
        before, answer = await self.push()
        answer.expect(201)
        for name, what in (
            ("500", {"status": 500}), ("refused", {"status": 401}), ("no role", {"status": 403}),
            ("silent", {"hang": True}),
            ("no catalogue", {"status": 201, "headers": {"X-Subject-Token": "t"}, "body": (
                b'{"token": {"catalog": [{"type": "identity", "endpoints": []}], "issued_at": "2026-01-01T00:00:00Z", '
                b'"expires_at": "2026-01-01T01:00:00Z"}}'
            )}),
        ):
            self.service._log_in._wanted = Wanted("image", url="" if name == "no catalogue" else self.url)
            self.service._access = None
            await self.fails_and_comes_back(name, before, self.keystone, **what)

    async def fails_and_comes_back(self, name: str, before: str, proxy: Any, **what: Any) -> None:
        rule = proxy.add(**what)
        pushed = [await self.push(way) for way in ("put", "stream")]
        for path, answer in pushed:
            answer.expect(201)
            (await self.call("GET", path)).expect(200)
        self.assertTrue(self.storage.diversion.is_on, name)
        (await self.call("GET", before)).error(503, "UNAVAILABLE")
        (await self.call("HEAD", before)).expect(200)
        (await self.call("GET", "manifests/latest", None, ("Accept", OCI_MANIFEST))).expect(200, 404, 503)
        self.assertEqual(await self.storage.waiting(), 2, name)
        proxy.rules.remove(rule)
        self.service._log_in._wanted = Wanted("image", url=self.url)
        self.service._again = 0.0                               # a login that was refused is left alone for a while
        await self.storage.diversion.over()
        self.assertEqual(await self.storage.moving.round(), 2, name)
        for path in (before, *(path for path, _ in pushed)):
            (await self.call("GET", path)).expect(200)
