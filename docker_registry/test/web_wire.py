"""A site on a real port: plain, TLS, UNIX, behind a proxy's line; and a client that reads when the test says so."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    SSL4ClientEndpoint,
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
    serverFromString,
)
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from docker_registry.test.reactor_case import ReactorCase
from docker_registry.test.web_case import refusal
from docker_registry.web.limits import Limits
from docker_registry.web.request import Request
from docker_registry.web.site import Site

PROXY = b"PROXY TCP4 %b 192.0.2.1 4711 5000\r\n"


@implementer(IHandshakeListener)
class Client(Protocol):
    """Collects what it is sent."""

    transport: Any

    def __init__(self) -> None:
        self.data = bytearray()
        self.closed: Deferred[None] = Deferred()
        self.shaken: Deferred[None] = Deferred()
        self._wanted: tuple[Callable[[], bool], Deferred[None]] | None = None

    def handshakeCompleted(self) -> None:
        self.shaken.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if self._wanted is not None and self._wanted[0]():
            (_, waiting), self._wanted = self._wanted, None
            waiting.callback(None)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.closed.callback(None)

    def has(self, count: int) -> Deferred[None]:
        """Fires when so many bytes have come."""
        return self._when(lambda: len(self.data) >= count)

    def shows(self, text: bytes) -> Deferred[None]:
        """Fires when that has come."""
        return self._when(lambda: text in self.data)

    def _when(self, true: Callable[[], bool]) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        if true():
            waiting.callback(None)
        else:
            self._wanted = (true, waiting)
        return waiting

    async def talk(self, data: bytes) -> bytes:
        """Send, and read to the end of the connection."""
        self.transport.write(data)
        await self.closed
        return bytes(self.data)


class WireCase(ReactorCase):
    """The site's time is a `Clock`: it passes when a test says so, while bytes move as they do."""

    limits = Limits()
    kind = "tcp"
    """``tcp``, ``unix``, ``ssl``, ``haproxy`` or ``haproxy-ssl``."""

    def setUp(self) -> Any:
        self.reactor: Any = _reactor
        self.directory = Path(tempfile.mkdtemp())       # short: the name of a socket has 107 bytes
        self.addCleanup(shutil.rmtree, self.directory)
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.requests: list[Request] = []
        self.ended: Deferred[Request] = Deferred()
        self.site = Site(self.clock, self.handle, refusal=refusal, limits=self.limits, finished=[self.finished])
        self.addCleanup(self.until, lambda: not self.site.connections)
        return Deferred.fromCoroutine(self.begin())

    async def begin(self) -> None:
        await self.listen()
        self.client = await self.connect()

    def handle(self, request: Request) -> Coroutine[Deferred[Any], Any, None]:
        self.requests.append(request)
        return self.handler(request)

    handler: Callable[[Request], Coroutine[Deferred[Any], Any, None]]

    def finished(self, request: Request, seconds: float) -> None:
        ended, self.ended = self.ended, Deferred()
        ended.callback(request)

    async def listen(self) -> None:
        where = "tcp:0:interface=127.0.0.1"
        if self.kind == "unix":
            where = f"unix:{self.directory}/socket"
        elif self.kind.endswith("ssl"):
            where = f"ssl:0:interface=127.0.0.1:privateKey={self.key()}:certKey={self.key()}"
        if self.kind.startswith("haproxy"):
            where = f"haproxy:{where}"
        self.port: Any = await serverFromString(self.reactor, where).listen(self.site)
        self.addCleanup(self.port.stopListening)

    def key(self) -> Path:
        """A file with a key and a certificate for it."""
        path = self.directory / "key.pem"
        if not path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "registry")])
            now = datetime(2026, 1, 1)
            builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=10_000))
            path.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
                + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
            )
        return path

    async def connect(self, address: bytes = b"192.0.2.7") -> Client:
        """:param address: what a proxy says of the client."""
        endpoint: Any
        if self.kind == "unix":
            endpoint = UNIXClientEndpoint(self.reactor, str(self.directory / "socket"))
        elif self.kind.endswith("ssl"):
            endpoint = SSL4ClientEndpoint(self.reactor, "127.0.0.1", self.port.getHost().port, CertificateOptions())
        else:
            endpoint = TCP4ClientEndpoint(self.reactor, "127.0.0.1", self.port.getHost().port)
        client: Client = await connectProtocol(endpoint, Client())
        self.addCleanup(self.end, client)
        if self.kind.endswith("ssl"):
            await client.shaken
        if self.kind.startswith("haproxy"):
            client.transport.write(PROXY % address)
        return client

    async def end(self, client: Client) -> None:
        if not client.closed.called:
            client.transport.abortConnection()
            await client.closed

    def turn(self) -> Deferred[None]:
        """Of the reactor."""
        turned: Deferred[None] = Deferred()
        self.reactor.callLater(0, turned.callback, None)
        return turned

    async def until(self, true: Callable[[], bool]) -> None:
        """Turn after turn; the test's time limit is what ends it otherwise."""
        while not true():
            await self.turn()

    def file(self, size: int) -> Path:
        path = self.directory / "file"
        path.write_bytes(os.urandom(size))
        return path
