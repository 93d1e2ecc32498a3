"""Where the registry listens: an operator's endpoint string, whatever it is made of."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL
from pydantic_core import PydanticCustomError
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocol, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from docker_registry.acceptor import Acceptor
from docker_registry.config.values import endpoint as check_endpoint
from docker_registry.config.values import tls_key
from docker_registry.reloading import CannotReload
from docker_registry.threads import Runner

BACKLOG = 1024
"""Connections that wait to be accepted, at least: while a worker is replaced, or there are no descriptors left."""


class CannotStart(Exception):
    """The text says why, in one line."""


@implementer(IStreamServerEndpoint)
class Entrance:
    """An endpoint. It is the reactor that Twisted's endpoint is made with: so all that one opens is seen here.

    :param text: as an operator wrote it.
    :param accepts: whether this process does. If not, the sockets are opened for others, see `Acceptor.fileno`.
    :raises KeyError, IndexError: systemd has not handed over such a socket.
    """

    def __init__(self, reactor: Any, text: str, accepts: bool = True) -> None:
        self.text = text
        self._reactor = reactor
        self._accepts = accepts
        self._secured: Secured | None = None
        self._endpoint: Any = serverFromString(self, self._written())

    def _written(self) -> str:
        """The text that Twisted's endpoint is made of."""
        return self.text

    def listen(self, protocolFactory: Factory) -> Deferred[IListeningPort]:  # type: ignore[override]
        listening: Deferred[IListeningPort] = self._endpoint.listen(protocolFactory)
        return listening

    async def reload(self, runner: Runner) -> None:
        """Read the certificate again; connections that there are keep the one that they have.

        :raises CannotReload: it cannot be used.
        """
        if self._secured is not None:
            self._secured.use(await runner.slow(_options, self.text))

    # As a reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Factory, backlog: int = BACKLOG, interface: str = "") -> IListeningPort:
        return self._open(self._reactor.listenTCP(port, _Nobody(), max(backlog, BACKLOG), interface), factory)

    def listenUNIX(
        self, address: str, factory: Factory, backlog: int = BACKLOG, mode: int = 0o666, wantPID: bool = False
    ) -> IListeningPort:
        return self._open(self._reactor.listenUNIX(address, _Nobody(), max(backlog, BACKLOG), mode, wantPID), factory)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Factory) -> IListeningPort:
        return self._start(Acceptor(self._reactor, fileDescriptor, factory))

    def listenSSL(
        self, port: int, factory: Factory, contextFactory: Any, backlog: int = BACKLOG, interface: str = ""
    ) -> IListeningPort:
        self._secured = Secured(factory, contextFactory)
        return self.listenTCP(port, self._secured, backlog, interface)

    def _open(self, port: Any, factory: Factory) -> IListeningPort:
        port.stopReading()
        return self._start(Acceptor(self._reactor, port.fileno(), factory, port))

    def _start(self, acceptor: Acceptor) -> IListeningPort:
        if self._accepts:
            acceptor.startListening()
        return acceptor


class Inherited(Entrance):
    """An endpoint whose socket another process has opened, and others accept on as well.

    :param fd: of the socket.
    :param is_busier: asked whether another one has fewer connections.
    """

    def __init__(self, reactor: Any, text: str, fd: int, is_busier: Callable[[], bool]) -> None:
        self._fd = fd
        self._is_busier = is_busier
        super().__init__(reactor, text)

    def _written(self) -> str:
        return re.sub(r"^((?:haproxy:)*)systemd:.*", r"\1tcp:0", self.text)     # systemd's variables name the parent

    def listenTCP(self, port: int, factory: Factory, backlog: int = BACKLOG, interface: str = "") -> IListeningPort:
        return self._start(Acceptor(self._reactor, self._fd, factory, is_busier=self._is_busier))

    def listenUNIX(
        self, address: str, factory: Factory, backlog: int = BACKLOG, mode: int = 0o666, wantPID: bool = False
    ) -> IListeningPort:
        return self.listenTCP(0, factory)


class _Nobody(Factory):
    """For sockets that are opened and not accepted on."""

    noisy = False

    def logPrefix(self) -> str:
        return "docker-registry"


async def listen(endpoint: IStreamServerEndpoint, text: str, factory: Factory) -> IListeningPort:
    """:raises CannotStart: the port is in use, or may not be used."""
    try:
        port: IListeningPort = await endpoint.listen(factory)
        return port
    except CannotListenError as error:
        reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
    except OSError as error:
        reason = error.strerror or str(error)
    raise CannotStart(f"cannot listen on {text}: {reason}")


class Secured(Factory):
    """TLS around another factory, with a certificate that can be exchanged."""

    noisy = False

    def __init__(self, factory: Factory, options: Any) -> None:
        self._factory = factory
        self.use(options)

    def use(self, options: Any) -> None:
        """Let new connections have these."""
        self._tls = TLSMemoryBIOFactory(options, False, self._factory)

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # type: ignore[override]
        protocol: IProtocol | None = self._tls.buildProtocol(addr)
        return protocol

    def doStart(self) -> None:
        self._factory.doStart()
        super().doStart()

    def doStop(self) -> None:
        self._factory.doStop()
        super().doStop()


class _Reading:
    """A reactor for an endpoint of which nothing but its certificate is wanted."""

    options: Any = None

    def listenSSL(self, port: int, factory: Factory, contextFactory: Any, **kwargs: Any) -> None:
        self.options = contextFactory


def _options(text: str) -> Any:
    """What the files of a TLS endpoint come to now. It reads them.

    :raises CannotReload: they cannot be used.
    """
    reading: Any = _Reading()
    try:
        check_endpoint(text)
        serverFromString(reading, text).listen(Factory())
        reading.options.getContext()
    except PydanticCustomError as error:
        raise CannotReload(f"{tls_key(text)}: {error.message()}") from None
    except (OSError, ValueError, SSL.Error) as error:
        raise CannotReload(f"{tls_key(text)}: {error}") from None
    return reading.options


def address(host: object) -> str:
    """As a client writes it, where one can."""
    if isinstance(host, IPv6Address) or (isinstance(host, IPv4Address) and ":" in host.host):
        return f"[{host.host}]:{host.port}"
    if isinstance(host, IPv4Address):
        return f"{host.host}:{host.port}"
    if isinstance(host, UNIXAddress):
        return f"unix:{os.fsdecode(host.name or b'')}"
    return str(host)


def hint(addresses: Sequence[str]) -> str:
    """What to type next; clients need a port to talk to."""
    reachable = [address for address in addresses if not address.startswith("unix:")]
    if not reachable:
        return ""
    address = re.sub(r"^(0\.0\.0\.0|\[::\])", "127.0.0.1", reachable[0])
    return f"; try: docker push {address}/NAME:TAG"
