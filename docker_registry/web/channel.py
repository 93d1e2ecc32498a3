"""One connection: requests one after the other, each answered before the next is looked at.

llhttp (httptools) parses heads; this module decides which bytes it sees: never beyond the end of one. So a pipelined
request waits as bytes, and what follows a refused body is never read as a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from docker_registry.complaints import log_failed
from docker_registry.errors import SourceGone
from docker_registry.web.body import Body, Budget
from docker_registry.web.chunks import Chunks
from docker_registry.web.deadlines import Watch
from docker_registry.web.errors import ClientGone, Refusal
from docker_registry.web.framing import Fields, body_length, judge, origin_form, start_line
from docker_registry.web.heads import Parser
from docker_registry.web.inlet import Inlet
from docker_registry.web.outlet import HELD, SMALL, WRITE, Outlet
from docker_registry.web.request import Request
from docker_registry.web.states import State
from docker_registry.web.transports import host, read_at_once

if TYPE_CHECKING:
    from docker_registry.web.site import Site

TURN = 32
"""Requests of one connection that are taken up in one turn of the reactor."""

READ_AHEAD = 16 << 10
"""Bytes of later requests that may wait; beyond, the client is held back."""

_NO_BODY = Body(Budget(0), 0)
_NO_LINE = ("GET", b"", "1.1")


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class Channel(Protocol):
    """:ivar state: where it stands.
    :ivar changes: counts the changes of state.
    :ivar request: the one that is read or answered.
    :ivar address: of the peer of the connection; a proxy's until the proxy has said whose it is.
    :ivar client: the address that requests come from.
    :ivar secure: whether it is TLS.
    :ivar is_greeted: whether a request has come.
    """

    log = Logger()
    transport: Any
    out: Outlet

    def __init__(self, site: Site) -> None:
        self.site = site
        self.state = State.IDLE
        self.changes = 0
        self.request: Request | None = None
        self.address = self.client = ""
        self.secure = self.is_greeted = self._handshaken = False
        self._watch = Watch(site.now())
        self._inlet = Inlet(site.limits)
        self._parser = Parser(site.limits)
        self._line = _NO_LINE                       # method, target and version of the request that is read
        self._chunks: Chunks | None = None
        self._running: Deferred[Any] | None = None
        self._discarded = 0
        self._advancing = self._resting = False
        self._body_held = self._paused = self._input_ended = self._lost = False

    # From the transport

    def connectionMade(self) -> None:
        self.out = Outlet(self.transport, self._advance)
        self.secure = self.out.is_secure
        self.address = self.client = host(self.transport.getPeer())
        if self.site.opened(self):
            return
        if self.site.is_overrun:
            self.abort()
        else:
            self.refuse(Refusal(503, "too many connections"))

    def handshakeCompleted(self) -> None:
        self._handshaken = True
        self.changes += 1

    @property
    def is_shaking_hands(self) -> bool:
        return self.secure and not self._handshaken

    def dataReceived(self, data: bytes) -> None:
        if self.state is State.LINGER:
            self._discarded += len(data)
            if self._discarded > self.site.limits.drain_bytes:
                self.abort()
        elif self.state is not State.CLOSED:
            if len(data) > HELD:
                self.site.turn.end()
            self._inlet.add(data)
            self._advance()

    def readConnectionLost(self) -> None:
        """The client sends no more; what it asked for whole is still answered."""
        self._input_ended = True
        self._advance()

    def writeConnectionLost(self) -> None:
        """It was this side that closed it."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._lost = True
        self.state = State.CLOSED
        request, self.request = self.request, None
        running, self._running = self._running, None
        self.out.lost()
        if request is not None:
            request.is_over = True
            request.body.fail(ClientGone())
            if running is not None:
                running.cancel()
            self.site.ended(request)
        self._parser.close()
        self.site.closed(self)

    # Reading

    def _advance(self) -> None:
        """Read as much as may be read now."""
        if self._advancing:
            return
        self._advancing = True
        try:
            self._read()
        except Refusal as refusal:
            self.refuse(refusal)
        finally:
            self._advancing = False
        if self._input_ended and not self._resting:
            self._end_with_input()
        self._pace()

    def _read(self) -> None:
        heads = 0
        while self._inlet.left and not self.out.is_full and not self._resting:
            if self.state is State.BODY:
                self._read_body()
            elif self.state not in _READING:
                break
            elif heads == TURN:
                self._rest()
            else:
                heads += 1
                if not self._read_head():
                    break

    def _rest(self) -> None:
        """Read on in the next turn of the reactor: others want to be served, too."""
        self._resting = True
        self.site.later(self._go_on)

    def _go_on(self) -> None:
        self._resting = False
        self.site.turn.end()
        self._advance()

    def _read_head(self) -> bool:
        """Whether all of it is here."""
        if self.state is State.IDLE:
            self._inlet.skip_empty_lines()
        head = self._inlet.take_head()
        if head is not None:
            self._open_request(head)
            return True
        if self.state is State.IDLE and self._inlet.left:
            self._enter(State.HEAD)
        return False

    def _open_request(self, head: bytes) -> None:
        if not self.is_greeted:
            self._greet()
        self._line = method, target, version = start_line(head, self.site.limits)
        headers = self._parser.parse_head(head)
        judge(version, headers)
        target = origin_form(target, headers)
        body = self._body(version, headers)
        request = Request(self, method, target, headers, version, self._parser.keep_alive, body, self.site.now())
        self.request = request
        self.site.began()
        if body.complete:
            self._enter(State.ANSWER)
            self._start(request)
            return
        self._enter(State.BODY)
        if not self._inlet.left:                    # otherwise it is started when that has been taken
            self._start(request)

    def _greet(self) -> None:
        """The first request of the connection: now a proxy has said where it comes from."""
        self.is_greeted = True
        self.client = host(self.transport.getPeer())
        if self.client != self.address and not self.site.moved(self, self.client):
            raise Refusal(503, "too many connections")

    def _body(self, version: str, headers: Fields) -> Body:
        """What follows the head."""
        length = body_length(headers)
        if length == 0:
            return _NO_BODY
        self._chunks = Chunks(self.site.limits.chunk_line_bytes) if length is None else None
        self._parser.start_again()                  # it does not see bodies
        return Body(self.site.budget, length, version == "1.1" and b"expect" in headers, self)

    def _read_body(self) -> None:
        request, inlet, chunks = self.request, self._inlet, self._chunks
        assert request is not None
        body, data, at = request.body, inlet.data, inlet.at
        if chunks is None:
            assert body.length is not None
            inlet.at = min(len(data), at + body.length - body.received)
            part = data if inlet.left == at == 0 else data[at : inlet.at]
            whole = body.received + len(part) == body.length
        else:
            part, inlet.at = chunks.take(data, at)
            whole = chunks.complete
            if inlet.left and not whole:
                self._rest()                        # they are many, and small
        read_at_once(self.transport, WRITE if whole else self.site.budget.read)
        if whole:
            self._enter(State.ANSWER)
        body.feed(part, whole)                      # whoever waited for that may answer now
        self._start(request)

    def _end_with_input(self) -> None:
        """Nothing more will come: end what waits for it."""
        if self.state is State.BODY:
            self.abort()
        elif self.state is State.LINGER or (self.state in _READING and not self.out.is_full):
            self.let_go()

    # Answering

    def _start(self, request: Request) -> None:
        if self._running is not None or request is not self.request:
            return
        try:
            running = self.site.handle(request)
        except Exception:
            self._failed(Failure(), request)
            return
        if running is None:
            self._left(None, request)
            return
        if request is self.request:
            self._running = running
        running.addCallbacks(self._left, self._failed, callbackArgs=(request,), errbackArgs=(request,))

    def _left(self, _: object, request: Request) -> None:
        """The handler is done."""
        if request is self.request and self.out.sender is None:
            self._failed(Failure(RuntimeError("the handler has not answered")), request)

    def _failed(self, failure: Failure, request: Request) -> None:
        """The handler ended with an error that it had not phrased."""
        if isinstance(failure.value, Refusal):
            refusal: Refusal | None = failure.value
        elif failure.check(CancelledError, SourceGone) is not None:
            refusal = None
        else:
            refusal = Refusal(500, "the server failed; its log says why")
            log_failed(self.log, "{request.method} {request.path} failed", failure, request=request)
        if request is self.request:
            if refusal is None:
                self.abort()
            else:
                self.refuse(refusal, last=False)

    def refuse(self, refusal: Refusal, last: bool = True) -> None:
        """Answer over the handler's head.

        :param last: whether the connection ends, since nobody knows what the rest of it means.
        """
        if self._lost or self.state in _ENDING:
            return
        request, running = self.request, self._running
        if request is None:
            method, target, version = self._line
            target = target if target[:1] == b"/" else b""
            request = Request(self, method, target, {}, version, False, Body(self.site.budget, None), self.site.now())
            self.request = request
            self.site.began()
        if request.status:
            self.abort()                            # never let a torn answer look whole
            return
        request.keep_alive = request.keep_alive and not last
        if isinstance(refusal, SourceGone):
            request.body.verdict = refusal
        headers, content = self.site.refusal(refusal.status, refusal.reason, request.target)
        request.answer(refusal.status, headers, content)
        request.is_over = True
        if running is not None:
            running.cancel()

    def send_last(self, request: Request, head: bytes, content: bytes = b"") -> None:
        """Write the end of an answer, and go on to what comes after it."""
        if request is not self.request:
            return                                  # the connection has gone, or was answered over the handler's head
        if len(content) > SMALL:
            self.out.stream(request, head, content)
            return
        if head:
            self.out.write_with_others(head + content, self.site.turn)
        self.request = self._running = None
        self._line = _NO_LINE
        self._body_held = False
        self.site.ended(request)
        if request.body is not _NO_BODY:
            request.body.close()
        if not request.keep_alive or self.site.draining:
            self._end(request.body.complete)
        else:
            self._enter(State.IDLE)
            self._advance()

    def connection_header(self, request: Request) -> bytes:
        """What the answer says of the connection, and thereby decides."""
        if not request.keep_alive or self.site.draining or not request.body.complete:
            request.keep_alive = False
            return b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if request.http_version == "1.0" else b""

    # As the sender of bodies

    def invite(self) -> None:
        self.out.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def hold_body(self, held: bool) -> None:
        self._body_held = held
        self._pace()

    def _pace(self) -> None:
        """Hold the client back, or let it go on."""
        hold = self._body_held or self._inlet.left > READ_AHEAD
        if hold is not self._paused and not self._lost and not self._input_ended:
            self._paused = hold
            if hold:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    # Ending

    def _end(self, whole: bool) -> None:
        """Close, after reading for a while what still comes, so that the client sees the answer and not a reset."""
        self._inlet.clear()
        if whole or self._input_ended:
            self.let_go()
        else:
            self._enter(State.LINGER)
            self._pace()
            self.out.half_close()

    def let_go(self) -> None:
        """Close when all has gone that was written."""
        self._enter(State.CLOSED)
        self.out.close()
        self.site.let_go()

    def abort(self) -> None:
        """Cut, whatever is on its way."""
        if not self._lost:
            self.transport.abortConnection()

    def close_if_idle(self) -> None:
        """The site is closing."""
        if self.state is State.IDLE and not self._resting:
            self.let_go()

    def _enter(self, state: State) -> None:
        self.state = state
        self.changes += 1

    @property
    def is_done(self) -> bool:
        """Whether it only waits for the client to see the end."""
        return self.state is State.CLOSED and not self.out.is_flushing

    def check(self, now: float) -> None:
        """Called every second or so: end what takes too long."""
        self._watch.check(self, now)


_READING = (State.IDLE, State.HEAD)
_ENDING = (State.LINGER, State.CLOSED)
