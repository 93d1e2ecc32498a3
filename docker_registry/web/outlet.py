"""The way out of a connection: what was written, and whether the client takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IPushProducer, ISSLTransport
from twisted.internet.tcp import Connection
from zope.interface import implementer

from docker_registry.polling import Turn
from docker_registry.web.transports import lowest

if TYPE_CHECKING:
    from docker_registry.web.request import Request

WRITE = 64 << 10
"""Bytes beyond which a transport says that it has enough; Twisted has one number for this and for reads."""

SMALL = 128 << 10
"""Bytes up to which head and content go out in one write."""

HELD = 16 << 10
"""Bytes that wait for the end of a turn of the reactor. With more it does not matter whom they wake."""

BURST = 1 << 20
"""Bytes that one connection is sent in one turn of the reactor."""


class Sender(Protocol):
    """What streams an answer, and wants to know whether the client takes it."""

    def pause(self) -> None:
        """The client has enough to do."""

    def resume(self) -> None:
        """All that was written has gone."""

    def stop(self) -> None:
        """The client has gone."""


@implementer(IPushProducer)
class Outlet:
    """:param room: called when all that was written has gone and nobody streams.
    :ivar is_plain: a socket without TLS or a proxy's line: the kernel may be given bytes, and files, at once.
    :ivar is_buffered: whether bytes wait in the transport for the kernel to take them; known where it is plain.
    :ivar is_full: whether the client has enough to do.
    :ivar sender: who streams at the moment.
    :ivar moves: counts how often the client was found to take something, or not to.
    """

    __slots__ = ("_held", "_room", "is_buffered", "is_full", "is_plain", "moves", "sender", "transport")

    def __init__(self, transport: Any, room: Callable[[], None]) -> None:
        self.transport = transport
        self.is_plain = isinstance(transport, Connection) and not transport.TLS
        self.is_full = False
        self.sender: Sender | None = None
        self.moves = 0
        self.is_buffered = False
        self._held = b""                            # goes before everything else
        self._room: Callable[[], None] | None = room
        if self.is_plain:
            transport.SEND_LIMIT = BURST            # in one call; Twisted makes one for each 128 KiB
        transport.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """Send, or let the transport send when it can.

        What a plain socket takes is sent at once: asking the reactor to say when costs more than a small answer.
        """
        if not self.is_plain:
            if self._has_ended():
                self.transport.abortConnection()
            else:
                self.transport.write(data)
            return
        if self._held:
            data, self._held = self._held + data, b""
        if not self.is_buffered:
            sent = self.transport.writeSomeData(data)
            if not isinstance(sent, int):
                self.transport.abortConnection()    # lost; said in the next turn of the reactor
                return
            if sent == len(data):
                return
            data = data[sent:]
            self.is_buffered = True
        self.transport.write(data)
        self.transport.producerPaused = True        # so that `resumeProducing` is called when it has gone

    def write_with_others(self, data: bytes, turn: Turn) -> None:
        """As `write`, and together with others if several things are written in this turn of the reactor."""
        size = len(self._held) + len(data)
        if not (turn.is_shared and self.is_plain) or self.is_buffered or size > HELD:
            self.write(data)
            return
        is_first, self._held = not self._held, self._held + data
        if is_first:
            turn.at_end(self._let_go)               # which may be now

    def _let_go(self) -> None:
        """Write what was held back."""
        if self._held:
            self.write(b"")

    def send(self, data: bytes | memoryview) -> int:
        """Let the plain socket take what it has room for; the rest is for whoever calls to send later.

        :returns: bytes that it took: none where something else goes first, or where the client has gone, which is said
            in the next turn of the reactor.
        """
        if self.is_buffered:
            return 0
        sent = self.transport.writeSomeData(data)
        if not isinstance(sent, int):
            self.transport.abortConnection()
            return 0
        return sent

    def _has_ended(self) -> bool:
        """Whether the client has ended TLS: what is written then is lost, and the end not always told."""
        socket = lowest(self.transport)
        return isinstance(socket, Connection) and bool(socket.disconnecting)

    def wait_for_room(self) -> None:
        """Have the sender resumed when the socket takes more; only where it is plain."""
        self.is_full = True
        self.transport.producerPaused = True
        self.transport.startWriting()

    def stream(self, request: Request, head: bytes, content: bytes) -> None:
        """Send a large answer that is in memory, without a copy of it for each client that is slow."""
        self.sender = rest = Rest(self, request, content)
        self.write(head)
        rest.resume()

    @property
    def is_secure(self) -> bool:
        return bool(ISSLTransport.providedBy(self.transport))

    @property
    def is_flushing(self) -> bool:
        """Whether the kernel is still to be given something."""
        socket = lowest(self.transport)
        return isinstance(socket, Connection) and socket in socket.reactor.getWriters()

    # Ending

    def half_close(self) -> None:
        """Let the client see the end, and go on reading; nothing where the transport cannot do that."""
        if self.is_plain:
            self._let_go()
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()

    def close(self) -> None:
        """When all has gone that was written."""
        self._let_go()
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def lost(self) -> None:
        """The connection is lost."""
        self._room = None
        self._held = b""
        sender, self.sender = self.sender, None
        if sender is not None:
            sender.stop()

    # From the transport

    def pauseProducing(self) -> None:
        self.is_full = True
        self.moves += 1
        if self.sender is not None:
            self.sender.pause()

    def resumeProducing(self) -> None:
        self.is_full = self.is_buffered = False
        self.moves += 1
        if not self.is_plain and self._has_ended():
            self.transport.abortConnection()
        elif self.sender is not None:
            self.sender.resume()
        elif self._room is not None:
            self._room()

    def stopProducing(self) -> None:
        """The connection is lost; the protocol is told."""


class Rest:
    """Sends what is left of an answer that is in memory."""

    __slots__ = ("_content", "_out", "_request", "_sending")

    def __init__(self, out: Outlet, request: Request, content: bytes) -> None:
        self._out = out
        self._request = request
        self._content = content
        request.sent = 0

    def pause(self) -> None:
        """`resume` looks for itself."""

    def resume(self) -> None:
        content, request = self._content, self._request
        while request.sent < len(content) and not self._out.is_full:
            piece = content[request.sent : request.sent + WRITE]
            request.sent += len(piece)
            self._out.write(piece)
        if request.sent == len(content):
            self._out.sender = None
            request.channel.send_last(request, b"")

    def stop(self) -> None:
        """Nobody waits."""
