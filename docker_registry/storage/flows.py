"""Bodies between this process and a store: bytes on their way out, and bytes on their way in.

Both hold next to nothing: who is faster waits for the other (F11).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from socket import MSG_PEEK, SO_RCVLOWAT, SOL_SOCKET
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer, IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from docker_registry.errors import Transient

LEAST, MOST = 128 << 10, 1 << 20
"""Bytes of a piece."""

COPIED = 512 << 10
"""Bytes at most of a piece on its way out: what is larger costs more than a step, and TLS copies it."""

SHARED = 8 << 20
"""Bytes that the pieces of all bodies together have, as long as none is smaller than `LEAST`."""


class Shares:
    """How large the pieces of bodies are: a step costs as much as 100 KiB do, so few bodies have large ones.

    A body has one piece in memory on its way out, where the connection copies what it is given; on its way in not more
    than one, and whoever reads has another.

    :ivar bodies: that are on their way.
    """

    def __init__(self) -> None:
        self.bodies = 0

    @property
    def piece(self) -> int:
        """Bytes that a body is given, or asked for, at a time."""
        return max(LEAST, min(MOST, SHARED // max(self.bodies, 1)))


Octets = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Flow:
    """A body that can be sent once: nobody has its bytes any more when a try has failed.

    :ivar read: the next bytes, none at the end.
    :ivar length: in bytes; ``None`` if that is not known before the end.
    """

    read: Callable[[], Awaitable[Sequence[Octets]]]
    length: int | None


Body = Sequence[Octets] | Flow
"""What is sent: parts that are at hand, and can be sent again, or a `Flow`."""


class Watch:
    """What is called when nothing has happened for too long.

    :param expire: called once; then `expired` is true.
    """

    def __init__(self, clock: IReactorTime, expire: Callable[[], object]) -> None:
        self.expired = False
        self._clock = clock
        self._expire = expire
        self._call: IDelayedCall | None = None

    def begin(self, seconds: float) -> None:
        """Something happened; the next thing must within ``seconds``."""
        if self._call is not None and self._call.active():
            self._call.reset(seconds)
        elif not self.expired:
            self._call = self._clock.callLater(seconds, self._late)

    def go_on(self, seconds: float) -> None:
        """It was not too long after all."""
        self.expired = False
        self.begin(seconds)

    def end(self) -> None:
        """Nobody is waited for now."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _late(self) -> None:
        self.expired = True
        self._expire()


