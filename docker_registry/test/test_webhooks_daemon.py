"""The daemon tells real endpoints what happens, as registry:2 does: ones that answer, that fail, that never answer."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import SkipTest

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from docker_registry.deferreds import deferred
from docker_registry.test.clients.daemon import Process, Registry, free_port, wait_for_port
from docker_registry.test.clients.tools import need
from docker_registry.test.clients.v1_clients import Docker15
from docker_registry.test.clients.v1_images import chain, payload_sum
from docker_registry.test.process_case import LISTENING, TWISTD, ProcessCase, reactor

LAYER = b"layer" * 10
CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST = json.dumps({
    "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
    "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(CONFIG),
               "digest": f"sha256:{sha256(CONFIG).hexdigest()}"},
    "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": len(LAYER),
                "digest": f"sha256:{sha256(LAYER).hexdigest()}"}],
}).encode()
TOKEN = "hunter2-Marker"
IMPATIENT = "from docker_registry.notifications import notifications; notifications.TURN = 0.2\n"
"""Before `TWISTD`: a disk that failed is tried again soon."""


def digest(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"


class Hook(Resource):
    """An endpoint.

    :ivar status: of its answers; 0 is none at all.
    :ivar is_endless: whether they never come to their end.
    :ivar events: that it took.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.is_endless = False
        self.events: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self.attempts = 0

    def render_POST(self, request: Any) -> Any:
        self.attempts += 1
        if self.status == 0:
            return NOT_DONE_YET
        request.setResponseCode(self.status)        # before anybody changes it, who waits for what comes
        if self.status == 200:
            self.events += json.loads(request.content.read())["events"]
            self.headers.append({
                name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
            })
            self._look()
        if self.is_endless:
            request.setHeader("Content-Length", "100")
            request.write(b"x")
            return NOT_DONE_YET
        return b""

    def until(self, count: int) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._waiting.append((count, waiting))
        self._look()
        return waiting

    def _look(self) -> None:
        for each in list(self._waiting):
            if len(self.events) >= each[0]:
                self._waiting.remove(each)
                each[1].callback(None)


def push_and_pull(registry: Registry) -> None:
    """All that there are events for, in a fixed order."""

    def ask(method: str, path: str, body: bytes | None = None, expected: tuple[int, ...] = (200, 201, 202)) -> Any:
        headers = {"Content-Type": MANIFEST_TYPE, "Accept": MANIFEST_TYPE, "User-Agent": "tester/1"}
        status, answered, _ = registry.request(method, path, body, headers)
        assert status in expected, (method, path, status)
        return answered

    for blob in (LAYER, CONFIG):
        location = ask("POST", "/v2/some/app/blobs/uploads/", b"")["Location"]
        location = location[location.index("/v2/"):]
        ask("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest(blob)}", blob)
    ask("PUT", "/v2/some/app/manifests/latest", MANIFEST)
    ask("GET", "/v2/some/app/manifests/latest")
    ask("GET", f"/v2/some/app/manifests/{digest(MANIFEST)}")
    ask("GET", f"/v2/some/app/blobs/{digest(LAYER)}")
    ask("POST", f"/v2/other/blobs/uploads/?mount={digest(LAYER)}&from=some/app", b"")
    ask("DELETE", f"/v2/some/app/manifests/{digest(MANIFEST)}")
    ask("DELETE", f"/v2/some/app/blobs/{digest(LAYER)}")


EVENTS = 10
"""That this makes."""


def comparable(event: dict[str, Any], host: str) -> dict[str, Any]:
    """Without what is of one moment and one registry; places and kinds of values stay."""
    text = json.dumps(event).replace(host, "HOST")
    read: dict[str, Any] = json.loads(text)
    for name in ("id", "timestamp"):
        assert isinstance(read.pop(name), str)
    assert read["request"].pop("id")
    assert read["request"].pop("addr").startswith("127.0.0.1")
    assert read["source"].pop("addr")
    assert read["source"].pop("instanceID")
    return read


