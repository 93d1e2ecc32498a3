"""Mail servers for tests: a real one, and one that does as its script says."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, Session
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from docker_registry.test.clients.daemon import free_port
from docker_registry.test.process_case import reactor

logging.getLogger("mail.log").setLevel(logging.CRITICAL + 1)


class Inbox:
    """aiosmtpd, in a thread of its own.

    :param certificate: a folder with ``key.pem`` and ``cert.pem``; with it STARTTLS is offered.
    :param login: what it insists on, over TLS.
    :param tls: whether it begins with TLS.
    :param careless: whether it takes a login without TLS, too, and mail without a login.
    :ivar arrived: mails, as they came.
    :ivar logins: that were tried.
    """

    def __init__(
        self, certificate: Path | None = None, login: tuple[str, str] | None = None, tls: bool = False,
        careless: bool = False,
    ) -> None:
        self.arrived: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.recipients: list[list[str]] = []
        self.logins: list[tuple[str, str]] = []
        self.secure: list[bool] = []
        self.port = free_port()
        self._login = login
        self._waiting: list[tuple[int, Deferred[None]]] = []
        context = None
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        self._controller = Controller(
            self, "127.0.0.1", self.port, ready_timeout=60.0, ssl_context=context if tls else None,
            tls_context=None if tls else context, authenticator=self._authenticate,
            auth_required=login is not None and not careless, auth_require_tls=not careless,
        )
        self._controller.start()

    def close(self) -> None:
        self._controller.stop()

    def until(self, count: int) -> Deferred[None]:
        """Fires when so many have arrived."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((count, waiting))
        self._look()
        return waiting

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        read = message_from_bytes(content, policy=SMTP)
        assert isinstance(read, EmailMessage)
        self.raw.append(content)
        self.recipients.append(list(envelope.rcpt_tos))
        self.secure.append(session.ssl is not None)
        self.arrived.append(read)
        reactor.callFromThread(self._look)
        return "250 taken"

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        given = (data.login.decode(), data.password.decode())
        self.logins.append(given)
        return AuthResult(success=given == self._login, handled=False)

    def _look(self) -> None:
        for each in list(self._waiting):
            if len(self.arrived) >= each[0]:
                self._waiting.remove(each)
                each[1].callback(None)


class Scripted(LineReceiver):
    """One connection to a `Script`."""

    factory: Script
    _in_data = False
    after_tls = b""

    def connectionMade(self) -> None:
        self.lost: Deferred[None] = Deferred()
        self.factory.connections.append(self)
        connected, self.factory.connected = self.factory.connected, Deferred()
        connected.callback(self)
        self.say("greeting", "220 script ESMTP")

    def rawDataReceived(self, data: bytes) -> None:
        """After STARTTLS, which this one does not know how to go on with."""
        self.transport.write(self.after_tls)        # type: ignore[union-attr]

    def lineReceived(self, line: bytes) -> None:
        self.factory.heard.append(line)
        if self._in_data:
            if line == b".":
                self._in_data = False
                self.say("end of data", "250 taken")
            return
        verb = line.split(b" ")[0].split(b":")[0].decode("ascii").upper()
        self._in_data = verb == "DATA" and "DATA" not in self.factory.says
        if verb == "STARTTLS":
            self.setRawMode()
        self.say(verb, {"EHLO": "250 script", "DATA": "354 go on", "QUIT": "221 bye"}.get(verb, "250 ok"))

    def say(self, about: str, usual: str) -> None:
        """What the script has for it; silence is ``""``, and ``"drop"`` the end of the connection."""
        text = self.factory.says.get(about, usual)
        if text == "drop":
            self.transport.abortConnection()        # type: ignore[union-attr]
        elif text:
            self.transport.write(text.encode().replace(b"\n", b"\r\n") + b"\r\n")       # type: ignore[union-attr]

    def connectionLost(self, reason: Failure) -> None:      # type: ignore[override]
        self.lost.callback(None)


class Script(Factory):
    """:param says: by verb (and ``greeting``, ``end of data``), what is said instead of the usual.
    :ivar heard: every line.
    """

    noisy = False
    protocol = Scripted         # type: ignore[assignment]

    def __init__(self, says: Mapping[str, str]) -> None:
        self.says = says
        self.heard: list[bytes] = []
        self.connections: list[Scripted] = []
        self.connected: Deferred[Scripted] = Deferred()
