"""One mail to one server (RFC 5321), by Twisted's client, with an end to everything."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IDelayedCall, ISSLTransport, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.mail.smtp import (
    CramMD5ClientAuthenticator,
    ESMTPClient,
    LOGINAuthenticator,
    PLAINAuthenticator,
    SMTPClientError,
    TLSRequiredError,
)
from twisted.python.failure import Failure

from docker_registry.alerts.message import Envelope

TOTAL = 30.0
"""Seconds for all of it, from the look-up of the name to the server's "accepted"."""

FAREWELL = 2.0
"""Seconds that a server has to take our leave before it is cut off."""

MOST_BYTES = 64 << 10
"""What a server may say."""


@dataclass(frozen=True, slots=True)
class Server:
    """:ivar secure: ``auto``, ``starttls``, ``tls`` or ``never``.
    :ivar identity: what we call ourselves.
    :ivar trust: whose certificates count, instead of those of the system.
    """

    host: str
    port: int
    secure: str
    login: str
    password: str = field(repr=False)
    identity: str
    trust: Any = None


class NotSent(Exception):
    """The text says why, in one line and without anything that was sent.

    :ivar final: whether the server will not take this mail at another time either.
    """

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


async def deliver(
    reactor: Any, server: Server, envelope: Envelope, mail: bytes, said: Callable[[str], None] = lambda step: None
) -> None:
    """Send ``mail``. When it returns, the server has taken it for at least one recipient.

    :param said: told of each step, in words for people.
    :raises NotSent: it was not, or it took more than `TOTAL` seconds.
    """
    delivering = Deferred.fromCoroutine(_deliver(reactor, server, envelope, mail, said))
    try:
        await delivering.addTimeout(TOTAL, reactor)
    except TimeoutError:
        raise NotSent(f"{server.host}:{server.port} took more than {TOTAL:g} s") from None


async def _deliver(
    reactor: Any, server: Server, envelope: Envelope, mail: bytes, said: Callable[[str], None]
) -> None:
    client = _Client(reactor, server, envelope, mail, said)
    try:
        await connectProtocol(_endpoint(reactor, server), client)
        await client.ended
    except (ConnectError, DNSLookupError) as error:
        raise NotSent(f"{server.host}:{server.port}: {_connecting(error)}") from None
    except (CancelledError, ConnectingCancelledError):
        client.cut_off()
        raise CancelledError() from None
    finally:
        client.leave()


def _endpoint(reactor: Any, server: Server) -> IStreamClientEndpoint:
    plain = HostnameEndpoint(reactor, server.host, server.port, timeout=TOTAL)
    return wrapClientTLS(_context(server), plain) if server.secure == "tls" else plain


def _context(server: Server) -> Any:
    return optionsForClientTLS(server.host, trustRoot=server.trust)


