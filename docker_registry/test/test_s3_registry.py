"""A registry over a bucket, on its good days and its bad ones: what clients are told, and what is there afterwards."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import time
import urllib.request
from functools import partial
from http.client import IncompleteRead
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

from docker_registry import names
from docker_registry.deferreds import deferred, together
from docker_registry.digest import Digest
from docker_registry.errors import NotFound, StorageError
from docker_registry.leftovers import show
from docker_registry.names import UploadId
from docker_registry.registry.blobs import SMALL
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.storage import layout
from docker_registry.storage.http import Patience
from docker_registry.storage.s3.links import Presigned
from docker_registry.test.clients.pushing import OCTETS, Repository
from docker_registry.test.clients.wire import Answer
from docker_registry.test.s3_case import MIB, SHORT, S3FaultCase
from docker_registry.test.served import Serving, digest_of
from docker_registry.test.servers.stores import swift
from docker_registry.test.storage_contract import content
from docker_registry.test.test_storage_s3_faults import error

LAYER = content(12 * MIB)


class S3RegistryCase(S3FaultCase, Serving):
    """:ivar repository: of a registry whose store is behind the proxy; called in a thread."""

    async def setUp(self) -> None:                          # type: ignore[override]
        super().setUp()
        self.storage = self.make()
        self.repository = await self.serve(self.storage)

    def call(self, *args: Any) -> Deferred[Answer]:
        return deferToThread(self.repository.call, *args)


class CallTests(S3RegistryCase):
    """What a request costs."""

    async def test_pull_by_tag(self) -> None:
        """A manifest that is in memory: one request, for what the tag says now."""
        await deferToThread(self.push_image, self.repository, b"layer")
        self.calls()
        for _ in range(2):
            answer = await self.call("GET", "manifests/latest")
            self.assertEqual(answer.status, 200)
            self.assertEqual(len(self.calls()), 1)
        answer = await self.call("HEAD", "manifests/latest")
        self.assertEqual((answer.status, len(self.calls())), (200, 1))
        answer = await self.call("GET", f"manifests/{answer['Docker-Content-Digest']}")
        self.assertEqual((answer.status, len(self.calls())), (200, 1))

    async def test_pull_of_blobs(self) -> None:
        """One request for the blob and one for the link; the link's is spared when it was asked for a moment ago, the
        blob's when it is small and was read before."""
        large = content(SMALL + 1)
        for belief, again in ((0.0, 1), (5.0, 0)):
            self.repository = await self.serve(self.storage, link_belief=belief)
            await deferToThread(self.push_image, self.repository, b"layer", large)
            self.calls()
            for whole, gets in ((b"layer", [1, 0]), (large, [1, 1])):
                for get, head in zip(gets, [1, again], strict=True):
                    answer = await self.call("GET", f"blobs/{digest_of(whole)}")
                    self.assertEqual((answer.status, answer.body), (200, whole))
                    calls = self.calls()
                    counts = [len([call for call in calls if call.startswith(method)]) for method in ("GET", "HEAD")]
                    self.assertEqual(counts, [get, head])
                part = await self.call("GET", f"blobs/{digest_of(whole)}", None, ("Range", "bytes=1-3"))
                self.assertEqual((part.status, part.body), (206, whole[1:4]))
                self.calls()
            path = f"blobs/{digest_of(b'layer')}"
            manifest = (await self.call("HEAD", "manifests/latest"))["Docker-Content-Digest"]
            self.assertEqual((await self.call("DELETE", f"manifests/{manifest}")).status, 202)
            self.assertEqual((await self.call("DELETE", path)).status, 202)
            self.assertEqual((await self.call("GET", path)).status, 404)

    async def test_small_and_damaged(self) -> None:
        """What is kept is what the digest says; what is not is put away, and the next push heals it (C7)."""
        await deferToThread(self.push_image, self.repository, b"layer")
        key = layout.blob(Digest.parse(digest_of(b"layer")))
        await self.storage.put(key, b"rotten")
        path = f"blobs/{digest_of(b'layer')}"
        self.assertEqual((await self.call("GET", path)).status, 404)
        await self.fails(self.storage.stat(key), NotFound)
        await deferToThread(self.repository.push_put, digest_of(b"layer"), b"layer")
        self.assertEqual((await self.call("GET", path)).body, b"layer")

    async def test_digest_first(self) -> None:
        """Sent once, and straight to its place."""
        for push in (self.repository.push_post, self.repository.push_put):
            answer = await deferToThread(push, digest_of(LAYER), LAYER)
            self.assertEqual(answer.status, 201)
            calls = self.calls()
            self.assertEqual(len([call for call in calls if "partNumber" in call]), 3)
            self.assertEqual([call for call in calls if "copy" in call], [])
            self.assertFalse([call for call in calls if re.match("PUT .*_uploads.*/data", call)])

    async def test_digest_last(self) -> None:
        answer = await deferToThread(self.repository.push_stream, digest_of(LAYER), LAYER)
        self.assertEqual(answer.status, 201)
        self.assertTrue([call for call in self.calls() if "copy" in call])
        got = await self.call("GET", f"blobs/{digest_of(LAYER)}")
        self.assertEqual(hashlib.sha256(got.body).hexdigest(), hashlib.sha256(LAYER).hexdigest())
        self.assertEqual(await self.storage.list("docker/registry/v2/repositories/shop/web/_uploads"), [])

    def asked(self) -> list[str]:
        """What was asked since the last call of this, each as method and last part of the key."""
        return [re.sub(r"(\S+) .*?([^/.]*)(?: .*)?$", r"\1 \2", call) for call in self.calls()]

    async def test_small(self) -> None:
        """The session; whether it still stands while the blob is stored; the link while the session goes. Whoever sends
        the bytes first has them in the session meanwhile."""
        await deferToThread(self.repository.begin)
        self.calls()
        (await deferToThread(self.repository.push_post, digest_of(b"post"), b"post")).expect(201)
        self.assertEqual(self.asked(), ["PUT data", "PUT link"])
        (await deferToThread(self.repository.push_put, digest_of(b"put"), b"put")).expect(201)
        asked = self.asked()
        self.assertEqual([asked[0], sorted(asked[1:3]), sorted(asked[3:])],
                         ["PUT state", ["GET state", "PUT data"], ["DELETE state", "PUT link"]])
        (await deferToThread(self.repository.push_stream, digest_of(b"stream"), b"stream")).expect(201)
        asked = self.asked()
        self.assertEqual(asked[:5], ["PUT state", "GET state", "PUT state", "GET state", "PUT data"])
        self.assertEqual(sorted(asked[5:]), ["DELETE state", "PUT link"])

    async def test_end_of_a_large_one(self) -> None:
        """When the blob is there, nothing is asked of what its bytes were written to."""
        for push in (self.repository.push_put, self.repository.push_stream):
            self.calls()
            (await deferToThread(push, digest_of(LAYER), LAYER)).expect(201)
            self.assertEqual(sorted(self.asked()[-2:]), ["DELETE state", "PUT link"])
            self.assertEqual(await self.storage.list("docker/registry/v2/repositories/shop/web/_uploads"), [])

    async def test_wrong_digest(self) -> None:
        """Nothing is published, and nothing is left."""
        wrong = digest_of(b"another")
        for push in (self.repository.push_post, self.repository.push_put, self.repository.push_stream):
            self.assertEqual((await deferToThread(push, wrong, LAYER)).status, 400)
            self.assertEqual((await self.call("HEAD", f"blobs/{wrong}")).status, 404)
        self.assertEqual(await self.storage.leftovers(1e12), [])
        self.assertEqual(self.storage.budget.left, self.settings.memory)

    async def test_a_digest_that_was_wrong_can_be_said_right(self) -> None:
        """The session stays, from the beginning."""

        def work() -> None:
            session = self.repository.begin()
            self.repository.put(session, digest_of(b"another"), LAYER).expect(400)
            self.repository.wire("GET", session["Location"]).expect(204, Range="0-0")
            self.repository.put(session, digest_of(LAYER), LAYER).expect(201)

        await deferToThread(work)


