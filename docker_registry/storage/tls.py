"""TLS to stores: who is believed to be one, and whether anybody answers at all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IDelayedCall, IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import BrowserLikePolicyForHTTPS, HostnameCachingHTTPSPolicy
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from docker_registry.errors import StorageFailed

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class NoHandshake(Exception):
    """Nobody has answered in TLS."""


@implementer(IPolicyForHTTPS)
class Handshakes:
    """A policy, and what becomes of what it is asked for.

    Who expects HTTP is silent until he has seen the end of a line, or goes away: that is not waited for as long as for
    an answer.

    :param seconds: until the other side must have said something in TLS.
    """

    def __init__(self, reactor: Any, policy: IPolicyForHTTPS, seconds: float) -> None:
        self._reactor = reactor
        self._policy = policy
        self._seconds = seconds
        self._begun: dict[tuple[str, int], SSL.Connection] = {}         # the last one
        self._answered: set[tuple[str, int]] = set()
        self._limits: set[IDelayedCall] = set()

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        place = hostname.decode("ascii").strip("[]").lower(), port
        return _Begun(self, self._policy.creatorForNetloc(hostname, port), place)

    def begin(self, place: tuple[str, int], protocol: Any, connection: SSL.Connection) -> None:
        """:param protocol: whose connection it is."""

        def look() -> None:
            self._limits.discard(limit)
            if protocol.transport.connected and not _is_answered(connection):
                protocol.failVerification(Failure(NoHandshake()))

        if self.is_answered(*place):
            self._answered.add(place)
        self._begun[place] = connection
        limit = self._reactor.callLater(self._seconds, look)
        self._limits.add(limit)

    def is_answered(self, host: str, port: int) -> bool:
        """Whether anybody has ever answered in TLS there."""
        connection = self._begun.get((host, port))
        return (host, port) in self._answered or (connection is not None and _is_answered(connection))

    def stop(self) -> None:
        """Nobody is waited for."""
        while self._limits:
            self._limits.pop().cancel()


def _is_answered(connection: SSL.Connection) -> bool:
    return connection.get_cipher_name() is not None


@implementer(IOpenSSLClientConnectionCreator)
class _Begun:
    def __init__(
        self, handshakes: Handshakes, creator: IOpenSSLClientConnectionCreator, place: tuple[str, int]
    ) -> None:
        self._handshakes = handshakes
        self._creator = creator
        self._place = place

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = self._creator.clientConnectionForTLS(tlsProtocol)
        self._handshakes.begin(self._place, tlsProtocol, connection)
        return connection


def policy(ca: Path | None, insecure: bool) -> IPolicyForHTTPS:
    """Who is believed.

    :param ca: certificates in PEM that take the place of the system's.
    :param insecure: whether everybody is.
    :raises StorageFailed: the file has no certificate that can be read.
    """
    if insecure:
        return _Anybody()
    if ca is None:
        return HostnameCachingHTTPSPolicy(BrowserLikePolicyForHTTPS())
    try:
        roots = [Certificate.loadPEM(each) for each in _CERTIFICATE.findall(ca.read_bytes())]
    except (OSError, SSL.Error) as error:
        raise StorageFailed(f"{ca} cannot be read: {getattr(error, 'strerror', None) or 'no certificate'}") from None
    if not roots:
        raise StorageFailed(f"{ca} has no certificate in PEM")
    return HostnameCachingHTTPSPolicy(BrowserLikePolicyForHTTPS(trustRootFromCertificates(roots)))


@implementer(IPolicyForHTTPS)
class _Anybody:
    """Believes every certificate."""

    def creatorForNetloc(self, hostname: bytes, port: int) -> _Unverified:
        return _Unverified(hostname)


@implementer(IOpenSSLClientConnectionCreator)
class _Unverified:
    def __init__(self, host: bytes) -> None:
        self._host = host
        self._context = CertificateOptions().getContext()

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not isIPAddress(self._host.decode()) and not isIPv6Address(self._host.decode()):
            connection.set_tlsext_host_name(self._host)
        return connection