@implementer(IBodyProducer, IPushProducer)
class Outflow:
    """Sends a body as fast as the store takes it.

    :param shares: says how large a piece is at the moment.
    :param watch: told of each step: the store has ``idle`` seconds to take the next piece, and ``first_byte`` to
        answer when it has all. While the body's own source is slow nobody is watched.
    """

    def __init__(self, body: Body, shares: Shares, watch: Watch, idle: float, first_byte: float) -> None:
        self._flow = body if isinstance(body, Flow) else None
        self._parts = deque(() if isinstance(body, Flow) else body)
        length = body.length if isinstance(body, Flow) else sum(map(len, body))
        self.length = UNKNOWN_LENGTH if length is None else length
        self._shares = shares
        self._watch = watch
        self._idle = idle
        self._first_byte = first_byte
        self._paused: Deferred[None] | None = None
        self._done: Deferred[None] | None = None
        self._pump: Deferred[None] | None = None
        self._straight: Any = None                  # a connection, if its socket is ours to write to
        self._is_answered = False

    def answered(self) -> None:
        """The answer has begun, or never will: what is still sent is not waited for, and the watch is the answer's."""
        self._is_answered = True

    def _expect(self, seconds: float) -> None:
        if not self._is_answered:
            self._watch.begin(seconds)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        done: Deferred[None] = Deferred(lambda _: self.stopProducing())
        self._done = done
        connection: Any = getattr(consumer, "_consumer", None) or getattr(consumer, "transport", None)
        if hasattr(connection, "SEND_LIMIT"):
            connection.SEND_LIMIT = COPIED          # in one call
        if _is_plain(connection):
            self._straight = connection
        self._pump = Deferred.fromCoroutine(self._copy(consumer))
        self._pump.addBoth(self._ended)
        return done

    async def _copy(self, consumer: IConsumer) -> None:
        self._shares.bodies += 1
        try:
            while parts := await self._next():
                for part in parts:
                    await self._write(consumer, part)
        finally:
            self._shares.bodies -= 1
        self._expect(self._first_byte)

    async def _write(self, consumer: IConsumer, part: Octets) -> None:
        if self._straight is not None and LEAST <= len(part) <= getattr(consumer, "_length", 0):
            return await self._write_straight(self._straight, consumer, memoryview(part))
        at = 0
        while at < len(part):
            end = at + min(self._shares.piece, COPIED)
            self._expect(self._idle)
            consumer.write(bytes(part[at:end]))
            if self._paused is not None:
                await self._paused
            at = end
        return None

    async def _write_straight(self, connection: Any, consumer: Any, left: memoryview) -> None:
        """Into the connection's socket: it would copy what it is given."""
        self._expect(self._idle)
        while left:
            # It sends what it has, asks for more when its socket takes more, and does not if it is about to end.
            connection.producerPaused = not connection.disconnecting
            paused = self._paused = Deferred()
            connection.startWriting()
            await paused
            sent = _sent(connection, left[: min(self._shares.piece, COPIED)])
            if sent:
                consumer._length -= sent            # what may still come: it sees to that
                left = left[sent:]
                self._expect(self._idle)

    async def _next(self) -> Sequence[Octets]:
        if self._flow is None:
            return [self._parts.popleft()] if self._parts else []
        if not self._is_answered:
            self._watch.end()
        return await self._flow.read()

    def _ended(self, result: Failure | None) -> None:
        done, self._done = self._done, None
        if done is None:
            return                                  # nobody wants to know any more
        if isinstance(result, Failure):
            done.errback(result)
        else:
            done.callback(None)

    def pauseProducing(self) -> None:
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:
        paused, self._paused = self._paused, None
        if paused is not None and not paused.called:
            paused.callback(None)

    def stopProducing(self) -> None:
        self._done = None
        if self._pump is not None:
            self._pump.cancel()