class BadDayTests(S3RegistryCase):
    async def check(self, status: int, *faults: dict[str, Any]) -> None:
        """Pulls and pushes are answered so; what needs no store is answered as ever; then all is as it was."""
        await deferToThread(self.push_image, self.repository, b"layer")
        session = await deferToThread(self.repository.begin)
        part = await deferToThread(self.repository.patch, session, 0, LAYER[: 6 * MIB])
        rules = [self.proxy.add(**fault) for fault in faults]
        if any(rule.hang for rule in rules):
            self.storage._http.patience = SHORT
        requests: list[tuple[Any, ...]] = [
            ("GET", "manifests/latest"), ("HEAD", f"blobs/{digest_of(b'layer')}"),
            ("GET", f"blobs/{digest_of(b'layer')}"), ("POST", "blobs/uploads/", b""),
            ("POST", f"blobs/uploads/?digest={digest_of(b'x')}", b"x", OCTETS),
            ("GET", "tags/list"),
        ]
        with capturedLogs() as events:
            for request in requests:
                answer = await self.call(*request)
                self.assertEqual(answer.status, status, request)
                if status == 503:
                    self.assertEqual(answer["Retry-After"], "30")
                if request[0] != "HEAD":
                    self.assertIn("errors", json.loads(answer.body))
            patched = await deferToThread(self.repository.wire, "PATCH", part["Location"], LAYER[6 * MIB :], OCTETS)
        self.assertEqual(patched.status, status)
        kind = {503: "store unavailable", 500: "store refused"}[status]
        self.assertEqual(self.mailed(events) - {"login refused"}, {kind})
        asked = len(self.proxy.asked)
        for path in ("/v2/", "/v1/_ping"):
            self.assertEqual((await deferToThread(self.plain, "GET", path)).status, 200)
        self.assertEqual(len(self.proxy.asked), asked, "the store is not asked for that")
        for rule in rules:
            rule.times = 0
        self.storage._http.patience = Patience()

        def recover() -> None:
            state = self.repository.wire("GET", part["Location"]).expect(204, Range=f"0-{6 * MIB - 1}")
            last = self.repository.patch(state, 6 * MIB, LAYER[6 * MIB :])
            self.repository.put(last, digest_of(LAYER)).expect(201)
            self.repository.call("GET", "manifests/latest").expect(200)

        await deferToThread(recover)
        got = await self.call("GET", f"blobs/{digest_of(LAYER)}")
        self.assertEqual(digest_of(got.body), digest_of(LAYER))

    async def test_refused_for_ever(self) -> None:
        """For a reason that none of ours has a name for."""
        await self.check(500, {"status": 400, "body": error("UnauthorizedAccess", "pay your bill")})

    async def test_slow_down_for_ever(self) -> None:
        await self.check(503, {"status": 503, "body": error("SlowDown")})

    async def test_accepts_and_never_answers(self) -> None:
        await self.check(503, {"hang": True})

    async def test_cuts_every_connection(self) -> None:
        await self.check(503, {"refuse": True})

    async def test_wrong_keys(self) -> None:
        await self.check(503, {"status": 403, "body": error("InvalidAccessKeyId")})

    async def test_wrong_region(self) -> None:
        await self.check(503, {"status": 301, "body": error("PermanentRedirect")})

    async def test_a_redirect_to_another_host(self) -> None:
        where = {"Location": "http://127.0.0.2:1/"}
        await self.check(503, {"status": 307, "headers": where, "body": error("TemporaryRedirect")})

    async def test_no_bucket_any_more(self) -> None:
        await self.check(503, {"method": "HEAD", "status": 404}, {"status": 404, "body": error("NoSuchBucket")})

    async def test_bombs(self) -> None:
        bomb = b'<!DOCTYPE a [<!ENTITY x "y">]><ListBucketResult>&x;</ListBucketResult>'
        self.proxy.add(method="GET", target="list-type", status=200, body=bomb)
        for path in ("/v2/_catalog", "/v2/shop/web/tags/list"):
            answer = await deferToThread(self.repository.wire, "GET", path)
            self.assertEqual(answer.status, 503)
            self.assertIn("errors", json.loads(answer.body))

    async def test_a_store_that_sends_half(self) -> None:
        """The rest is fetched; if that does not come the client is cut off, and never told that it is whole."""
        await deferToThread(self.repository.push_put, digest_of(LAYER), LAYER)
        rule = self.proxy.add(method="GET", target="blobs/sha256", times=2, cut=4 * MIB)
        got = await self.call("GET", f"blobs/{digest_of(LAYER)}")
        self.assertEqual(digest_of(got.body), digest_of(LAYER))
        rule.times = 1 << 30
        rule.cut = MIB
        with capturedLogs() as events, self.assertRaises((IncompleteRead, ConnectionError)):
            await self.call("GET", f"blobs/{digest_of(LAYER)}")
        self.assertEqual(self.mailed(events), {"store unavailable"})


