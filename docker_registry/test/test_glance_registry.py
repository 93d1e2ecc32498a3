"""A registry over Glance on bad days: what clients are told, and what is there afterwards."""

from __future__ import annotations

import uuid
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from docker_registry.storage import retries
from docker_registry.storage.glance import diversion
from docker_registry.storage.http import Patience
from docker_registry.storage.keystone import Wanted
from docker_registry.test.clients.wire import Answer
from docker_registry.test.glance_case import GlanceStorageCase
from docker_registry.test.served import OCI_MANIFEST, Serving, digest_of
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
    patience = Patience(connect=0.5, first_byte=0.5, idle=0.5)

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

    def logged(self) -> str:
        return " ".join(str(failure.value) for failure in self.flushLoggedErrors())


class RefusalTests(RegistryCase):
    async def test_pushes(self) -> None:
        """Said to the client, and why in the log; nothing is diverted, and nothing acknowledged is lost."""
        before, answer = await self.push()
        answer.expect(201)
        for name, (what, status, said) in REFUSALS.items():
            self.proxy.rules.clear()
            self.proxy.add(target="/v2/images", **what)
            for way in ("put", "stream"):
                path, answer = await self.push(way)
                answer.expect(status)
                logged = self.logged()
                self.assertTrue(status == 507 or said in logged, (name, logged))
                (await self.call("HEAD", path)).expect(404)
            (await self.call("GET", before)).expect(200)
            self.assertEqual((self.storage.diversion.is_on, await self.storage.waiting()), (False, 0), name)


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