class Inflow(Protocol):
    """The body of an answer.

    :param length: in bytes, if that is known.
    :param shares: says how large a piece is at the moment.
    :param watch: of the request; the store has ``idle`` seconds for the next piece while it may send.
    :param closed: called once when the body has ended, in whatever way.
    """

    def __init__(
        self, length: int | None, shares: Shares, watch: Watch, idle: float, closed: Callable[[], None]
    ) -> None:
        self._left = length
        self._shares = shares
        self._held = LEAST                      # bytes in memory at which the store is told to wait
        self._watch = watch
        self._idle = idle
        self._closed = closed
        self._parts: deque[bytes] = deque()
        self._at = 0                            # what comes before that of the first part was read
        self._told_of = 1                       # so many bytes in the socket
        self._is_slow = False
        self._size = 0
        self._is_paused = False
        self._is_complete = False
        self._error: Exception | None = None
        self._waiting: Deferred[None] | None = None

    async def read(self, count: int) -> bytes:
        """At most ``count`` bytes; ``b""`` at the end.

        :raises Transient: the rest did not come.
        """
        while not self._parts:
            if self._error is not None:
                raise self._error
            if self._is_complete:
                return b""
            self._waiting = Deferred()
            try:
                await self._waiting
            finally:
                self._waiting = None
        part = self._take(count)
        self._size -= len(part)
        if self._is_paused and self._size < self._held // 2:
            self._is_paused = False
            self._share()
            self._watch.begin(self._idle)
            self._producer.resumeProducing()
        return part

    def _take(self, count: int) -> bytes:
        first, at = self._parts[0], self._at
        if len(first) - at <= count:
            self._parts.popleft()
            self._at = 0
            return first[at:]
        self._at += count
        return first[at : self._at]

    def close(self) -> None:
        """Give up what has not come yet, and the connection with it. May be called twice."""
        self._give_up(CancelledError())
        self._parts.clear()
        self._at = 0

    def late(self) -> None:
        """The store sends no more, or next to nothing: then it has as long again for each byte."""
        if self._has_some():
            self._watch.go_on(self._idle)
        else:
            self._give_up(Transient(f"the store sent nothing for {self._idle:.0f} s"))

    def _give_up(self, error: Exception) -> None:
        if not self._is_complete and self._error is None:
            self._end(error)
            if self._left == 0:
                return                              # it is about to hear of the end, and can be used again
            # What Twisted hands out can only close in order, which takes all that the store is still sending.
            (getattr(self._connection, "abortConnection", None) or self._producer.loseConnection)()

    @property
    def _producer(self) -> Any:
        return self.transport                       # stops, goes on, closes; nothing can be written there

    @property
    def _connection(self) -> Any:
        """What is behind it; ``None`` when the answer has ended."""
        return getattr(self._producer, "_producer", None)

    # From the connection

    def connectionMade(self) -> None:
        self._shares.bodies += 1
        self._share()
        self._watch.begin(self._idle)

    def _share(self) -> None:
        self._held = self._shares.piece
        self._take_at_once(self._held)
        if not self._is_slow:
            self._wait_for(self._held // 4)

    def _take_at_once(self, count: int) -> None:
        connection = self._connection
        if hasattr(connection, "bufferSize"):
            connection.bufferSize = count

    def _wait_for(self, count: int) -> None:
        """Let the reactor be told of so many bytes at once, and not of each few: a turn costs as much as 100 KiB do.

        It is 1 again while more than as many are to come: the connection's next answer may be shorter.
        """
        count = count if self._left is not None and self._left > 2 * count else 1
        connection = self._connection
        if count != self._told_of and _is_plain(connection):
            connection.getHandle().setsockopt(SOL_SOCKET, SO_RCVLOWAT, count)
            self._told_of = count

    def _has_some(self) -> bool:
        """Whether bytes have come of which the reactor was not told, as they are few; from now on it is told of any."""
        self._is_slow = True
        self._wait_for(1)
        connection = self._connection
        try:
            return _is_plain(connection) and bool(connection.getHandle().recv(1, MSG_PEEK))
        except OSError:
            return False

    def dataReceived(self, data: bytes) -> None:
        if self._error is not None:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._left is not None:
            self._left -= len(data)
            if self._left <= 2 * self._told_of:
                self._wait_for(1)
        self._watch.begin(self._idle)
        self._wake()                            # whoever waits takes it now, as a rule
        if self._error is not None or self._is_paused:
            return
        if self._size < self._held:
            self._take_at_once(self._held - self._size)
        else:
            self._is_paused = True
            self._watch.end()
            self._producer.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._error is None:
            # Also when it ended with the connection: nobody knows whether that was all (F4).
            self._end(None if reason.check(ResponseDone) else Transient("the store's answer was cut off"))

    def _end(self, error: Exception | None) -> None:
        self._shares.bodies -= 1
        self._watch.end()
        self._is_paused = False                 # nobody is waited for when what came is read
        self._error = error
        self._is_complete = error is None
        self._closed()
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)


def _sent(connection: Any, part: memoryview) -> int:
    """How many bytes the socket took; of what is wrong with it its reactor hears."""
    try:
        sent: int = connection.getHandle().send(part)
    except OSError:
        return 0
    return sent


def _is_plain(connection: Any) -> bool:
    """Whether what comes out of it is what its socket has."""
    return isinstance(connection, Connection) and not connection.TLS