class WebhookCase(ProcessCase):
    def setUp(self) -> None:
        super().setUp()
        self.hook = Hook()
        self.listening = reactor.listenTCP(0, Site(self.hook), interface="127.0.0.1")
        self.port = self.listening.getHost().port
        self.addCleanup(self.close)

    @deferred
    async def close(self) -> None:
        await self.listening.stopListening()

    def configure(self, port: int | None = None, **options: object) -> None:
        endpoint = {
            "name": "hook", "url": f"http://127.0.0.1:{port or self.port}/events?a=b",
            "headers": {"Authorization": [f"Bearer {TOKEN}"]}, **options,
        }
        self.write("x: " + json.dumps({
            "storage_path": "./images", "listen": ["tcp:0:interface=127.0.0.1"],
            "notifications": {"events": {"includereferences": True}, "endpoints": [endpoint]},
        }))

    def registry(self, port: int) -> Registry:
        found = Registry()
        found.port = port
        return found

    async def push(self, port: int, name: str, content: bytes = b"blob") -> None:
        answer = await self.ask(port, f"POST /v2/{name}/blobs/uploads/?digest={digest(content)}", body=content)
        self.assertIn(" 201 ", answer)

    def repositories(self) -> Iterator[str]:
        return (event["target"]["repository"] for event in self.hook.events)


