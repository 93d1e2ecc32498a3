"""Mail over real sockets, to servers of every kind (G1, T45)."""

from __future__ import annotations

import re
from base64 import b64encode
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.task import Clock
from zope.interface import directlyProvides, providedBy

from docker_registry.alerts.message import Envelope, message
from docker_registry.alerts.smtp import MOST_BYTES, TOTAL, NotSent, Server, deliver
from docker_registry.alerts.texts import Text
from docker_registry.deferreds import deferred
from docker_registry.test.certificates import make_certificate
from docker_registry.test.clients.daemon import free_port
from docker_registry.test.mail_servers import Inbox, Script
from docker_registry.test.process_case import reactor
from docker_registry.test.reactor_case import ReactorCase

ENVELOPE = Envelope("us@example.com", ("a@example.com", "b@example.com"))
PASSWORD = "hunter2-Marker"
HELLO = Text("hello", "body\n")


class Reactor:
    """The real one, but for its time."""

    def __init__(self) -> None:
        directlyProvides(self, providedBy(reactor))
        self.clock = Clock()
        self.callLater, self.seconds, self.getDelayedCalls = (
            self.clock.callLater, self.clock.seconds, self.clock.getDelayedCalls
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class SmtpCase(ReactorCase):
    def setUp(self) -> None:
        self.time = Reactor()
        self.steps: list[str] = []

    def certificate(self, host: str = "localhost") -> Path:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        make_certificate(folder, host)
        return folder

    def send(self, port: int, text: Text = HELLO, **others: Any) -> Deferred[None]:
        trust: Path | None = others.pop("trust", None)
        if trust is not None:
            others["trust"] = trustRootFromCertificates([Certificate.loadPEM((trust / "cert.pem").read_bytes())])
        clock = others.pop("clock", self.time)
        options = {"host": "127.0.0.1", "secure": "auto", "login": "", "password": "", "identity": "us", **others}
        server = Server(port=port, **options)
        return Deferred.fromCoroutine(
            deliver(clock, server, ENVELOPE, message(text, ENVELOPE), self.steps.append)
        )

    async def not_sent(self, sending: Deferred[None]) -> NotSent:
        error: NotSent = await self.assertFailure(sending, NotSent)
        spellings = (PASSWORD, b64encode(PASSWORD.encode()).decode()[:-2], "AHUsAG")
        for spelling in spellings:
            self.assertNotIn(spelling, "\n".join([str(error), repr(error.__context__), *self.steps]))
        return error


class RealServerTests(SmtpCase):
    """aiosmtpd."""

    def inbox(self, **options: Any) -> Inbox:
        inbox = Inbox(**options)
        self.addCleanup(inbox.close)
        return inbox

    @deferred
    async def test_plain(self) -> None:
        """To all recipients, as it was written."""
        inbox = self.inbox()
        await self.send(inbox.port, Text("hello", ".dots\n.\n..\nMAIL FROM:<x>\nümläut\n"))
        [mail] = inbox.arrived
        self.assertEqual(mail.get_content(), ".dots\r\n.\r\n..\r\nMAIL FROM:<x>\r\nümläut\r\n")
        self.assertEqual(inbox.recipients, [["a@example.com", "b@example.com"]])
        self.assertEqual(self.steps, [
            f"connected to 127.0.0.1, port {inbox.port}", self.steps[1], "without a login",
            "sender us@example.com accepted", "recipient a@example.com: 250 OK", "recipient b@example.com: 250 OK",
            "accepted: 250 taken",
        ])

    @deferred
    async def test_sixty_kilobytes(self) -> None:
        """Dots wherever Twisted's pieces of a file may meet."""
        inbox = self.inbox()
        body = ".\n" * 15_000
        await self.send(inbox.port, Text("long", body))
        self.assertEqual(inbox.arrived[0].get_content().replace("\r", ""), body)

    @deferred
    async def test_login_over_tls(self) -> None:
        folder = self.certificate()
        inbox = self.inbox(certificate=folder, login=("us", PASSWORD))
        await self.send(inbox.port, host="localhost", login="us", password=PASSWORD, trust=folder)
        self.assertEqual((inbox.logins, inbox.secure), ([("us", PASSWORD)], [True]))
        self.assertIn("TLS: the certificate for localhost is valid", self.steps)
        self.assertIn("logged in as us", self.steps)

    @deferred
    async def test_tls_from_the_beginning(self) -> None:
        folder = self.certificate()
        inbox = self.inbox(certificate=folder, login=("us", PASSWORD), tls=True, careless=True)
        await self.send(inbox.port, host="localhost", secure="tls", login="us", password=PASSWORD, trust=folder)
        self.assertEqual(inbox.logins, [("us", PASSWORD)])

    @deferred
    async def test_never(self) -> None:
        """As written: the password goes in the clear, and TLS that is offered is not taken."""
        inbox = self.inbox(certificate=self.certificate(), login=("us", PASSWORD), careless=True)
        await self.send(inbox.port, secure="never", login="us", password=PASSWORD)
        self.assertEqual((inbox.logins, inbox.secure), ([("us", PASSWORD)], [False]))

    @deferred
    async def test_certificate_of_nobody(self) -> None:
        """Who signs his own certificate gets nothing, with a login or without."""
        inbox = self.inbox(certificate=self.certificate(), login=("us", PASSWORD))
        for login in ("us", ""):
            error = await self.not_sent(self.send(inbox.port, host="localhost", login=login, password=PASSWORD))
            self.assertIn("certificate verify failed", str(error))
        self.assertEqual((inbox.logins, inbox.arrived), ([], []))

    @deferred
    async def test_certificate_of_another(self) -> None:
        folder = self.certificate("elsewhere.example.com")
        inbox = self.inbox(certificate=folder, login=("us", PASSWORD))
        sending = self.send(inbox.port, host="localhost", login="us", password=PASSWORD, trust=folder)
        self.assertIn("another host than localhost", str(await self.not_sent(sending)))
        self.assertEqual((inbox.logins, inbox.arrived), ([], []))

    @deferred
    async def test_wrong_password(self) -> None:
        folder = self.certificate()
        inbox = self.inbox(certificate=folder, login=("us", "another"))
        sending = self.send(inbox.port, host="localhost", login="us", password=PASSWORD, trust=folder)
        error = await self.not_sent(sending)
        self.assertIn("535", str(error))
        self.assertFalse(error.final)
        self.assertEqual(inbox.arrived, [])


class ScriptedServerTests(SmtpCase):
    async def script(self, **says: str) -> tuple[int, Script]:
        script = Script({name.replace("_", " "): text for name, text in says.items()})
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(script)
        self.addCleanup(port.stopListening)
        return port.getHost().port, script

    async def assertRefused(self, expected: str, final: bool = False, login: str = "", **says: str) -> Script:
        """The mail is not sent, with these words, and the connection does not stay."""
        port, script = await self.script(**says)
        secure = "never" if "AUTH" in says else "auto"
        error = await self.not_sent(self.send(port, login=login, password=PASSWORD if login else "", secure=secure))
        self.assertRegex(str(error), expected)
        self.assertEqual(error.final, final)
        self.time.clock.advance(TOTAL)
        await script.connections[0].lost
        return script

    @deferred
    async def test_refuses(self) -> None:
        error = await self.not_sent(self.send(free_port(), clock=reactor))
        self.assertRegex(str(error), r"^127.0.0.1:\d+: no connection: Connection was refused by other side")

    @deferred
    async def test_no_such_host(self) -> None:
        error = await self.not_sent(self.send(25, host="mail.invalid", clock=reactor))
        self.assertEqual(str(error), "mail.invalid:25: there is no such host")

    @deferred
    async def test_says_nothing(self) -> None:
        port, script = await self.script(greeting="")
        connected = script.connected
        sending = self.send(port)
        connection = await connected
        self.time.clock.advance(TOTAL - 1)
        self.assertFalse(sending.called)
        self.time.clock.advance(1)
        error = await self.not_sent(sending)
        self.assertRegex(str(error), "took more than 30 s$")
        await connection.lost
        self.assertEqual(self.time.clock.getDelayedCalls(), [])

    @deferred
    async def test_one_byte_a_second(self) -> None:
        """Each byte is a sign of life, and the thirtieth second the end nevertheless."""
        port, script = await self.script(greeting="")
        connected = script.connected
        sending = self.send(port)
        connection = await connected
        for byte in b"220 welcome to this slow server":
            if not sending.called:
                connection.transport.write(bytes([byte]))       # type: ignore[union-attr]
                self.time.clock.advance(1)
        await self.not_sent(sending)
        await connection.lost

    @deferred
    async def test_turns_away(self) -> None:
        script = await self.assertRefused("^the server answered 421 too busy$", greeting="421 too busy")
        self.assertEqual(len(script.connections), 1)

    @deferred
    async def test_error_after_data(self) -> None:
        await self.assertRefused("^the server answered 451 local error$", end_of_data="451 local error")

    @deferred
    async def test_will_not_have_it(self) -> None:
        await self.assertRefused("^the server answered 552 too big$", final=True, end_of_data="552 too big")
        await self.assertRefused("^the server answered 550 who\\?$", final=True, RCPT="550 who?")
        await self.assertRefused("^the server answered 550 no$", final=True, MAIL="550 no")
        await self.assertRefused("^the server answered 554 no$", final=True, DATA="554 no")

    @deferred
    async def test_one_of_two_recipients(self) -> None:
        port, script = await self.script()
        script.says = {"RCPT": "550 who?"}
        sending = self.send(port)
        await self.not_sent(sending)
        self.assertIn("recipient a@example.com: 550 who?", self.steps)

    @deferred
    async def test_drops(self) -> None:
        for moment in ("greeting", "EHLO", "MAIL", "DATA", "end_of_data"):
            await self.assertRefused("^the server closed the connection$", **{moment: "drop"})

    @deferred
    async def test_wrong_password_in_the_clear(self) -> None:
        """Twisted's own error holds the dialogue, with the password in base64; ours does not (T44)."""
        script = await self.assertRefused(
            "^the server answered 535 no$", login="us", EHLO="250-script\n250 AUTH LOGIN PLAIN", AUTH="535 no"
        )
        self.assertTrue(any(line.startswith(b"AUTH PLAIN ") for line in script.heard))

    @deferred
    async def test_login_without_tls(self) -> None:
        """Nothing is said of the password to a server that offers no TLS."""
        script = await self.assertRefused(
            "^the server offers no TLS", login="us", EHLO="250-script\n250 AUTH LOGIN PLAIN"
        )
        self.assertEqual([line for line in script.heard if not line.startswith((b"EHLO", b"QUIT"))], [])
        script = await self.assertRefused("^the server answered 502 ", login="us", EHLO="502 what?")
        self.assertEqual([line for line in script.heard if not line.startswith((b"EHLO", b"QUIT"))], [])

    @deferred
    async def test_tls_that_fails(self) -> None:
        offer = "250-script\n250 STARTTLS"
        await self.assertRefused("^the server answered 454 Could not complete", EHLO=offer, STARTTLS="454 no")
        await self.assertRefused("^the server went on without TLS", EHLO=offer, STARTTLS="220 go\n250-AUTH PLAIN")
        port, script = await self.script(EHLO=offer, STARTTLS="220 go")
        connected = script.connected
        sending = self.send(port)
        connection = await connected
        connection.after_tls = b"250 this is not TLS\r\n"
        self.assertRegex(str(await self.not_sent(sending)), "^TLS failed: ")
        await connection.lost

    @deferred
    async def test_no_login_offered(self) -> None:
        await self.assertRefused("does not support Client Authentication|502", login="us", AUTH="", EHLO="250 script")

    @deferred
    async def test_talks_without_end(self) -> None:
        await self.assertRefused("^the server said more than", greeting="220-hello\n" * (MOST_BYTES // 5))

    @deferred
    async def test_talks_nonsense(self) -> None:
        await self.assertRefused("Invalid response from SMTP server", greeting="\x1b[2J hello")
        self.assertFalse(re.search(r"[^ -~\n]", "\n".join(self.steps)))

    @deferred
    async def test_old_server(self) -> None:
        """Who knows no EHLO gets the mail by HELO, when there is no password to protect."""
        port, script = await self.script(EHLO="502 what?")
        await self.send(port)
        self.assertIn(b"HELO us", script.heard)
        self.time.clock.advance(TOTAL)

    @deferred
    async def test_does_not_let_go(self) -> None:
        """The mail is taken; a server that then stays is cut off."""
        port, script = await self.script(QUIT="")
        await self.send(port)
        self.time.clock.advance(TOTAL)
        await script.connections[0].lost
