"""An HTTP proxy on loopback that does harm by rule; without a server behind it, one that only says what it is told."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import httptools
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

FOR_EVER = 1 << 30


@dataclass
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    head: bytes = b""


@dataclass
class Fault:
    """What happens to requests that match.

    :ivar method: a pattern for the whole method.
    :ivar target: a pattern that is found in path and query.
    :ivar times: how many requests it happens to; the next ones are for the rules behind it.
    :ivar skip: how many go by before it happens to one.
    :ivar status: of an answer that is given without asking the server.
    :ivar headers: of that answer.
    :ivar body: of that answer.
    :ivar framed: whether that answer says how long it is.
    :ivar delay: seconds before anything happens.
    :ivar hang: never answer.
    :ivar refuse: cut the connection, and do not ask the server.
    :ivar lose: let the server do it, and cut the connection instead of passing the answer on.
    :ivar cut: pass on so many bytes of the answer's body, and cut the connection.
    :ivar flip: change this byte of the request's body.
    :ivar met: how many requests it has happened to.
    """

    method: str = ".*"
    target: str = ""
    times: int = FOR_EVER
    skip: int = 0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    framed: bool = True
    delay: float = 0.0
    hang: bool = False
    refuse: bool = False
    lose: bool = False
    cut: int | None = None
    flip: int | None = None
    met: int = 0

    def is_of(self, method: str, target: str) -> bool:
        """Whether it can happen to such a request."""
        return self.met < self.times and bool(re.fullmatch(self.method, method) and re.search(self.target, target))

    def matches(self, asked: Asked) -> bool:
        if not self.is_of(asked.method, asked.target):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.met += 1
        return True


class FaultProxy(Factory):
    """:param server: the port of the server behind it on loopback; 0 if there is none.
    :ivar rules: the first that matches a request is what happens to it; without one it is passed on.
    :ivar asked: all requests, in their order.
    :ivar port: where it listens.
    """

    def __init__(self, reactor: Any, server: int = 0) -> None:
        self.reactor = reactor
        self.server = server
        self.rules: list[Fault] = []
        self.asked: list[Asked] = []
        self.port = 0
        self.open = 0
        self._listener: Any = None
        self._conversations: set[_Conversation] = set()

    def buildProtocol(self, address: Any) -> _Conversation:
        return _Conversation(self)

    def start(self, context: Any = None) -> FaultProxy:
        """:param context: of TLS."""
        if context is None:
            self._listener = self.reactor.listenTCP(0, self, interface="127.0.0.1")
        else:
            self._listener = self.reactor.listenSSL(0, self, context, interface="127.0.0.1")
        self.port = self._listener.getHost().port
        return self

    def stop(self) -> Deferred[Any]:
        """Nobody can connect any more, and those who are connected are cut off."""
        for each in list(self._conversations):
            each.transport.abortConnection()
        return maybeDeferred(self._listener.stopListening)

    def add(self, **what: Any) -> Fault:
        fault = Fault(**what)
        self.rules.append(fault)
        return fault

    def hangs(self, method: str, target: str) -> bool:
        """Whether such a request would not be answered now."""
        rule = next((rule for rule in self.rules if not rule.skip and rule.is_of(method, target)), Fault())
        return rule.hang

    def seen(self, method: str = ".*", target: str = "") -> list[Asked]:
        """The requests that match."""
        return [each for each in self.asked if re.fullmatch(method, each.method) and re.search(target, each.target)]


class _Conversation(Protocol):
    """One connection: one request after the other."""

    transport: Any

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy
        self._parser = httptools.HttpRequestParser(self)
        self._connected = True
        self._server: _Behind | None = None
        self._later: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._proxy.open += 1
        self._proxy._conversations.add(self)

    def connectionLost(self, reason: Failure) -> None:      # type: ignore[override]
        self._proxy.open -= 1
        self._proxy._conversations.discard(self)
        self._connected = False
        if self._later is not None and self._later.active():
            self._later.cancel()
        if self._server is not None:
            self._server.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body = b"", {}, []     # type: ignore[var-annotated]

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        asked = Asked(
            self._parser.get_method().decode(), self._target.decode("latin-1"), self._headers, b"".join(self._body)
        )
        self._proxy.asked.append(asked)
        fault = next((rule for rule in self._proxy.rules if rule.matches(asked)), Fault())
        if fault.hang:
            return
        if fault.delay:
            self._later = self._proxy.reactor.callLater(fault.delay, self._meet, asked, fault)
        else:
            self._meet(asked, fault)

    def _meet(self, asked: Asked, fault: Fault) -> None:
        if fault.refuse:
            self.transport.abortConnection()
        elif fault.status:
            self._say(asked, fault)
        else:
            Deferred.fromCoroutine(self._pass_on(asked, fault))

    def _say(self, asked: Asked, fault: Fault) -> None:
        lines = [f"HTTP/1.1 {fault.status} Said", *(f"{name}: {value}" for name, value in fault.headers.items())]
        if fault.framed and "Transfer-Encoding" not in fault.headers:
            lines.append(f"Content-Length: {len(fault.body)}")
        body = b"" if asked.method == "HEAD" else fault.body
        self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body[: fault.cut])
        if not fault.framed or (fault.cut is not None and fault.cut < len(body)):
            self.transport.loseConnection()

    async def _pass_on(self, asked: Asked, fault: Fault) -> None:
        body = bytearray(asked.body)
        if fault.flip is not None:
            body[fault.flip] ^= 1
        endpoint = TCP4ClientEndpoint(self._proxy.reactor, "127.0.0.1", self._proxy.server)
        try:
            self._server = await connectProtocol(endpoint, _Behind(self, fault))
        except ConnectError:
            self.transport.abortConnection()
            return
        if not self._connected:
            self._server.transport.abortConnection()        # whoever asked has gone meanwhile
            return
        headers = {**asked.headers, "connection": "close", "content-length": str(len(body))}
        headers.pop("transfer-encoding", None)
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._server.transport.write(
            f"{asked.method} {asked.target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + bytes(body)
        )
        self.transport.registerProducer(self._server.transport, True)


class _Behind(Protocol):
    """The server's side of one request."""

    transport: Any

    def __init__(self, client: _Conversation, fault: Fault) -> None:
        self._client = client
        self._fault = fault
        self._head = b""
        self._passed: int | None = None         # bytes of the body

    def dataReceived(self, data: bytes) -> None:
        if self._fault.lose:
            return
        if self._passed is None:
            self._head += data
            head, blank, data = self._head.partition(b"\r\n\r\n")
            if not blank:
                return
            self._passed = 0
            self._client.transport.write(head + blank)
        if self._fault.cut is not None:
            data = data[: self._fault.cut - self._passed]
        self._passed += len(data)
        self._client.transport.write(data)
        if self._fault.cut is not None and self._passed >= self._fault.cut:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:      # type: ignore[override]
        if self._client._connected:
            self._client.transport.unregisterProducer()
            if self._fault.lose:
                self._client.transport.abortConnection()
            else:
                self._client.transport.loseConnection()