class WebhookTests(WebhookCase):
    @deferred
    async def test_as_registry_2_does(self) -> None:
        """The same calls to it and to ours, the same events from both."""
        need(("docker-registry", "docker-registry"))
        theirs = free_port()
        Path(self.directory, "go.yml").write_text(json.dumps({
            "version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": f"{self.directory}/go"}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{theirs}"},
            "notifications": {"events": {"includereferences": True}, "endpoints": [
                {"name": "hook", "url": f"http://127.0.0.1:{self.port}/", "timeout": "30s", "threshold": 5,
                 "backoff": "1s"},
            ]},
        }))
        process = Process(["docker-registry", "serve", f"{self.directory}/go.yml"])
        self.addCleanup(process.stop)
        await deferToThread(wait_for_port, theirs)
        await deferToThread(push_and_pull, self.registry(theirs))
        await self.hook.until(EVENTS)
        expected = [comparable(event, f"127.0.0.1:{theirs}") for event in self.hook.events]
        self.hook.events.clear()
        self.configure()
        daemon, port = await self.started()
        await deferToThread(push_and_pull, self.registry(port))
        await self.hook.until(EVENTS)
        await self.stop(daemon)
        self.assertEqual([comparable(event, f"127.0.0.1:{port}") for event in self.hook.events], expected)

    @deferred
    async def test_protocol_v1(self) -> None:
        """A push is that of the manifest which v2 pulls, told once; whoever asks for one tag pulls it."""
        self.configure()
        daemon, port = await self.started()
        await deferToThread(Docker15(f"127.0.0.1:{port}").push, "some/app", "latest", chain())
        await self.hook.until(1)
        self.assertIn(" 200 ", await self.ask(port, "GET /v1/repositories/some/app/tags/latest"))
        self.assertIn(" 404 ", await self.ask(port, "GET /v1/repositories/some/app/tags/other"))
        self.assertIn(" 200 ", await self.ask(port, "GET /v2/some/app/manifests/latest"))
        await self.hook.until(3)
        await self.ask(port, "DELETE /v1/repositories/some/app/tags/latest")
        await self.hook.until(4)
        await self.stop(daemon)
        pushed, first, second, deleted = self.hook.events
        self.assertEqual([each["action"] for each in self.hook.events], ["push", "pull", "pull", "delete"])
        self.assertEqual(pushed["request"]["method"], "PUT")
        self.assertEqual((pushed["target"]["tag"], pushed["target"]["mediaType"]), ("latest", MANIFEST_TYPE))
        self.assertGreater(len(pushed["target"].pop("references")), 2)
        for each in (pushed, first, second):
            self.assertTrue(each["target"].pop("url").endswith(f"/v2/some/app/manifests/{each['target']['digest']}"))
        del first["target"]["references"], second["target"]["references"]
        self.assertEqual(first["target"], pushed["target"])
        self.assertEqual(second["target"], pushed["target"])
        self.assertEqual(deleted["target"], {"repository": "some/app", "tag": "latest"})

    @deferred
    async def test_tag_before_its_image(self) -> None:
        """A client of v1 that tags first: the push is told of when the image is whole, once."""
        self.configure()
        daemon, port = await self.started()
        image, layer = chain()[0], Docker15("").layer_of(chain()[0])
        for path, body, headers in (
            (f"images/{image.id}/json", image.json, ()),
            ("repositories/some/app/tags/latest", f'"{image.id}"'.encode(), ()),
            (f"images/{image.id}/layer", layer, ()),
            (f"images/{image.id}/checksum", b"", (f"X-Docker-Checksum-Payload: {payload_sum(image.json, layer)}",)),
        ):
            self.assertEqual(self.hook.events, [])
            self.assertIn(" 200 ", await self.ask(port, f"PUT /v1/{path}", *headers, body=body))
        await self.hook.until(1)
        self.assertIn(" 200 ", await self.ask(port, "GET /v2/some/app/manifests/latest"))
        await self.hook.until(2)
        await self.stop(daemon)
        self.assertEqual([each["action"] for each in self.hook.events], ["push", "pull"])
        pushed, pulled = (each["target"] for each in self.hook.events)
        self.assertEqual((pushed["tag"], pushed["digest"]), ("latest", pulled["digest"]))

    @deferred
    async def test_with_what_is_configured(self) -> None:
        self.configure(ignore={"actions": ["pull"]})
        daemon, port = await self.started()
        await self.push(port, "a")
        await self.ask(port, f"GET /v2/a/blobs/{digest(b'blob')}")
        await self.push(port, "b")
        await self.hook.until(2)
        await self.stop(daemon)
        self.assertEqual([*self.repositories()], ["a", "b"])
        self.assertEqual(self.hook.headers[0]["content-type"], "application/vnd.docker.distribution.events.v2+json")
        self.assertEqual(self.hook.headers[0]["authorization"], f"Bearer {TOKEN}")
        self.assertNotIn("Traceback", daemon.said.seen)

    @deferred
    async def test_never_answers(self) -> None:
        """Nobody waits for it: not who pushes, not the end of the registry. After the next start it is asked again."""
        self.hook.status = 0
        self.configure(timeout=0.3)
        daemon, port = await self.started()
        await self.push(port, "a")
        await daemon.said.until("webhook hook: events are not taken: 127.0.0.1:\\d+ did not answer in time; they wait")
        await gatherResults([self.pushed(port, f"b{number}") for number in range(20)])
        await self.stop(daemon)
        self.assertEqual(self.hook.events, [])
        self.hook.status = 200
        self.configure()
        daemon, _ = await self.started()
        await self.hook.until(21)
        await self.stop(daemon)
        self.assertEqual(len({event["id"] for event in self.hook.events}), 21)
        self.assertEqual(next(self.repositories()), "a")

    @deferred
    async def test_never_ends_its_answer(self) -> None:
        """By its status it has taken them: what is next does not wait for the rest, and they are not sent again."""
        self.hook.is_endless = True
        self.configure(timeout=2)
        daemon, port = await self.started()
        began = time.monotonic()
        for number, name in enumerate("abc", 1):
            await self.push(port, name)
            await self.hook.until(number)
        self.assertLess(time.monotonic() - began, 30)               # a body of a store has a minute for each byte
        self.hook.is_endless = False
        await self.push(port, "d")
        await self.hook.until(4)
        await self.stop(daemon)
        self.assertEqual([*self.repositories()], [*"abcd"])

    @deferred
    async def pushed(self, port: int, name: str) -> None:
        await self.push(port, name)

    @deferred
    async def test_killed_while_it_is_down(self) -> None:
        """What was written down survives; the log has no secret of it."""
        port_of_nobody = free_port()
        self.configure(port_of_nobody)
        daemon, port = await self.started()
        await self.push(port, "a")
        await daemon.said.until("webhook hook: events are not taken: 127.0.0.1:\\d+ cannot be reached")
        daemon.kill(signal.SIGKILL)
        await daemon.ended
        self.assertNotIn("Marker", daemon.said.seen)
        self.configure()
        daemon, port = await self.started()
        await self.hook.until(1)
        await self.push(port, "b")
        await self.hook.until(2)
        await self.stop(daemon)
        self.assertEqual([*self.repositories()], ["a", "b"])

    @deferred
    async def test_fails_and_recovers(self) -> None:
        self.hook.status = 503
        self.configure(backoff=1, threshold=1)
        daemon, port = await self.started()
        await self.push(port, "a")
        await daemon.said.until("webhook hook: events are not taken: it answered 503; they wait")
        self.hook.status = 200
        await daemon.said.until("webhook hook: events are taken again")
        await self.stop(daemon)
        self.assertEqual([*self.repositories()], ["a"])

    @deferred
    async def test_none(self) -> None:
        """Without endpoints there is no outbox, and nothing that listens."""
        daemon, port = await self.started()
        await self.push(port, "a")
        await self.stop(daemon)
        self.assertFalse(Path(self.directory, "images", ".notifications").exists())

    @deferred
    async def test_in_memory(self) -> None:
        self.write("x: " + json.dumps({
            "storage": "memory", "listen": ["tcp:0:interface=127.0.0.1"],
            "notifications": {"endpoints": [{"name": "hook", "url": f"http://127.0.0.1:{self.port}/"}]},
        }))
        daemon = self.twistd()
        port = int((await daemon.said.until(LISTENING))[1].rpartition(":")[2])
        await self.push(port, "a")
        await self.hook.until(1)
        await self.stop(daemon)