class SeveralTests(S3RegistryCase):
    """Two registries over one bucket."""

    async def setUp(self) -> None:                          # type: ignore[override]
        await super().setUp()
        self.other = await self.serve(self.make())

    async def test_share_a_session(self) -> None:
        """Each request to the other one; the hash is computed again, of what is in the store."""

        def work() -> None:
            session = self.repository.begin()
            for at, registry in ((0, self.repository), (5 * MIB, self.other), (10 * MIB, self.repository)):
                session = registry.patch(session, at, LAYER[at : at + 5 * MIB])
            self.other.wire("GET", session["Location"]).expect(204, Range=f"0-{len(LAYER) - 1}")
            self.other.put(session, digest_of(LAYER)).expect(201)
            got = self.repository.call("GET", f"blobs/{digest_of(LAYER)}").expect(200)
            self.assertEqual(digest_of(got.body), digest_of(LAYER))

        await deferToThread(work)

    async def test_write_to_one_session_at_once(self) -> None:
        """Whatever each is told, what is published under a digest has it (B2)."""
        session = await deferToThread(self.repository.begin)
        a, b = b"a" * (6 * MIB), b"b" * (6 * MIB)

        def patch(registry: Repository, body: bytes) -> int:
            return registry.wire("PATCH", session["Location"], body, OCTETS).status

        statuses = await together(
            deferToThread(patch, self.repository, a), deferToThread(patch, self.other, b)
        )
        self.assertIn(202, statuses)

        def finish() -> None:
            for registry in (self.repository, self.other):
                for whole in (a, b, a + b, b + a):
                    registry.put(session, digest_of(whole))
            for whole in (a, b, a + b, b + a):
                got = self.repository.call("GET", f"blobs/{digest_of(whole)}")
                if got.status == 200:
                    self.assertEqual(digest_of(got.body), digest_of(whole))

        await deferToThread(finish)
        self.flushLoggedErrors(StorageError)

    async def write_meanwhile(self, session: Answer, whole: bytes) -> None:
        """What another daemon has made durable, and not yet said so in the state."""
        upload = UploadId.parse(session["Docker-Upload-UUID"] or "")
        writer = await self.make().create(layout.upload_data(names.Repository.parse("shop/web"), upload))
        await writer.write([whole])
        await writer.sync()
        await writer.close()

    async def test_others_bytes_are_not_taken_for_ours(self) -> None:
        """Between two requests (B2): there are as many, and the hash of ours is known."""
        ours, theirs = content(6 * MIB), b"b" * (6 * MIB)
        session = await deferToThread(self.repository.begin)
        await deferToThread(self.repository.patch, session, 0, ours)
        await self.write_meanwhile(session, theirs)
        status = await deferToThread(self.repository.wire, "GET", session["Location"])
        self.assertEqual((status.status, status["Range"]), (204, "0-0"))
        put = await deferToThread(self.repository.put, session, digest_of(ours))
        self.assertEqual((put.status, (await self.call("HEAD", f"blobs/{digest_of(ours)}")).status), (400, 404))

    async def test_others_bytes_come_while_we_look(self) -> None:
        """The request that was too late is told that it begins where nothing stands."""
        ours, theirs = content(6 * MIB), b"b" * (6 * MIB)
        session = await deferToThread(self.repository.begin)
        await deferToThread(self.repository.patch, session, 0, ours)
        resume = self.storage.resume

        @deferred
        async def too_late(key: str, offset: int) -> Any:
            await self.write_meanwhile(session, theirs)
            return await resume(key, offset)

        self.patch(self.storage, "resume", too_late)
        digest = digest_of(ours + b"end")
        put = await deferToThread(self.repository.put, session, digest, b"end")
        self.assertEqual((put.status, (await self.call("HEAD", f"blobs/{digest}")).status), (416, 404))

    async def test_see_each_others_images(self) -> None:
        for _ in range(2):
            digest = await deferToThread(self.push_image, self.repository, b"layer")
            answer = await deferToThread(self.other.call, "GET", "manifests/latest")
            self.assertEqual((answer.status, answer["Docker-Content-Digest"]), (200, digest))
            self.repository, self.other = self.other, self.repository
        await deferToThread(self.repository.call, "DELETE", "manifests/latest")
        self.assertEqual((await deferToThread(self.other.call, "GET", "manifests/latest")).status, 404)


