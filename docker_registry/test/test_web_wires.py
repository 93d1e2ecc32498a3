"""The same over every kind of socket: TCP, UNIX, TLS, and behind a proxy's line (E1-E5, H1, T22)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from docker_registry.test.registry_case import Direct
from docker_registry.test.web_case import chunked, get, put
from docker_registry.test.web_wire import WireCase
from docker_registry.web.body import PIECE
from docker_registry.web.errors import Refusal
from docker_registry.web.limits import Limits
from docker_registry.web.request import Request
from docker_registry.web.sending import send_source

SIZE = (3 << 20) + 7
LARGE = 24 << 20
"""More than sockets take when nobody reads."""


class OpenFile:
    """A source that is at hand."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115
        self.fileno = self._file.fileno

    async def read(self, count: int) -> bytes:
        return self._file.read(count)

    def close(self) -> None:
        self._file.close()

    @property
    def closed(self) -> bool:
        return self._file.closed


class Wires:
    """What holds over each of them."""

    kind: str

    def setUp(self: Any) -> Any:
        self.sources: list[OpenFile] = []
        self.go: Deferred[None] = Deferred()
        self.size = SIZE
        return super().setUp()  # type: ignore[misc]

    async def handler(self: Any, request: Request) -> None:
        if request.path in ("/file", "/pieces"):
            source = OpenFile(self.path)
            self.sources.append(source)
            fd = source.fileno() if request.path == "/file" else None
            await send_source(request, 200, [], source, self.size, fd=fd, runner=Direct())
        elif request.path == "/put":
            await self.take(request)
        elif request.path == "/held":
            await self.go
            await self.take(request)
        elif request.path == "/wait":
            await Deferred()
        elif request.path == "/refused":
            raise Refusal(401, "who are you")
        else:
            request.answer(200, [], request.path.encode() + b" " + request.client.encode())

    async def take(self: Any, request: Request) -> None:
        digest = hashlib.sha256()
        while parts := await request.body.read():
            for part in parts:
                digest.update(part)
        request.answer(201, [], digest.hexdigest().encode())

    async def test_requests_in_one_packet(self: Any) -> None:
        answer = await self.client.talk(get("/a") + get("/b") + get("/c", "Connection: close"))
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK\r\n"), 3)
        self.assertLess(answer.index(b"/a "), answer.index(b"/b "))
        self.assertTrue(answer.endswith(b"/c " + self.requests[0].client.encode()))
        self.assertEqual(self.requests[0].secure, self.kind.endswith("ssl"))

    async def test_one_after_the_other(self: Any) -> None:
        for number in range(3):
            self.client.data.clear()
            self.client.transport.write(get(f"/{number}"))
            await self.client.shows(b"\r\n\r\n/%d " % number)
        self.assertEqual(self.site.connections, 1)

    async def test_upload(self: Any) -> None:
        content = bytes(range(256)) * (5 << 12)
        digest = hashlib.sha256(content).hexdigest().encode()
        pieces = [content[at : at + 30_000] for at in range(0, len(content), 30_000)]
        self.client.transport.write(chunked(*pieces))
        answer = await self.client.talk(put(content, "Connection: close"))
        self.assertEqual(answer.count(digest), 2)

    async def test_upload_is_held_back(self: Any) -> None:
        """While its reader does something else; nothing is lost, and no clock runs."""
        content = b"x" * LARGE
        self.client.transport.write(put(content, "Connection: close", path="/held"))
        await self.until(lambda: bool(self.requests) and self.requests[0].body.received >= PIECE)
        for _ in range(300):
            self.clock.advance(1)
            await self.turn()
        self.assertLess(self.requests[0].body.received, 2 * PIECE)
        self.go.callback(None)
        await self.client.closed
        self.assertTrue(self.client.data.endswith(hashlib.sha256(content).hexdigest().encode()))

    async def test_file(self: Any) -> None:
        for path in ("/file", "/pieces"):
            self.path = self.file(SIZE)
            client = await self.connect()
            answer = await client.talk(get(path, "Connection: close"))
            self.assertEqual(answer.partition(b"\r\n\r\n")[2], self.path.read_bytes())
            self.assertTrue(self.sources[-1].closed)

    async def test_files_in_one_packet(self: Any) -> None:
        self.path = self.file(SIZE)
        answer = await self.client.talk(get("/file") + get("/pieces") + get("/a") + get("/file", "Connection: close"))
        content = self.path.read_bytes()
        self.assertEqual(answer.count(content), 3)
        self.assertTrue(answer.endswith(content))

    async def test_a_file_that_ends_early(self: Any) -> None:
        """The client sees fewer bytes than announced, and no clean end of a whole answer."""
        for path in ("/file", "/pieces"):
            self.path = self.file(SIZE)
            self.size = SIZE + 1
            client = await self.connect()
            answer = await client.talk(get(path))
            self.assertLess(len(answer.partition(b"\r\n\r\n")[2]), self.size)
            self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
            self.assertTrue(self.sources[-1].closed)

    async def test_refused_early(self: Any) -> None:
        """The client sees the answer although it is still sending."""
        self.client.transport.write(put(b"x" * LARGE, path="/refused"))
        await self.client.shows(b'{"reason": "who are you"}')
        self.assertIn(b"HTTP/1.1 401 ", self.client.data)
        self.assertLess(self.requests[0].body.received, 1 << 20)

    async def test_refused_before_it_sends(self: Any) -> None:
        head = b"PUT /refused HTTP/1.1\r\nHost: r\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        self.client.transport.write(head)
        await self.client.shows(b'{"reason": "who are you"}')
        self.assertNotIn(b" 100 ", self.client.data)

    async def test_a_client_that_goes_away(self: Any) -> None:
        """In each state, with a bang or politely: quietly, and at once."""
        self.path = self.file(LARGE)
        self.size = LARGE
        body = b"x" * 1000
        for data in (b"", b"GET /", put(body)[:-1], put(body, path="/held")[:-1], get("/file"), get("/pieces")):
            for leave in ("loseConnection", "abortConnection"):
                client = await self.connect()
                known = len(self.requests)
                client.transport.write(data)
                if b"\r\n\r\n" in data:
                    await self.until(lambda known=known: len(self.requests) > known)
                getattr(client.transport, leave)()
                await client.closed
                await self.until(lambda: not self.site.in_flight)
        self.assertTrue(all(source.closed for source in self.sources))
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_reader_that_stops(self: Any) -> None:
        """It holds little, and is cut in the end (E2, E4)."""
        self.path = self.file(LARGE)
        self.size = LARGE
        for path in ("/file", "/pieces"):
            client = await self.connect()
            client.transport.pauseProducing()
            client.transport.write(get(path))
            await self.until(lambda path=path: bool(self.requests) and self.requests[-1].path == path)
            channel = self.requests[-1].channel
            await self.until(lambda channel=channel: channel.out.is_full)
            self.assertLess(self.requests[-1].sent, LARGE)
            self.assertLessEqual(buffered(channel.transport), 257 << 10)
            ended = self.ended
            for _ in range(119):
                self.clock.advance(1)
            self.assertFalse(ended.called)
            for _ in range(6):
                self.clock.advance(1)
            request = await ended
            self.assertLess(request.sent, LARGE)
            self.assertTrue(self.sources[-1].closed)

    async def test_a_reader_that_is_slow(self: Any) -> None:
        """As long as it takes something it is not cut."""
        self.path = self.file(LARGE)
        self.size = LARGE
        self.client.transport.write(get("/file"))
        for step in range(1, 8):
            await self.client.has(step << 20)
            self.client.transport.pauseProducing()
            for _ in range(100):
                self.clock.advance(1)
            self.client.transport.resumeProducing()
        self.client.transport.write(get("/a", "Connection: close"))
        await self.client.closed
        self.assertIn(self.path.read_bytes(), self.client.data)

    async def test_silent(self: Any) -> None:
        """Who never says anything is not listened to for long."""
        await self.until(lambda: bool(self.site.connections))
        for _ in range(23):
            self.clock.advance(1)
        await self.client.closed
        self.assertEqual(self.client.data, b"")

    async def test_idle(self: Any) -> None:
        self.client.transport.write(get("/a"))
        await self.client.shows(b"/a ")
        for _ in range(74):
            self.clock.advance(1)
        self.assertFalse(self.client.closed.called)
        for _ in range(5):
            self.clock.advance(1)
        await self.client.closed

    async def test_drained(self: Any) -> None:
        """The idle go at once, those who wait get their answer (H1)."""
        other = await self.connect()
        other.transport.write(get("/a"))
        await other.shows(b"/a ")
        self.client.transport.write(put(b"abc", path="/held"))
        await self.until(lambda: len(self.requests) == 2)
        drained = self.site.drain()
        await other.closed
        self.assertFalse(drained.called)
        self.go.callback(None)
        await drained
        await self.client.closed
        self.assertIn(b"Connection: close\r\n", self.client.data)
        self.assertTrue(self.client.data.endswith(hashlib.sha256(b"abc").hexdigest().encode()))

    async def test_drained_with_an_answer_on_its_way(self: Any) -> None:
        """What was answered is not lost because the daemon stops."""
        self.path = self.file(LARGE)
        self.size = LARGE
        self.client.transport.pauseProducing()
        self.client.transport.write(get("/pieces"))
        await self.until(lambda: bool(self.requests) and self.requests[0].channel.out.is_full)
        drained = self.site.drain()
        self.client.transport.resumeProducing()
        await drained
        await self.client.closed
        self.assertEqual(bytes(self.client.data).partition(b"\r\n\r\n")[2], self.path.read_bytes())

    async def test_cut(self: Any) -> None:
        self.client.transport.write(get("/wait"))
        await self.until(lambda: bool(self.requests))
        drained = self.site.drain()
        self.site.abort_all()
        await drained
        await self.client.closed