class DiskTests(WebhookCase):
    """The outbox is on a small file system of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = Path(self.directory, "outbox")
        self.disk.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", self.disk], capture_output=True, check=False
        )
        if done.returncode:
            raise SkipTest("a small file system cannot be mounted here: run as root")
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.disk], check=True)

    @deferred
    async def test_fills_up(self) -> None:
        """What happens meanwhile waits in memory, comes after what was written before, and nothing comes twice."""
        self.hook.status = 503
        self.write("x: " + json.dumps({
            "storage_path": "./images", "listen": ["tcp:0:interface=127.0.0.1"],
            "notifications": {"outbox": str(self.disk), "endpoints": [
                {"name": "hook", "url": f"http://127.0.0.1:{self.port}/", "backoff": 1, "threshold": 1},
            ]},
        }))
        daemon = self.run_program(IMPATIENT + TWISTD, [
            "--nodaemon", "--pidfile=", "docker-registry", "--config=c.yml", "--flavor=x",
        ])
        port = int((await daemon.said.until(LISTENING))[1].rpartition(":")[2])
        await self.push(port, "a")
        await daemon.said.until("webhook hook: events are not taken: it answered 503; they wait")
        rest = self.disk / "rest"
        with contextlib.suppress(OSError), rest.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        await self.push(port, "b")
        await daemon.said.until("webhooks: events cannot be written: .* they wait in memory")
        await self.push(port, "c")
        rest.unlink()
        await daemon.said.until("webhooks: events are written again")
        await self.push(port, "d")
        self.hook.status = 200
        await self.hook.until(4)
        await self.push(port, "e")
        await self.hook.until(5)
        await self.stop(daemon)
        self.assertEqual([*self.repositories()], [*"abcde"])
        self.assertEqual(daemon.said.seen.count("events cannot be written"), 1)