class LeftoverTests(S3RegistryCase):
    """Halves of objects whose writer ended with its process (F5)."""

    store = staticmethod(swift)

    async def test_purged(self) -> None:
        """By a registry, when they are old enough; those of others, and younger ones, stay."""
        bucket = self.storage.bucket
        key = f"{self.settings.prefix}{layout.blob(Digest.parse(digest_of(LAYER)))}"
        upload = await bucket.begin(key)
        await bucket.part(key, upload, 1, [LAYER[: 5 * MIB]])
        elsewhere = await bucket.begin("elsewhere/b")
        for later, left in ((0.0, 1), (Settings().upload_purge_age - 60, 1), (Settings().upload_purge_age + 60, 0)):
            now = time.time() + later
            registry = Registry(self.storage, self.runner, Clock(), Settings(), partial(float, now))
            self.assertEqual(await registry._purge.run(), 1 - left)
            self.assertEqual(len(await bucket.unfinished(self.settings.prefix)), left)
        self.assertEqual(len(await bucket.unfinished("elsewhere/")), 1)
        await bucket.abort("elsewhere/b", elsewhere)

    async def test_command(self) -> None:
        upload = await self.storage.bucket.begin(f"{self.settings.prefix}b")
        said: list[str] = []
        await show(self.storage, time.time() + 60, False, said.append, as_json=True)
        [found] = json.loads(said.pop())["leftovers"]
        self.assertEqual((found["key"], found["id"], said), ("b", upload, []))
        for before, remove in ((time.time() - 60, False), (time.time() + 60, False), (time.time() + 60, True)):
            await show(self.storage, before, remove, said.append)
        line = rf"b \d{{4}}-\d\d-\d\d \d\d:\d\d {re.escape(upload[:16])}"
        for text, pattern in zip(said, (
            "0 found.*", f"found {line}", "1 found; --remove would remove them", f"removed {line}", "1 removed",
        ), strict=True):
            self.assertRegex(text, pattern)
        self.assertEqual(await self.storage.bucket.unfinished(self.settings.prefix), [])
        await show(self.storage, time.time() + 60, True, said.append, as_json=True)
        self.assertEqual(json.loads(said[-1]), {"removed": True, "leftovers": []})


