"""Stores that are asked in TLS and do not answer so."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory

from docker_registry.errors import StoreUnavailable
from docker_registry.storage.http import Patience, Silent
from docker_registry.test.certificates import make_certificate
from docker_registry.test.servers.faults import FaultProxy
from docker_registry.test.test_storage_http import HttpCase, reactor


class Expecting(Factory):
    """Servers that expect HTTP.

    :param answer: to what is none; ``None`` while they wait for more of it, and nothing when they go away.
    :ivar seen: all that came.
    """

    def __init__(self, answer: bytes | None, knows_http: bool = True) -> None:
        self.seen = b""
        self._answer = answer
        self._knows_http = knows_http

    def buildProtocol(self, address: Any) -> Protocol:
        protocol = Protocol()
        setattr(protocol, "dataReceived", partial(self._came, protocol))    # noqa: B010  # mypy: a method
        return protocol

    def _came(self, protocol: Any, data: bytes) -> None:
        self.seen += data
        is_http = self._knows_http and b" / HTTP/1.1\r\n" in data
        answer = b"HTTP/1.1 300 Several\r\nContent-Length: 0\r\n\r\n" if is_http else self._answer
        if answer is not None:
            protocol.transport.write(answer)
            protocol.transport.loseConnection()


class HandshakeTests(HttpCase):
    async def test_http_in_place_of_it(self) -> None:
        """Said at once, whatever such a server makes of a handshake: it answers, goes away, or waits for more."""
        servers = [Expecting(each) for each in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", None)]
        for server in servers:
            port = reactor.listenTCP(0, server, interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            http = self.http(patience=Patience(connect=2, first_byte=600))
            where = f"https://127.0.0.1:{port.getHost().port}"
            asking = http.request("GET", f"{where}/a?secret", {"X-Auth-Token": "secret"})
            text = await self.fails(asking, StoreUnavailable)
            self.assertIn("should the URL begin with http://?", text)
            self.assertNotIn(b"secret", server.seen)

    async def test_silent_in_place_of_it(self) -> None:
        """A server that hangs may be a good one: another try may succeed, and is made soon."""
        server = Expecting(None, knows_http=False)
        port = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        http = self.http(patience=Patience(connect=0.2, first_byte=600))
        where = f"https://127.0.0.1:{port.getHost().port}/"
        self.assertIn("did not answer in TLS in time", await self.fails(http.request("GET", where, {}), Silent))

    async def test_silent_after_it(self) -> None:
        """Who has spoken TLS is not asked whether he does."""
        directory = Path(self.mktemp())
        directory.mkdir()
        make_certificate(directory)
        context = DefaultOpenSSLContextFactory(str(directory / "key.pem"), str(directory / "cert.pem"))
        server = FaultProxy(reactor).start(context)
        self.addCleanup(server.stop)
        server.add(status=200, body=b"ok")
        http = self.http(ca=directory / "cert.pem", patience=Patience(connect=5, first_byte=2, idle=2))
        where = f"https://localhost:{server.port}/"
        self.assertEqual(await (await http.request("GET", where, {})).content(10), b"ok")
        server.rules.clear()
        server.add(hang=True)
        await self.fails(http.request("GET", where, {}), Silent)
        self.assertEqual([each.method for each in server.asked], ["GET", "GET"])
