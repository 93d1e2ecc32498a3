"""One connection: requests one after the other, each answered before the next is looked at.

llhttp (httptools) parses; this module decides which bytes it sees: never beyond the end of a message. So a pipelined
request waits as bytes, and what follows a refused body is never read as a request.

::

    IDLE -> HEAD -> BODY -> ANSWER -> IDLE
             |        |        |
             +--------+--------+--> LAST: an answer that ends the connection; what still comes is thrown away
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

import httptools
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol as BaseProtocol
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from docker_registry.errors import SourceGone
from docker_registry.web.body import Body
from docker_registry.web.errors import BodyTooSlow, ClientGone, Refusal
from docker_registry.web.framing import Chunks, judge, origin_form
from docker_registry.web.request import Request

if TYPE_CHECKING:
    from docker_registry.web.site import Site

READ_AHEAD = 64 << 10
"""Bytes of later requests that may wait; beyond, the client is held back."""

RECEIVE = 256 << 10
"""Bytes asked of the socket at once."""

_HEAD_END = b"\r\n\r\n"


_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"


class State(Enum):
    IDLE = "between requests"
    HEAD = "in a request's head"
    BODY = "in a request's body"
    ANSWER = "a whole request is being answered"
    LAST = "the last answer is sent"


class Sender(Protocol):
    """What streams an answer, and wants to know whether the client takes it."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def stop(self) -> None: ...