class _Client(ESMTPClient):
    """:ivar ended: fires when the mail is taken, fails with `NotSent`."""

    transport: Any
    debug = False           # else its errors hold the dialogue, and thereby the password in base64

    def __init__(
        self, reactor: Any, server: Server, envelope: Envelope, mail: bytes, said: Callable[[str], None]
    ) -> None:
        login, password = server.login.encode(), server.password.encode()
        super().__init__(password, None if server.secure == "never" else _context(server), server.identity)
        self.ended: Deferred[None] = Deferred()
        self.requireAuthentication = bool(login)
        self.requireTransportSecurity = server.secure == "starttls" or (bool(login) and server.secure == "auto")
        if login:
            for kind in (CramMD5ClientAuthenticator, PLAINAuthenticator, LOGINAuthenticator):
                self.registerAuthenticator(kind(login))
        self._reactor = reactor
        self._server = server
        self._envelope = envelope
        self._mail = mail
        self._said = said
        self._heard = 0
        self._last_reply = ""
        self._is_open = False
        self._is_greeted = self._is_secure = False
        self._leaving: IDelayedCall | None = None

    # what it is to send

    def getMailFrom(self) -> str:
        self._said(f"logged in as {self._server.login}" if self.requireAuthentication else "without a login")
        return self._envelope.sender

    def getMailTo(self) -> list[str]:
        return list(self._envelope.recipients)

    def getMailData(self) -> BytesIO:
        return BytesIO(self._mail)

    # how it goes

    def connectionMade(self) -> None:
        self._is_open = True
        peer = self.transport.getPeer()
        self._said(f"connected to {getattr(peer, 'host', peer)}, port {self._server.port}")
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        self._heard += len(data)
        if self._heard > MOST_BYTES:
            self._end(NotSent(f"the server said more than {MOST_BYTES} bytes"))
            self.transport.abortConnection()
        elif not self.ended.called:
            super().dataReceived(data)

    def esmtpState_ehlo(self, code: int, resp: bytes) -> None:
        if not self._is_greeted:
            self._is_greeted = True
            self._said(f"greeted: {_words(resp)}")
        super().esmtpState_ehlo(code, resp)

    def esmtpState_starttls(self, code: int, resp: bytes) -> None:
        self._said("TLS begins")
        if self.clearLineBuffer():
            # Said in the clear, and it would count as said under TLS.
            self._end(NotSent("the server went on without TLS after it had agreed to it"))
            return
        super().esmtpState_starttls(code, resp)

    def esmtpState_serverConfig(self, code: int, resp: bytes) -> None:
        if ISSLTransport.providedBy(self.transport) and not self._is_secure:
            self._is_secure = True
            self._said(f"TLS: the certificate for {self._server.host} is valid")
        super().esmtpState_serverConfig(code, resp)

    def smtpState_to(self, code: int, resp: bytes) -> None:
        self._said(f"sender {self._envelope.sender} accepted")
        super().smtpState_to(code, resp)

    def smtpState_toOrData(self, code: int, resp: bytes) -> None:
        if self.lastAddress is not None:
            self._last_reply = _words(resp)
            self._said(f"recipient {self.lastAddress}: {code} {self._last_reply}")
        super().smtpState_toOrData(code, resp)

    def smtpState_msgSent(self, code: int, resp: bytes | str) -> None:
        """The server's verdict; there is no second mail."""
        if code in range(200, 300) and self.successAddresses:
            self._said(f"accepted: {code} {_words(resp)}")
            self._end(None)
        else:
            reply = _words(resp) if isinstance(resp, bytes) else self._last_reply       # Twisted's words are text
            self._end(NotSent(f"the server answered {code} {reply}", final=code >= 500))

    def sendError(self, exc: Exception) -> None:
        if isinstance(exc, TLSRequiredError):
            self._end(NotSent("the server offers no TLS, without which nothing is sent: see smtp_secure"))
        elif isinstance(exc, SMTPClientError):
            answered = f"the server answered {exc.code} " if exc.code > 0 else ""
            self._end(NotSent(answered + _words(exc.resp)))
        else:
            self._end(NotSent(_words(str(exc))))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        super().connectionLost(reason)
        self._is_open = False
        if self._leaving is not None and self._leaving.active():
            self._leaving.cancel()
        self._end(NotSent(_losing(self._server, reason)))

    def _end(self, error: NotSent | None) -> None:
        if not self.ended.called:
            self.ended.errback(error) if error else self.ended.callback(None)

    def leave(self) -> None:
        """Close the connection, whatever the server thinks of it; there may be none."""
        if self._is_open and self._leaving is None:
            self._leaving = self._reactor.callLater(FAREWELL, self.cut_off)
            self.sendLine(b"QUIT")
            self.transport.loseConnection()

    def cut_off(self) -> None:
        """End the connection at once; there may be none."""
        if self._is_open:
            self._is_open = False
            self.transport.abortConnection()


def _words(text: bytes | str) -> str:
    """What a server says, cut, in visible ASCII."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    return re.sub(r"[^ -~]+", " ", text)[:200].strip()


def _connecting(error: Exception) -> str:
    if isinstance(error, DNSLookupError):
        return "there is no such host"
    return f"no connection: {_words(str(error)).rstrip('.')}"


def _losing(server: Server, reason: Failure) -> str:
    error = reason.value
    if isinstance(error, VerificationError):
        return f"the certificate of the server is for another host than {server.host}"
    if isinstance(error, SSL.Error):
        return f"TLS failed: {_words('; '.join(str(part[-1]) for part in error.args[0]) if error.args else str(error))}"
    if isinstance(error, ConnectionClosed):
        return "the server closed the connection"
    return _words(f"{type(error).__name__}: {error}")
