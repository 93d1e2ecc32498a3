"""A socket that listens, and how many of its connections are accepted when."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Server as TCPServer
from twisted.internet.unix import Server as UNIXServer
from twisted.logger import Logger
from zope.interface import implementer

TURN = 16
"""Connections that are accepted in one turn of the reactor, by the only process that does."""

BREATH = 1.0
"""Seconds without accepting when the system has no descriptor, or no memory, for another connection."""

MOMENT = 0.001
"""Seconds that another process has to take a connection, where it has fewer."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@implementer(IListeningPort)
class Acceptor(FileDescriptor):
    """Twisted's own ports accept as much as they can, close what they have no descriptor for, and change and remove the
    file of a UNIX socket that others have opened. Here connections wait in the kernel while there is no descriptor for
    them, and where several processes accept on one socket, each takes one at a time, those that have fewer first.

    :param fd: of a socket that listens; it is copied.
    :param port: Twisted's, if that has opened the socket; it goes with this.
    :param is_busier: asked whether another process that accepts, too, has fewer connections; ``None`` if none does.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        fd: int,
        factory: Factory,
        port: IListeningPort | None = None,
        is_busier: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(reactor)
        self._clock = reactor
        self._socket = socket.socket(fileno=os.dup(fd))
        self._socket.setblocking(False)
        self._factory = factory
        self._port = port
        self._is_busier = is_busier
        self._has_waited = False
        self._breath: IDelayedCall | None = None
        self._open = False
        self._numbers = 0

    # As a port

    def startListening(self) -> None:
        self._factory.doStart()
        self._open = True
        self._look()

    def stopListening(self) -> Deferred[None]:
        if self._breath is not None:
            self._breath.cancel()
            self._breath = None
        was_open, self._open = self._open, False
        self._look()
        if self._socket.fileno() >= 0:
            self._socket.close()
        port, self._port = self._port, None
        closed: Deferred[None] = succeed(None) if port is None else maybeDeferred(cast(Any, port).stopListening)
        if was_open:
            self._factory.doStop()
        return closed

    def getHost(self) -> IAddress:
        name = self._socket.getsockname()
        if self._socket.family is socket.AF_UNIX:
            return UNIXAddress(name if isinstance(name, bytes) else os.fsencode(name))
        kind = IPv6Address if self._socket.family is socket.AF_INET6 else IPv4Address
        return kind("TCP", *name)

    def _look(self) -> None:
        if self._open and self._breath is None:
            self.startReading()
        else:
            self.stopReading()

    # From the reactor

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        for connection, client in self._waiting():
            peer, transport = self._peer(connection, client)
            protocol = self._factory.buildProtocol(peer)
            if protocol is None:
                connection.close()
                continue
            self._numbers += 1
            protocol.makeConnection(transport(connection, protocol, client, None, self._numbers, self.reactor))

    def _waiting(self) -> Iterator[tuple[socket.socket, Any]]:
        """Connections, as long as there are any, and descriptors for them."""
        for _ in range(TURN if self._is_busier is None else 1):
            if not self._open or self._gives_way():
                return
            try:
                yield self._socket.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self.log.warn("no connection is accepted for {seconds:g} s: {reason}",
                                  seconds=BREATH, reason=error.strerror)
                    self._breath = self._clock.callLater(BREATH, self._breathe)
                    self._look()
                if error.errno not in (errno.ECONNABORTED, errno.EPERM):
                    return          # none is there; or a parent has shut the socket down, and will tell us

    def _gives_way(self) -> bool:
        """Whether another process gets a moment to take what waits."""
        self._has_waited = self._is_busier is not None and not self._has_waited and self._is_busier()
        if self._has_waited:
            self._breath = self._clock.callLater(MOMENT, self._breathe)
            self._look()
        return self._has_waited

    def _peer(self, connection: socket.socket, client: Any) -> tuple[IAddress, Any]:
        if connection.family is socket.AF_UNIX:
            return UNIXAddress(client or None), UNIXServer
        return (IPv6Address if len(client) == 4 else IPv4Address)("TCP", *client), TCPServer

    def _breathe(self) -> None:
        self._breath = None
        self._look()

    def connectionLost(self, reason: Any) -> None:
        """The socket was shut down, by another process that has it."""
        self.stopReading()

    def logPrefix(self) -> str:
        return "Acceptor"