@implementer(IHalfCloseableProtocol, IPushProducer)
class Channel(BaseProtocol):
    log = Logger()
    transport: Any

    def __init__(self, site: Site) -> None:
        self.site = site
        self.address = ""                   # of the peer of the connection; a proxy's, if there is one
        self.sender: Sender | None = None
        self._state = State.IDLE
        self._since = site.now()            # when the state began, or when its clock was last set
        self._taken = 0                     # bytes of body at that time
        self._pending = b""
        self._head_bytes = 0
        self._tail = b""                    # the last bytes of the head so far: its end may lie across two reads
        self._chunks: Chunks | None = None
        self._request: Request | None = None
        self._running: Deferred[None] | None = None
        self._advancing = False
        self._drained = 0
        self._body_held = self._paused = self._write_full = self._lost = False
        self._input_ended = self._whole = self._is_let_go = False
        self._is_plain = False              # a socket, without TLS or a proxy's line before it
        self._buffered = False              # whether bytes wait in the transport
        self._parser = httptools.HttpRequestParser(self)
        self._new_message()

    # From the transport

    def connectionMade(self) -> None:
        if hasattr(self.transport, "bufferSize"):
            self.transport.bufferSize = RECEIVE
        self.address = _host(self.transport.getPeer())
        if isinstance(self.transport, Connection) and not self.transport.TLS:
            self._is_plain = True
        self.transport.registerProducer(self, True)
        if not self.site.opened(self):
            self._enter(State.LAST)
            self.write(_FULL)
            self._let_go()

    @property
    def client(self) -> str:
        """The address that requests come from; a proxy may have said so."""
        return _host(self.transport.getPeer())

    def dataReceived(self, data: bytes) -> None:
        if self._state is State.LAST:
            self._drained += len(data)
            if self._drained > self.site.limits.drain_bytes:
                self.transport.abortConnection()
            return
        self._pending = self._pending + data if self._pending else data
        self._advance()

    def readConnectionLost(self) -> None:
        """The client sends no more; what it asked for whole is still answered."""
        self._input_ended = True
        if self._state is State.ANSWER and self._request is not None:
            self._request.keep_alive = False
        elif self._state is not State.LAST:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._lost = True
        request, self._request = self._request, None
        if self._running is not None:
            self._running.cancel()          # first, quietly: a handler woken by its body would look like a fault
        if self.sender is not None:
            self.sender.stop()
        if request is not None:
            request.body.fail(ClientGone())
            self.site.ended(request)
        self.site.closed(self)

    # As the transport's producer: whether the client takes what it is sent

    def pauseProducing(self) -> None:
        self._write_full = True
        if self.sender is not None:
            self.sender.pause()

    def resumeProducing(self) -> None:
        self._write_full = self._buffered = False
        self.progressed()
        if self.sender is not None:
            self.sender.resume()
        elif self._pending:
            self._advance()

    def stopProducing(self) -> None:
        """The connection is lost; `connectionLost` follows."""

    # From the parser

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.setdefault(name.lower(), []).append(value)
        self._fields += 1

    def on_headers_complete(self) -> None:
        self._headed = True
        self._method = self._parser.get_method().decode("ascii")
        self._version = self._parser.get_http_version()
        self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        if self._request is not None:
            self._request.body.feed(data)

    def on_message_complete(self) -> None:
        self._complete = True

    # Reading

    def _advance(self) -> None:
        """Read as much as may be read now."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._pending and not self._lost and not self._write_full:
                if self._state is State.IDLE:
                    self._begin_head()
                elif self._state is State.HEAD:
                    self._read_head()
                elif self._state is State.BODY:
                    self._read_body()
                else:
                    break
        except Refusal as refusal:
            self._refuse(refusal)
        except httptools.HttpParserError:
            self._refuse(Refusal(400, "malformed request"))
        finally:
            self._advancing = False
        self._pace()

    def _begin_head(self) -> None:
        """Empty lines before a request are passed over (RFC 9112, 2.2)."""
        stripped = self._pending.lstrip(b"\r\n")
        self._head_bytes += len(self._pending) - len(stripped)
        self._pending = stripped
        if self._head_bytes > READ_AHEAD:
            raise Refusal(400, "malformed request")
        if stripped:
            self._head_bytes = 0
            if not self._read_head():
                self._enter(State.HEAD)

    def _read_head(self) -> bool:
        """Whether all of it is here."""
        data = self._pending
        if self._head_bytes == 0 and data[0] == 0x16:
            self.transport.abortConnection()        # a TLS greeting on a plain port: clients try that first
            self._pending = b""
            return False
        head = data[: self._head_end(data)]
        self._pending = data[len(head) :]
        self._head_bytes += len(head)
        self._tail = (self._tail + head[-3:])[-3:]
        self._feed(head)
        self._judge_size()
        if not self._headed:
            return False
        self._open_request()
        return True

    def _head_end(self, data: bytes) -> int:
        """Where in ``data`` the head ends; all of it is head if the end is yet to come."""
        across = (self._tail + data[:3]).find(_HEAD_END)
        if across >= 0:
            return across + len(_HEAD_END) - len(self._tail)
        found = data.find(_HEAD_END)
        return found + len(_HEAD_END) if found >= 0 else len(data)

    def _judge_size(self) -> None:
        limits = self.site.limits
        if len(self._target) > limits.target_bytes:
            raise Refusal(414, "the request's target is too long")
        if self._head_bytes > limits.header_bytes or self._fields > limits.header_fields:
            raise Refusal(431, "the request's head is too long")

    def _open_request(self) -> None:
        method, version = self._method, self._version
        judge(method, version, self._headers)
        target = origin_form(self._target, self._headers, self.site.limits)
        length = self._announced()
        body = Body(
            self.site.budget, length, b"expect" in self._headers and version == "1.1", self._invite, self._hold_body
        )
        keep_alive = self._keep_alive and not self._input_ended
        self._request = Request(
            self, method, target, self._headers, version, keep_alive, length, body, self.site.now()
        )
        self.site.began(self._request)
        self._chunks = Chunks(self.site.limits.chunk_line_bytes) if length is None else None
        if self._upgrading and length is None:
            raise Refusal(400, "no upgrade with a body of chunks here")
        if self._complete and (length == 0 or not self._upgrading):
            self._end_body()
            return
        self._enter(State.BODY)
        if not self._pending:
            self._start()

    def _announced(self) -> int | None:
        """The body's length in bytes, ``None`` for chunks."""
        if b"transfer-encoding" in self._headers:
            return None
        lengths = self._headers.get(b"content-length")
        return int(lengths[0]) if lengths else 0    # llhttp has seen to it that there is one, of at most 20 digits

    def _read_body(self) -> None:
        request, data = self._request, self._pending
        assert request is not None
        if self._chunks is not None:
            end = self._chunks.take(data, 0)
        else:
            end = min(len(data), (request.content_length or 0) - request.body.received)
        part, self._pending = (data, b"") if end == len(data) else (data[:end], data[end:])
        if self._upgrading:
            # The parser takes the body for the other protocol's: without chunks there is nothing to parse in it.
            request.body.feed(part)
            self._complete = request.body.received == request.content_length
        else:
            self._feed(part)
        if self._chunks is not None and self._chunks.complete is not self._complete:
            raise Refusal(400, "malformed chunks")
        if self._complete:
            self._end_body()
        else:
            self._start()

    def _end_body(self) -> None:
        assert self._request is not None
        self._enter(State.ANSWER)
        self._request.body.end()            # a handler that waited for this may answer now, and the state move on
        self._start()

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # We stay with HTTP/1.1 (RFC 9110, 7.8); this parser has nothing more to say.
            self._upgrading = True
            self._parser = httptools.HttpRequestParser(self)

    def _new_message(self) -> None:
        self._target = b""
        self._headers: dict[bytes, list[bytes]] = {}
        self._fields = 0
        self._headed = self._complete = self._upgrading = False
        self._tail = b""
        self._head_bytes = 0

    # Answering

    def _start(self) -> None:
        request = self._request
        if self._running is None and request is not None:
            running = self.site.handler(request)
            running.addErrback(self._failed, request)
            if request is self._request:
                self._running = running

    def _failed(self, failure: Failure, request: Request) -> None:
        """The handler ended with an error that it had not phrased."""
        if failure.check(CancelledError, SourceGone) is not None:
            if request is self._request:
                self.transport.abortConnection()
            return
        refusal = Refusal(500, "the server failed; its log says why")
        if isinstance(failure.value, Refusal):
            refusal = failure.value
        else:
            self.log.failure("{method} {path} failed", failure, method=request.method, path=request.path)
        if request is self._request:
            self._refuse(refusal)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer without a handler; the connection ends, as nobody knows what the rest of it means."""
        if self._state is State.LAST or self._lost:
            return
        request = self._request
        if request is None:
            body = Body(self.site.budget, None)
            target = self._target if self._target.isascii() else b""
            request = Request(self, "GET", target, {}, "1.1", False, None, body, self.site.now())
            self.site.began(request)
            self._request = request
        request.keep_alive = False
        if request.status:
            self.transport.abortConnection()        # never let a torn answer look whole
            return
        running = self._running
        headers, content = self.site.refusal(refusal.status, refusal.reason, request.target)
        request.answer(refusal.status, headers, content)
        if running is not None:
            running.cancel()
        request.body.fail(refusal)

    def send_last(self, request: Request, data: bytes) -> None:
        """Write the end of an answer, and go on to what comes after it."""
        if request is not self._request:
            return                                  # the connection has gone, or was answered over the handler's head
        if data:
            self.write(data)
        self._request = self._running = None
        self.site.ended(request)
        if not request.body.complete:
            rest = (request.content_length or 0) - request.body.received
            if self._chunks is None and 0 < rest <= len(self._pending) and request.keep_alive:
                self._pending = self._pending[rest:]        # refused, and already here: it is passed over
                self._parser = httptools.HttpRequestParser(self)
            else:
                request.keep_alive = False
            request.body.release()
        if not request.keep_alive or self.site.draining:
            self._end(request.body.complete)
            return
        if request.http_version == "1.0":
            self._parser = httptools.HttpRequestParser(self)
        self._new_message()
        self._enter(State.IDLE)
        self._advance()

    def _end(self, whole: bool) -> None:
        """Close, after reading for a while what still comes, so that the client sees the answer and not a reset."""
        self._enter(State.LAST)
        self._pending = b""
        self._body_held = False
        self._whole = whole or self._input_ended
        self._pace()
        if self._whole:
            self._let_go()

    def connection_header(self, request: Request) -> bytes:
        if not request.keep_alive or self.site.draining or not self._may_go_on(request):
            return b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if request.http_version == "1.0" else b""

    def _may_go_on(self, request: Request) -> bool:
        if request.body.complete:
            return True
        rest = (request.content_length or 0) - request.body.received
        return self._chunks is None and 0 < rest <= len(self._pending)

    def write(self, data: bytes) -> None:
        """Send, or let the transport send when it can.

        What a plain socket takes is sent at once: asking the reactor to say when costs more than a small answer.
        """
        if self._is_plain and not self._buffered:
            sent = self.transport.writeSomeData(data)
            if not isinstance(sent, int):
                return                              # the connection is lost; the reactor will say so
            if sent == len(data):
                return
            data = data[sent:]
            self._buffered = True
        self.transport.write(data)
        if self._buffered:
            self.transport.producerPaused = True    # so that `resumeProducing` is called when it has gone

    def _invite(self) -> None:
        self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # Time

    def _enter(self, state: State) -> None:
        self._state = state
        self._since = self.site.now()
        self._taken = 0

    def progressed(self) -> None:
        """The client took something: its time begins again."""
        self._since = self.site.now()

    def wait_for_room(self) -> None:
        """Ask the transport to call `resumeProducing` when the socket takes more; only for a plain socket's."""
        self._write_full = True
        self.transport.producerPaused = True
        self.transport.startWriting()

    def check(self, now: float) -> None:
        """Called every second or so: end what takes too long."""
        limits, waited = self.site.limits, now - self._since
        if self._state is State.LAST:
            patience = limits.response_timeout if self._whole else limits.drain_timeout
            if waited > 2 * patience:
                self.transport.abortConnection()
            elif waited > patience:
                self._let_go()
        elif self._state is State.IDLE:
            if waited > limits.keepalive_timeout:
                self._close_idle()
        elif self._state is State.HEAD:
            if waited > limits.header_timeout:
                self._refuse(Refusal(408, "the request's head came too slowly"))
        elif self._write_full:
            if waited > limits.response_timeout:
                self.transport.abortConnection()
        elif self._state is State.BODY:
            self._check_body(now)

    def _check_body(self, now: float) -> None:
        request, limits = self._request, self.site.limits
        if request is None or not request.body.is_wanted:
            self._since = now                       # it is our turn
            return
        if now - self._since >= limits.body_timeout:
            if request.body.received - self._taken < limits.body_floor * limits.body_timeout:
                self._refuse(BodyTooSlow())
            self._since, self._taken = now, request.body.received

    def close_if_idle(self) -> None:
        """The site is closing."""
        if self._state is State.IDLE:
            self._close_idle()

    def _close_idle(self) -> None:
        self._end(True)

    def _let_go(self) -> None:
        if not self._is_let_go:
            self._is_let_go = True
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    # Holding the client back

    def _hold_body(self, held: bool) -> None:
        self._body_held = held
        self._since = self.site.now()
        self._pace()

    def _pace(self) -> None:
        hold = self._body_held or (self._state is State.ANSWER and len(self._pending) > READ_AHEAD)
        if hold is not self._paused and not self._lost:
            self._paused = hold
            if hold:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()


def _host(address: object) -> str:
    host = getattr(address, "host", None)
    return host if isinstance(host, str) else "local"
