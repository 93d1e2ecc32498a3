"""Every answer has an id, whoever gives it, and what is logged meanwhile can tell whose it is."""

from __future__ import annotations

import re

from twisted.internet.defer import Deferred
from twisted.logger import Logger, globalLogPublisher

from docker_registry import current
from docker_registry.deferreds import Shield, deferred
from docker_registry.front import Front
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.storage.memory import MemoryStorage
from docker_registry.test.process_case import ProcessCase
from docker_registry.test.registry_case import Direct
from docker_registry.test.web_case import SiteCase, get, put
from docker_registry.v1.routes import V1
from docker_registry.v2.routes import V2
from docker_registry.web.limits import Limits
from docker_registry.web.request import Request
from docker_registry.web.site import Site

ID = re.compile(rb"\r\nX-Request-Id: ([0-9a-f]{16})\r\n")


class AnswerTests(SiteCase):
    limits = Limits(header_timeout=5, connections=3)

    async def handler(self, request: Request) -> None:
        if request.path == "/fails":
            raise ZeroDivisionError()
        await request.body.read_all(1000)
        request.answer(204)

    def test_each_has_its_own(self) -> None:
        self.send(get("/a") + get("/b") + get("/c"))
        ids = ID.findall(self.sent())
        self.assertEqual(ids, [request.id.encode() for request in self.requests])
        self.assertEqual(len(set(ids)), 3)

    def test_a_client_does_not_choose_it(self) -> None:
        self.send(get("/a", "X-Request-Id: 0123456789abcdef"))
        answer = self.sent()
        self.assertEqual(len(ID.findall(answer)), 1)
        self.assertNotIn(b"0123456789abcdef", answer)

    def test_answers_of_the_connection(self) -> None:
        """Those that no handler gives (H9)."""
        for status, sent in [
            (400, b"GET /a\r\n\r\n"),
            (400, b"\x16\x03\x01 TLS"),
            (400, b"GET /a HTTP/1.1\r\n\r\n"),
            (413, put(b"x" * 1001)),
            (414, get("/" + "a" * 9000)),
            (417, get("/a", "Expect: the-unexpected")),
            (431, get("/a", "A: " + "a" * 40_000)),
            (500, get("/fails")),
            (501, b"BREW /a HTTP/1.1\r\nHost: r\r\n\r\n"),
            (505, b"GET /a HTTP/2.0\r\nHost: r\r\n\r\n"),
        ]:
            channel, self.wire = self.connect()
            channel.dataReceived(sent)
            answer = self.sent()
            self.assertEqual(self.statuses(answer), [status])
            self.assertEqual(len(ID.findall(answer)), 1, answer)
            self.lose_all()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_too_slow(self) -> None:
        self.send(b"GET /a HTT")
        self.clock.pump([1.0] * 7)
        answer = self.sent()
        self.assertEqual(self.statuses(answer), [408])
        self.assertEqual(len(ID.findall(answer)), 1)

    def test_too_many(self) -> None:
        for _ in range(3):
            _, self.wire = self.connect()
        answer = self.sent()
        self.assertEqual(self.statuses(answer), [503])
        self.assertEqual(len(ID.findall(answer)), 1)

    def lose_all(self) -> None:
        for channel in list(self.site._channels):
            if channel is not self.channel:
                channel.connectionLost(None)


class ProtocolTests(SiteCase):
    """Both, and what stands between them."""

    def setUp(self) -> None:
        super().setUp()
        registry = Registry(MemoryStorage(self.clock), Direct(), self.clock, Settings(), self.clock.seconds)
        front = Front(V1(registry, Direct(), self.clock.seconds), V2(registry, Direct()))
        site = Site(self.clock, front.handle, refusal=front.refusal, limits=self.limits, finished=[self.note])
        self.channel, self.wire = self.connect_to(site)
        self.noted: list[Request] = []

    def note(self, request: Request, seconds: float) -> None:
        self.noted.append(request)

    def test_everywhere(self) -> None:
        for path in ("/", "/_ping", "/v1/_ping", "/v1/images/x/json", "/v1/%ff", "/v2/", "/v2/a/tags/list", "/nowhere"):
            self.send(get(path))
            self.assertEqual(len(ID.findall(self.sent())), 1, path)

    def test_route_and_repository(self) -> None:
        """What metrics and mails say of a request: patterns, and never a path that nobody serves."""
        self.send(get("/v2/a/b/tags/list") + get("/v1/repositories/c/d/images") + get("/v2/a/nothing"))
        self.assertEqual(
            [(request.route, request.repository) for request in self.noted],
            [
                ("/v2/<name:name>/tags/list", "a/b"),
                ("/v1/repositories/<name:name>/images", "c/d"),
                ("", ""),
            ],
        )


class LogTests(SiteCase):
    log = Logger()

    def setUp(self) -> None:
        super().setUp()
        self.waiting: list[Deferred[None]] = []
        self.said: list[str] = []
        self.shield = Shield()
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, object]) -> None:
        if event.get("log_namespace") == f"{__name__}.LogTests":
            asked = current.of(event)
            self.said.append(asked.id if asked is not None else "")

    async def handler(self, request: Request) -> None:
        self.log.info("at once")
        work = self.shield(self.work())
        await self.wait()
        self.log.info("later")
        await work
        request.answer(204)

    def wait(self) -> Deferred[None]:
        self.waiting.append(Deferred())
        return self.waiting[-1]

    async def work(self) -> None:
        await self.wait()
        self.log.info("shielded")

    def test_whose_line_it_is(self) -> None:
        """Two at once, and what goes on when one of their clients has gone."""
        self.send(get("/a"))
        second, _ = self.connect()
        second.dataReceived(get("/b"))
        self.log.info("nobody's")
        second.connectionLost(None)
        for each in self.waiting:
            if not each.called:
                each.callback(None)
        first, gone = (request.id for request in self.requests)
        self.assertEqual(self.said, [first, gone, "", first, first, gone])


class DaemonTests(ProcessCase):
    @deferred
    async def test_on_the_wire(self) -> None:
        """What the client is told, and what the log says, of the same request; also of one that nobody can read."""
        self.write("x: {storage: memory, loglevel: debug, listen: ['tcp:0:interface=127.0.0.1']}")
        daemon, port = await self.started()
        for line in ("GET /v2/", "GET /v1/nowhere", "NONSENSE /"):
            answer = (await self.ask(port, line)).encode("latin-1")
            found = ID.search(answer)
            assert found is not None, answer
            await daemon.said.until(f"{found[1].decode()} 127.0.0.1 ")
        await self.stop(daemon)
