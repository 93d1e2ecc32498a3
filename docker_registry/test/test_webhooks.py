"""Events on their way: written down, bounded, sent in order and again, all by a clock that is moved."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from docker_registry import current
from docker_registry.digest import Digest
from docker_registry.errors import Transient
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.notifications import notifications as module
from docker_registry.notifications.notifications import GATHERED, TURN, Notifications
from docker_registry.notifications.outbox import Entry, Outbox
from docker_registry.notifications.sender import BATCH, LOOK, POLL, Endpoint
from docker_registry.notifications.wire import MEDIA_TYPE, MOST_BYTES, Facts, Source, facts, write
from docker_registry.registry import events
from docker_registry.registry.database import DatabaseFailed
from docker_registry.registry.documents import Descriptor, Document
from docker_registry.test.registry_case import Direct

REPOSITORY = Repository("library/busybox")
DIGEST = Digest.of(b"x")
LATEST = Tag("latest")
DOCUMENT = Document("application/vnd.oci.image.manifest.v1+json", (Descriptor("application/x-layer", DIGEST, 3),))
PUSHED = events.BlobPushed(REPOSITORY, DIGEST, 5)
SOURCE = Source("r1", "the instance")


class Asked:
    id, method, route, repository, user, client, secure = "00ff", "PUT", "/v2/", "x", "ann", "192.0.2.7", False
    headers: Mapping[bytes, bytes] = {b"host": b"registry.example.com:5000", b"user-agent": b"docker/1"}

    def header(self, name: bytes) -> bytes | None:
        return self.headers.get(name)


class WireTests(SynchronousTestCase):
    """What registry:2 makes of the same; `test_webhooks_daemon` compares it with one that runs."""

    def written(self, event: events.Event, references: bool = False) -> list[tuple[str, dict[str, Any]]]:
        known = Facts(1e9, {}, "", "http://r")
        found = [json.loads(each.text) for each in write(event, known, SOURCE, references)]
        return [(each["action"], each["target"]) for each in found]

    def about(self, kind: str, media_type: str, size: int, **others: Any) -> dict[str, Any]:
        return {
            "mediaType": media_type, "size": size, "length": size, "digest": str(DIGEST),
            "repository": "library/busybox", "url": f"http://r/v2/library/busybox/{kind}/{DIGEST}", **others,
        }

    def test_every_event(self) -> None:
        manifest = self.about("manifests", DOCUMENT.media_type, 9)
        blob = self.about("blobs", "application/octet-stream", 5)
        plain = {"digest": str(DIGEST), "repository": "library/busybox"}
        tagged = {"repository": "library/busybox", "tag": "latest"}
        for event, expected in (
            (PUSHED, [("push", blob)]),
            (events.BlobPulled(REPOSITORY, DIGEST, 5), [("pull", blob)]),
            (events.BlobMounted(REPOSITORY, DIGEST, 5, Repository("a/b")),
             [("mount", {**blob, "fromRepository": "a/b"})]),
            (events.BlobDeleted(REPOSITORY, DIGEST), [("delete", plain)]),
            (events.ManifestPushed(REPOSITORY, DIGEST, 9, DOCUMENT), [("push", manifest)]),
            (events.ManifestPushed(REPOSITORY, DIGEST, 9, DOCUMENT, (LATEST, Tag("a"))),
             [("push", {**manifest, "tag": "latest"}), ("push", {**manifest, "tag": "a"})]),
            (events.ManifestPulled(REPOSITORY, DIGEST, 9, DOCUMENT, LATEST), [("pull", {**manifest, "tag": "latest"})]),
            (events.ManifestDeleted(REPOSITORY, DIGEST, (LATEST,)), [("delete", plain), ("delete", tagged)]),
            (events.ManifestMade(REPOSITORY, DIGEST, 9, DOCUMENT, LATEST, is_pushed=True),
             [("push", {**manifest, "tag": "latest"})]),
            (events.ManifestMade(REPOSITORY, DIGEST, 9, DOCUMENT, LATEST, is_pushed=False), []),
            (events.TagSet(REPOSITORY, LATEST, ImageId("a" * 64)), []),
            (events.TagDeleted(REPOSITORY, LATEST), [("delete", tagged)]),
            (events.RepositoryDeleted(REPOSITORY), [("delete", {"repository": "library/busybox"})]),
            (events.AccessChanged(REPOSITORY, True), []),
        ):
            self.assertEqual(self.written(event), expected)

    def test_references(self) -> None:
        [(_, target)] = self.written(events.ManifestPushed(REPOSITORY, DIGEST, 9, DOCUMENT), references=True)
        self.assertEqual(target["references"],
                         [{"mediaType": "application/x-layer", "size": 3, "digest": str(DIGEST)}])

    def test_too_many_references(self) -> None:
        many = Document(DOCUMENT.media_type, DOCUMENT.blobs * 5000)
        [written] = write(events.ManifestPushed(REPOSITORY, DIGEST, 9, many), Facts(0, {}, "", ""), SOURCE, True)
        self.assertLess(len(written.text), MOST_BYTES)
        self.assertNotIn("references", json.loads(written.text)["target"])

    def test_around_the_target(self) -> None:
        token = current.request.set(Asked())
        self.addCleanup(current.request.reset, token)
        [written] = write(PUSHED, facts(1e9), SOURCE, False)
        event = json.loads(written.text)
        self.assertRegex(event.pop("id"), "^[0-9a-f-]{36}$")
        url = event.pop("target")["url"]
        self.assertEqual(url, f"http://registry.example.com:5000/v2/library/busybox/blobs/{DIGEST}")
        self.assertEqual(event, {
            "timestamp": "2001-09-09T01:46:40.000000Z", "action": "push", "actor": {"name": "ann"},
            "source": {"addr": "r1", "instanceID": "the instance"},
            "request": {"id": "00ff", "addr": "192.0.2.7", "host": "registry.example.com:5000", "method": "PUT",
                        "useragent": "docker/1"},
        })

    def test_behind_a_proxy(self) -> None:
        """What it says of the scheme is believed if it is one."""
        for told, scheme in ((b"https", "https"), (b"javascript", "http"), (b"https://evil/", "http")):
            asked = Asked()
            asked.headers = {**Asked.headers, b"x-forwarded-proto": told}
            token = current.request.set(asked)
            self.assertEqual(facts(0).base, f"{scheme}://registry.example.com:5000")
            current.request.reset(token)

    def test_strangers_words(self) -> None:
        """Cut, and in JSON nothing but text."""
        asked = Asked()
        asked.headers = {b"host": b"r", b"user-agent": b'"},{"action":"delete\n\xff' + b"x" * 10_000}
        token = current.request.set(asked)
        self.addCleanup(current.request.reset, token)
        [written] = write(PUSHED, facts(0), SOURCE, False)
        event = json.loads(written.text)
        self.assertEqual(event["action"], "push")
        self.assertEqual(len(event["request"]["useragent"]), 512)

    def test_nobody_asked(self) -> None:
        [written] = write(PUSHED, facts(0), SOURCE, False)
        event = json.loads(written.text)
        self.assertEqual((event["request"], event["actor"]), ({}, {}))
        self.assertNotIn("url", event["target"])


class Answer:
    def __init__(self, status: int) -> None:
        self.status = status

    async def discard(self) -> None: ...

    def close(self) -> None: ...


class Hook:
    """Stands for the client and the endpoint behind it.

    :ivar taken: events, as they came.
    """

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, Mapping[str, str]]] = []
        self.status = 200
        self.pending: Deferred[None] | None = None

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: Iterable[bytes], *, seconds: float
    ) -> Answer:
        self.requests.append((method, url, headers))
        if self.pending is not None:
            await self.pending
        if self.status == 0:
            raise Transient("hook.example.com did not answer in time")
        if self.status < 300:
            self.taken += json.loads(b"".join(body))["events"]
        return Answer(self.status)

    async def close(self) -> None: ...

    def sizes(self) -> list[int]:
        return [each["target"]["size"] for each in self.taken]


class Case(SynchronousTestCase):
    kind = Outbox

    def setUp(self) -> None:
        self.clock = Clock()
        self.hook = Hook()
        self.directory = Path(self.mktemp())
        self.most = 1000
        self.counted: Counter[str] = Counter()
        self.logged: list[LogEvent] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    def endpoint(self, name: str = "a", *ignored: str, **others: Any) -> Endpoint:
        return Endpoint(**{
            "name": name, "url": f"http://{name}/", "headers": {}, "timeout": 5.0, "threshold": 4, "backoff": 60.0,
            "ignored": frozenset(ignored), **others,
        })

    def notifications(self, *endpoints: Endpoint) -> Notifications:
        outbox = self.kind(self.directory, Direct(), self.most)
        told = Notifications(
            self.clock, Direct(), self.hook, outbox, endpoints or (self.endpoint(),), SOURCE, lambda: 1e9,
            counted=lambda what, count: self.counted.update({what: count}),
        )
        self.addCleanup(self.stop, told)
        return told

    def started(self, *endpoints: Endpoint) -> Notifications:
        told = self.notifications(*endpoints)
        told.start()
        return told

    def stop(self, told: Notifications) -> None:
        self.successResultOf(Deferred.fromCoroutine(told.stop()))

    def hear(self, told: Notifications, *sizes: int) -> None:
        for size in sizes:
            self.successResultOf(Deferred.fromCoroutine(told.hear(events.BlobPushed(REPOSITORY, DIGEST, size))))

    def said(self, level: str) -> list[str]:
        return [formatEvent(event) for event in self.logged if event["log_level"].name == level]


class DeliveryTests(Case):
    def test_sent(self) -> None:
        """A moment later, together, in order."""
        told = self.started(self.endpoint(headers={"Authorization": "Bearer x"}))
        self.hear(told, 1, 2, 3)
        self.assertEqual(self.hook.requests, [])
        self.clock.advance(GATHERED)
        self.assertEqual(self.hook.sizes(), [1, 2, 3])
        self.assertEqual(self.hook.requests, [("POST", "http://a/", {
            "Content-Type": MEDIA_TYPE, "User-Agent": "docker-registry", "Authorization": "Bearer x",
        })])
        self.assertEqual((self.counted["Events"], self.counted["Successes"], told.waiting), (3, 3, 0))

    def test_no_more_than_fit(self) -> None:
        told = self.started()
        self.hear(told, *range(3 * BATCH))
        self.clock.advance(GATHERED)
        self.assertEqual(self.hook.sizes(), [*range(3 * BATCH)])
        self.assertEqual(len(self.hook.requests), 3)

    def test_what_is_not_wanted(self) -> None:
        told = self.started(self.endpoint("a", "application/octet-stream"), self.endpoint("b", "push"),
                            self.endpoint("c"))
        self.hear(told, 1)
        self.clock.advance(GATHERED)
        self.assertEqual([url for _, url, _ in self.hook.requests], ["http://c/"])
        self.assertTrue(told.hears_pulls)
        self.assertFalse(self.notifications(self.endpoint("a", "pull")).hears_pulls)

    def test_again_and_again(self) -> None:
        """After 1, 2, 4 seconds, and from the fourth failure on each minute; one of a kind at a time, none lost."""
        told = self.started()
        self.hook.status = 500
        self.hear(told, 1)
        self.clock.advance(GATHERED)
        for number, pause in enumerate((1, 2, 4, 60, 60), 1):
            self.assertEqual(len(self.hook.requests), number)
            self.hear(told, 2)                                  # what is new does not hurry it
            self.clock.pump([pause / 2, pause / 4])
            self.assertEqual(len(self.hook.requests), number)
            self.clock.advance(pause / 4 + 0.01)
        self.assertEqual(told.waiting, 6)
        self.hook.status = 204
        self.clock.advance(60)
        self.assertEqual(self.hook.sizes(), [1, 2, 2, 2, 2, 2])
        self.assertEqual(told.waiting, 0)
        self.assertEqual(self.said("warn"), ["webhook a: events are not taken: it answered 500; they wait"])
        self.assertEqual(self.said("info"), ["webhook a: events are taken again"])
        self.assertEqual(self.counted, {"Events": 6, "Failures": 6, "Successes": 6, "Dropped": 0})

    def test_redirect_is_not_followed(self) -> None:
        """Nothing that an endpoint says sends events elsewhere (T41); and they are not taken by that."""
        told = self.started()
        self.hook.status = 302
        self.hear(told, 1)
        self.clock.advance(GATHERED)
        self.assertEqual([url for _, url, _ in self.hook.requests], ["http://a/"])
        self.assertEqual(self.hook.taken, [])
        self.hook.status = 200
        self.clock.advance(1)
        self.assertEqual(self.hook.sizes(), [1])

    def test_one_that_fails_does_not_hold_up_another(self) -> None:
        told = self.started(self.endpoint("a"), self.endpoint("b"))
        self.hook.pending = Deferred()
        self.hear(told, 1)
        self.clock.advance(GATHERED)
        self.assertEqual(len(self.hook.requests), 2)
        pending, self.hook.pending = self.hook.pending, None
        pending.callback(None)
        self.assertEqual(self.hook.sizes(), [1, 1])

    def test_how_many_wait(self) -> None:
        """It is known while an attempt takes long, and while the next one is far; whoever has written them."""
        told, other = self.started(), self.notifications()
        self.hook.pending = Deferred()
        self.hear(told, 1)
        self.clock.advance(GATHERED)
        self.hear(other, 2, 3)
        self.clock.pump([GATHERED, LOOK])
        self.assertEqual((len(self.hook.requests), told.waiting), (1, 3))
        pending, self.hook.pending = self.hook.pending, None
        self.hook.status = 500
        pending.callback(None)
        self.clock.pump([1, 2, 4])
        self.hear(other, 4)
        self.clock.pump([GATHERED, LOOK])
        self.assertEqual((len(self.hook.requests), told.waiting), (4, 4))
        self.hook.status = 200
        self.clock.advance(60)
        self.assertEqual((self.hook.sizes(), told.waiting), ([1, 2, 3, 4], 0))

    def test_no_request_waits(self) -> None:
        """Whatever the endpoint and the disk do."""
        told = self.started()
        self.hook.pending = Deferred()
        for _ in range(10):
            self.hear(told, 1)
            self.clock.advance(GATHERED)
        self.assertEqual(len(self.hook.requests), 1)
        self.hook.pending.callback(None)


class KeptTests(Case):
    def test_restart(self) -> None:
        """What was not taken is sent after the next start, with the same ids, and what was taken is not."""
        told = self.started()
        self.hear(told, 1)
        self.clock.advance(GATHERED)
        self.hook.status = 0
        self.hear(told, 2, 3)
        self.clock.advance(GATHERED)
        self.stop(told)
        self.hook.status = 200
        self.started()
        self.assertEqual(self.hook.sizes(), [1, 2, 3])
        self.assertEqual(self.clock.getDelayedCalls()[0].getTime() - self.clock.seconds(), POLL)

    def test_stop_writes_what_was_heard(self) -> None:
        told = self.started()
        self.hear(told, 1)
        self.stop(told)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.started()
        self.assertEqual(self.hook.sizes(), [1])

    def test_stop_while_the_endpoint_hangs(self) -> None:
        told = self.started()
        self.hook.pending = Deferred()
        self.hear(told, 1)
        self.clock.advance(GATHERED)
        self.stop(told)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.hook.pending = None
        self.started()
        self.assertEqual(self.hook.sizes(), [1])

    def test_oldest_go(self) -> None:
        self.most = 3
        told = self.started()
        self.hook.status = 500
        self.hear(told, 1, 2, 3, 4, 5)
        self.clock.advance(GATHERED)
        self.hear(told, 6)
        self.clock.advance(GATHERED)
        self.assertEqual(self.counted["Dropped"], 3)
        self.assertEqual(self.said("warn")[0], "webhooks a: the oldest events are dropped, more wait than may")
        self.assertEqual(len(self.said("warn")), 2)
        self.hook.status = 200
        self.clock.advance(60)
        self.assertEqual(self.hook.sizes(), [4, 5, 6])

    def test_endpoint_that_is_gone(self) -> None:
        told = self.started(self.endpoint("old"), self.endpoint("a"))
        self.hook.status = 500
        self.hear(told, 1)
        self.clock.advance(GATHERED)
        self.stop(told)
        self.hook.status = 200
        self.stop(self.started())
        self.started(self.endpoint("old"))
        self.assertEqual(self.hook.sizes(), [1])
        self.assertEqual(self.hook.requests[-1][1], "http://a/")

    def test_disk_fails(self) -> None:
        """Events wait in memory, a bounded number of them, until it works again."""
        self.patch(module, "MOST", 3)
        told = self.started()
        self.directory.rename(f"{self.directory}-away")
        self.directory.write_text("no directory")
        self.hear(told, 1, 2, 3, 4)
        self.clock.advance(GATHERED)
        self.assertEqual(self.hook.taken, [])
        self.clock.advance(TURN)
        self.clock.advance(TURN)
        self.assertEqual("\n".join(self.said("warn")).count("events cannot be written"), 1)
        self.directory.unlink()
        self.clock.advance(TURN)
        self.clock.advance(POLL)
        self.assertEqual(self.hook.sizes(), [2, 3, 4])
        self.assertEqual(self.counted["Dropped"], 1)
        self.assertIn("webhooks: events are written again", self.said("info"))

    def test_written_and_yet_not(self) -> None:
        """What a disk has that says it failed is written again, and its ids say that it is the same."""
        class Doubtful(Outbox):
            is_good = False

            async def add(self, entries: Sequence[Entry]) -> dict[str, int]:
                found = await super().add(entries)
                if not self.is_good:
                    self.is_good = True
                    raise DatabaseFailed("disk I/O error")
                return found

        self.patch(self, "kind", Doubtful)
        told = self.started()
        tagged = events.ManifestPushed(REPOSITORY, DIGEST, 9, DOCUMENT, (LATEST, Tag("a")))
        self.successResultOf(Deferred.fromCoroutine(told.hear(tagged)))
        self.clock.advance(GATHERED)
        self.clock.advance(TURN)
        ids = [each["id"] for each in self.hook.taken]
        self.assertEqual((len(ids), ids[:2], len(set(ids))), (4, ids[2:], 2))

    def test_outbox_cannot_be_locked(self) -> None:
        """It is said once, and when it is over."""
        self.directory.write_text("no directory")
        told = self.started()
        self.clock.pump([TURN] * 5)
        warned = [f"webhooks: nothing can be sent: {self.directory}: File exists"]
        self.assertEqual(self.said("warn"), warned)
        self.hear(told, 1)
        self.directory.unlink()
        self.clock.pump([TURN] * 2)
        self.assertEqual(self.hook.sizes(), [1])
        self.assertEqual(self.said("info"), ["webhooks: events can be sent again"])

    def test_no_locks(self) -> None:
        """As where they are on a network: what cannot be locked is asked for again, and nothing stays open."""
        self.patch(fcntl, "flock", self.no_lock)
        opened = len(os.listdir("/proc/self/fd"))
        told = self.started()
        self.clock.pump([TURN] * 5)
        self.assertEqual(len(os.listdir("/proc/self/fd")), opened)
        self.assertEqual(self.said("warn"), [
            f"webhooks: nothing can be sent: {self.directory}/.reading: {os.strerror(errno.ENOLCK)}",
        ])
        self.assertTrue(told.hears_pulls)

    def no_lock(self, *_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    def test_locked_and_not_usable(self) -> None:
        """A process that is to send, and cannot, leaves it to others; itself in the end."""
        class Broken(Outbox):
            broken = 2

            async def keep_only(self, endpoints: Sequence[str]) -> None:
                if self.broken:
                    self.broken -= 1
                    raise DatabaseFailed("disk I/O error")
                await super().keep_only(endpoints)

        self.patch(self, "kind", Broken)
        told = self.started()
        self.hear(told, 1)
        self.clock.advance(TURN)
        self.assertEqual(self.hook.sizes(), [])
        self.clock.advance(TURN)
        self.assertEqual(self.hook.sizes(), [1])
        self.assertEqual(self.said("warn"), ["webhooks: nothing can be sent: disk I/O error"])

    def test_disk_fails_to_the_end(self) -> None:
        told = self.started()
        self.directory.rename(f"{self.directory}-away")
        self.directory.write_text("no directory")
        self.hear(told, 1, 2)
        self.stop(told)
        self.assertEqual(self.said("error"), ["webhooks: 2 events could not be written, and are lost"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_several_processes(self) -> None:
        """All write, one sends; when it ends another one does."""
        first, second = self.started(), self.started()
        self.hear(second, 1)
        self.clock.advance(GATHERED)
        self.assertEqual(self.hook.taken, [])
        self.clock.advance(POLL)
        self.assertEqual(self.hook.sizes(), [1])
        self.stop(first)
        self.hear(second, 2)
        self.clock.advance(TURN)
        self.assertEqual(self.hook.sizes(), [1, 2])


class OutboxTests(Case):
    def outbox(self) -> Outbox:
        outbox = Outbox(self.directory, Direct(), self.most)
        self.addCleanup(lambda: self.now(outbox.close()))
        return outbox

    def now(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def test_not_more_than_fit(self) -> None:
        """But one in any case."""
        outbox = self.outbox()
        self.now(outbox.add([Entry("a", "x" * 60), Entry("b", "y"), Entry("a", "z" * 50)]))
        self.assertEqual([each.text[0] for each in self.now(outbox.first("a", 10, 110))], ["x", "z"])
        self.assertEqual([each.text[0] for each in self.now(outbox.first("a", 10, 109))], ["x"])
        self.assertEqual([each.text[0] for each in self.now(outbox.first("a", 10, 5))], ["x"])
        self.assertEqual([each.text[0] for each in self.now(outbox.first("a", 1, 200))], ["x"])

    def test_bounds_are_of_each(self) -> None:
        self.most = 2
        outbox = self.outbox()
        self.assertEqual(self.now(outbox.add([Entry("a", str(n)) for n in range(5)] + [Entry("b", "x")])), {"a": 3})
        self.assertEqual([each.text for each in self.now(outbox.first("a", 10, 100))], ["3", "4"])
        self.assertEqual([each.text for each in self.now(outbox.first("b", 10, 100))], ["x"])

    def test_damaged_file(self) -> None:
        """Is made anew, with a line in the log: what was in it is lost, and nothing else is."""
        outbox = self.outbox()
        self.now(outbox.add([Entry("a", "x")]))
        self.now(outbox.close())
        for path in self.directory.glob("*.db*"):
            path.write_bytes(b"no database" * 1000)
        again = self.outbox()
        self.now(again.add([Entry("a", "y")]))
        self.assertEqual([each.text for each in self.now(again.first("a", 10, 100))], ["y"])
        self.assertIn("is made anew", "\n".join(self.said("warn")))