class RedirectTests(S3RegistryCase):
    """Clients that read from the store themselves."""

    async def setUp(self) -> None:                          # type: ignore[override]
        await super().setUp()
        self.repository = await self.serve(self.make(links=Presigned()))

    async def test_v2(self) -> None:
        await deferToThread(self.push_image, self.repository, LAYER)
        path = f"blobs/{digest_of(LAYER)}"
        self.assertEqual((await self.call("HEAD", path)).status, 200)
        answer = await self.call("GET", path)
        self.assertEqual((answer.status, answer["Cache-Control"]), (307, "no-store"))
        ranged = await self.call("GET", path, None, ("Range", "bytes=5-9"))
        self.assertEqual(ranged.status, 307)
        got = await deferToThread(lambda: urllib.request.urlopen(answer["Location"]).read())
        self.assertEqual(digest_of(got), digest_of(LAYER))
        self.assertEqual((await self.call("GET", f"blobs/{digest_of(b'absent')}")).status, 404)
        self.assertEqual((await self.call("GET", "manifests/latest")).status, 200)

    async def test_hollow(self) -> None:
        """Nobody is sent to an object that was cut to nothing; the next push heals it (C7)."""
        await deferToThread(self.push_image, self.repository, LAYER)
        digest = digest_of(LAYER)
        await self.storage.put(layout.blob(Digest.parse(digest)), b"")
        self.assertEqual((await self.call("GET", f"blobs/{digest}")).status, 404)
        self.assertEqual((await deferToThread(self.repository.push_put, digest, LAYER)).status, 201)
        self.assertEqual((await self.call("GET", f"blobs/{digest}")).status, 307)

    async def test_v1(self) -> None:
        image, layer = "a" * 64, gzip.compress(b"\0" * 1024)
        wire = self.plain

        def work() -> bytes:
            wire("PUT", f"/v1/images/{image}/json", json.dumps({"id": image}).encode()).expect(200)
            wire("PUT", f"/v1/images/{image}/layer", layer).expect(200)
            checksum = hashlib.sha256(json.dumps({"id": image}).encode() + b"\n" + layer).hexdigest()
            wire("PUT", f"/v1/images/{image}/checksum", b"", ("X-Docker-Checksum-Payload", f"sha256:{checksum}"))
            wire("HEAD", f"/v1/images/{image}/layer").expect(200)
            answer = wire("GET", f"/v1/images/{image}/layer").expect(302)
            return urllib.request.urlopen(answer["Location"]).read()  # type: ignore[no-any-return]

        self.assertEqual(await deferToThread(work), layer)