def buffered(transport: Any) -> int:
    """Bytes that wait in this process for the socket to take them."""
    while not hasattr(transport, "dataBuffer"):
        transport = transport.transport
    while hasattr(transport, "transport"):
        transport = transport.transport
    waiting: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    return waiting


class TCPTests(Wires, WireCase):
    kind = "tcp"

    async def test_half_closed(self) -> None:
        """A client that says that it will send no more gets what it asked for (E5)."""
        self.client.transport.write(get("/a") + get("/b"))
        self.client.transport.loseWriteConnection()
        await self.client.closed
        self.assertTrue(self.client.data.endswith(b"/b 127.0.0.1"))

    async def test_half_closed_in_a_body(self) -> None:
        self.client.transport.write(put(b"abc")[:-1])
        self.client.transport.loseWriteConnection()
        await self.client.closed
        self.assertEqual(self.client.data, b"")

    async def test_the_end_is_seen_at_once(self) -> None:
        """Although the rest of what the client sends is read for a while."""
        answer = await self.client.talk(b"nonsense\r\n\r\n")
        self.assertIn(b"HTTP/1.1 400 ", answer)


class UNIXTests(Wires, WireCase):
    kind = "unix"


class TLSTests(Wires, WireCase):
    kind = "ssl"


class ProxyTests(Wires, WireCase):
    kind = "haproxy"
    limits = Limits(per_address=2)

    async def test_addresses_are_the_clients_own(self) -> None:
        """A proxy may have more connections than one of its clients."""
        for number in range(3):
            client = await self.connect(b"192.0.2.%d" % number)
            client.transport.write(get("/a"))
            await client.shows(b"/a 192.0.2.%d" % number)
        client = await self.connect(b"192.0.2.1")
        client.transport.write(get("/a"))
        await client.shows(b"/a 192.0.2.1")
        client = await self.connect(b"192.0.2.1")
        client.transport.write(get("/a"))
        await client.shows(b"HTTP/1.1 503 ")


class ProxyTLSTests(Wires, WireCase):
    kind = "haproxy-ssl"
