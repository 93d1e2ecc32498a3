"""Small answers leave together at the end of a turn of the reactor, and none is lost or overtaken on the way."""

from __future__ import annotations

from docker_registry.polling import TOGETHER
from docker_registry.test.registry_case import Direct
from docker_registry.test.test_web_wires import OpenFile
from docker_registry.test.web_case import get, put
from docker_registry.test.web_wire import Client, WireCase
from docker_registry.web.outlet import HELD, SMALL
from docker_registry.web.request import Request
from docker_registry.web.sending import send_source

LARGE = b"x" * (SMALL + 1)


class Case(WireCase):
    async def begin(self) -> None:
        """Nobody but the test says when a turn ends; several things happen in each."""
        await super().begin()
        self.path = self.file(len(LARGE))
        self.answered = 0
        self.site.turn.is_shared = True

    async def handler(self, request: Request) -> None:
        if request.path == "/put":
            while await request.body.read():
                pass
        content = {"/large": LARGE, "/held": b"y" * (HELD // 3)}.get(request.path, request.path.encode())
        if request.path == "/file":
            source = OpenFile(self.path)
            await send_source(request, 200, [], source, len(LARGE), fd=source.fileno(), runner=Direct())
        else:
            request.answer(200, [], content)
        self.answered += 1

    async def ask(self, client: Client, *requests: bytes) -> None:
        """Returns when they are answered, and the reactor came round once more."""
        count = self.answered + len(requests)
        client.transport.write(b"".join(requests))
        await self.until(lambda: self.answered == count)
        await self.turn()
        await self.turn()


class HeldTests(Case):
    async def test_leave_at_the_end(self) -> None:
        other = await self.connect()
        await self.ask(self.client, get("/a"))
        await self.ask(other, get("/b"))
        self.assertEqual((self.client.data, other.data), (b"", b""))
        self.site.turn.end()
        await self.client.shows(b"\r\n\r\n/a")
        await other.shows(b"\r\n\r\n/b")

    async def test_many_leave_before(self) -> None:
        """All of them, when they are as many as leave together; the next ones wait again."""
        clients = [await self.connect() for _ in range(TOGETHER + 1)]
        for number, client in enumerate(clients[:TOGETHER]):
            self.assertEqual(clients[0].data, b"")
            await self.ask(client, get(f"/{number}"))
        for number, client in enumerate(clients[:TOGETHER]):
            await client.shows(b"\r\n\r\n/%d" % number)
        await self.ask(clients[TOGETHER], get("/a"))
        self.assertEqual(clients[TOGETHER].data, b"")

    async def test_leave_at_once_where_nothing_else_happens(self) -> None:
        self.site.turn.is_shared = False
        self.client.transport.write(get("/a"))
        await self.client.shows(b"\r\n\r\n/a")

    async def test_in_order(self) -> None:
        """Of several on one connection."""
        await self.ask(self.client, get("/a"), get("/b"), get("/c"))
        self.assertEqual(self.client.data, b"")
        self.site.turn.end()
        await self.client.shows(b"\r\n\r\n/c")
        self.assertLess(self.client.data.index(b"\r\n\r\n/a"), self.client.data.index(b"\r\n\r\n/b"))
        self.assertEqual(self.client.data.count(b"HTTP/1.1 200 OK\r\n"), 3)

    async def test_not_overtaken(self) -> None:
        """By an answer that is sent at once, as a whole or from a file."""
        for large in ("/large", "/file"):
            self.client.data.clear()
            await self.ask(self.client, get("/a"), get(large))
            await self.client.has(len(LARGE))
            self.assertLess(self.client.data.index(b"\r\n\r\n/a"), 400)
            self.assertEqual(self.client.data.count(b"HTTP/1.1 200 OK\r\n"), 2)
            self.site.turn.end()
            await self.ask(self.client, get("/z"))
            self.site.turn.end()
            await self.client.shows(b"\r\n\r\n/z")
            self.assertEqual(self.client.data.count(b"HTTP/1.1 200 OK\r\n"), 3)

    async def test_bounded(self) -> None:
        """A client that asks for more than is held back gets it."""
        self.client.transport.write(get("/held") * 3)
        await self.client.has(HELD)

    async def test_before_the_connection_closes(self) -> None:
        answer = await self.client.talk(get("/a") + get("/b", "Connection: close"))
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK\r\n"), 2)
        self.assertTrue(answer.endswith(b"\r\n\r\n/b"))

    async def test_before_the_client_is_left_to_itself(self) -> None:
        """The answer to a request whose body nobody wants."""
        self.client.transport.write(b"PUT /a HTTP/1.1\r\nHost: r\r\nContent-Length: 1000000\r\n\r\n")
        await self.client.shows(b"\r\n\r\n/a")

    async def test_before_what_takes_long(self) -> None:
        """A large piece of a body, and a file."""
        for long in (put(b"z" * (4 * HELD)), get("/file")):
            self.client.data.clear()
            other = await self.connect()
            await self.ask(self.client, get("/a"))
            self.assertEqual(self.client.data, b"")
            other.transport.write(long)
            await self.client.shows(b"\r\n\r\n/a")

    async def test_drained(self) -> None:
        await self.ask(self.client, get("/a"))
        drained = self.site.drain()
        await self.client.closed
        self.assertTrue(self.client.data.endswith(b"\r\n\r\n/a"))
        await drained

    async def test_client_gone(self) -> None:
        """It leaves no trace, and others have their answers."""
        other = await self.connect()
        await self.ask(self.client, get("/a"))
        await self.ask(other, get("/b"))
        self.client.transport.abortConnection()
        await self.client.closed
        await self.until(lambda: self.site.connections == 1)
        self.site.turn.end()
        await other.shows(b"\r\n\r\n/b")


class TlsTests(Case):
    kind = "ssl"

    async def test_at_once(self) -> None:
        """What is sent there is not one call."""
        self.client.transport.write(get("/a"))
        await self.client.shows(b"\r\n\r\n/a")
