"""A site over a transport in memory, with a clock that tests move and a handler that they write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, alsoProvides

from docker_registry.web.channel import Channel
from docker_registry.web.limits import Limits
from docker_registry.web.request import Request
from docker_registry.web.site import Site


class Wire(StringTransport):
    """A transport that remembers how it was ended."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    @property
    def ended(self) -> bool:
        return self.aborted or self.disconnecting

    @property
    def held_back(self) -> bool:
        """Whether the client is."""
        return self.producerState == "paused"


def refusal(status: int, reason: str, target: bytes) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
    return [(b"Content-Type", b"application/json")], json.dumps({"reason": reason}).encode()


class SiteCase(SynchronousTestCase):
    limits = Limits()
    wires: type[Wire] = Wire

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.requests: list[Request] = []
        self.finished: list[tuple[str, int]] = []
        self.site = Site(
            self.clock,
            self.handle,
            refusal=refusal,
            limits=self.limits,
            finished=[lambda request, seconds: self.finished.append((request.path, request.status))],
        )
        self.channel, self.wire = self.connect()

    def connect(self, *also: type[Interface], peer: IAddress | None = None) -> tuple[Channel, Wire]:
        """:param also: what the transport provides.
        :param peer: the client's address.
        """
        return self.connect_to(self.site, *also, peer=peer)

    def connect_to(self, site: Site, *also: type[Interface], peer: IAddress | None = None) -> tuple[Channel, Wire]:
        channel = site.buildProtocol(None)
        assert isinstance(channel, Channel)
        wire = self.wires(peerAddress=peer)
        alsoProvides(wire, *also)
        channel.makeConnection(wire)
        return channel, wire

    def handle(self, request: Request) -> Deferred[None]:
        self.requests.append(request)
        return Deferred.fromCoroutine(self.handler(request))

    handler: Callable[[Request], Coroutine[Deferred[Any], Any, None]]

    async def echo(self, request: Request) -> None:
        """Answers with what came."""
        content = await request.body.read_all(10 << 20)
        request.answer(200, [(b"X-Method", request.method.encode())], request.path.encode() + b" " + content)

    def send(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    def turns(self, count: int = 200) -> None:
        """Of the reactor, in which no time passes."""
        for _ in range(count):
            self.clock.advance(0)

    def sent(self) -> bytes:
        """What was answered since the last time."""
        data = self.wire.value()
        self.wire.clear()
        return bytes(data)

    def lose(self, reason: Exception | None = None) -> None:
        """The client is gone."""
        self.channel.connectionLost(Failure(reason or ConnectionLost()))

    def half_close(self) -> None:
        """The client sends no more."""
        if IHalfCloseableProtocol.providedBy(self.channel):
            self.channel.readConnectionLost()
        else:
            self.lose(ConnectionDone())

    def statuses(self, data: bytes) -> list[int]:
        """Of the answers in ``data``, whose bodies have no status lines in them."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


def get(path: str = "/", *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: registry", *headers, "", ""]).encode()


def put(content: bytes, *headers: str, path: str = "/put") -> bytes:
    head = "\r\n".join([f"PUT {path} HTTP/1.1", "Host: registry", f"Content-Length: {len(content)}", *headers, "", ""])
    return head.encode() + content


def chunked(*chunks: bytes, path: str = "/put") -> bytes:
    head = f"PUT {path} HTTP/1.1\r\nHost: registry\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
