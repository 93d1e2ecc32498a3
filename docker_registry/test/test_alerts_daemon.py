"""The daemon mails its exceptions to a real server, and nothing that strangers do (C4, G1, G3, G4, G5, T44, T48)."""

from __future__ import annotations

import re
import signal
import time
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

from twisted.internet.defer import gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint

from docker_registry.deferreds import deferred
from docker_registry.registry.documents import OCI_MANIFEST
from docker_registry.test.certificates import make_certificate
from docker_registry.test.mail_servers import Inbox, Script
from docker_registry.test.process_case import SERVE, TWISTD, Daemon, ProcessCase, reactor

PASSWORD = "hunter2-Marker/+"
BASIC = b64encode(b"ann:guess-Marker").decode()

BROKEN = f"""
from base64 import b64encode
from docker_registry.errors import StorageFull
from docker_registry.registry.catalogue import Catalogue
from docker_registry.registry.uploads import Uploads

async def page(self, *others):
    password = {PASSWORD!r}
    basic = b64encode(('us:' + password).encode()).decode()
    raise ZeroDivisionError(f"{{password}} {{basic}}\\r\\nBcc: evil@example.com")

async def start(self, *others):
    raise StorageFull("uploads: No space left on device")

Catalogue.page, Uploads.start = page, start
""" + TWISTD

BREAK = "GET /v2/_catalog?token=query-Marker"
HEADERS = (f"Authorization: Basic {BASIC}", "Cookie: session=cookie-Marker", "X-Auth-Token: header-Marker")

HOSTILE = [
    b"GET /v2/%ff%fe/tags/list HTTP/1.1\r\nHost: r\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\n\r\n",
    b"POST /v2/x/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    b"POST /v2/x/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"PUT /v2/x/manifests/y HTTP/1.1\r\nHost: r\r\nContent-Length: 3\r\n\r\n{{{",
    b'PUT /v2/x/manifests/y HTTP/1.1\r\nHost: r\r\nContent-Length: 9\r\n\r\n{"a":"\xff"}',
    b"PUT /v2/x/manifests/y HTTP/1.1\r\nHost: r\r\nContent-Length: 1000\r\n\r\nonly a part",
    b"PUT /v1/images/x/json HTTP/1.1\r\nHost: r\r\nContent-Length: 2\r\n\r\n[]",
    b"GET /v2/x/tags/list?n=-1&n=x&last=%ff HTTP/1.1\r\nHost: r\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: r\r\n\r\n",
    b"GET /v2/" + b"a/" * 10_000 + b" HTTP/1.1\r\nHost: r\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    b"\0" * 100,
    b"BREW /v2/ HTTP/1.1\r\nHost: r\r\n\r\n",
]


_DESCRIBED = '{"mediaType": "a/b", "size": 1, "digest": "sha256:%s"}' % ("0" * 64)
_CONTENT = f'{{"schemaVersion": 2, "mediaType": "{OCI_MANIFEST}", "config": {_DESCRIBED}, "layers": [{_DESCRIBED}]}}'
MANIFEST = (
    f"PUT /v2/x/manifests/y HTTP/1.1\r\nHost: r\r\nContent-Type: {OCI_MANIFEST}\r\n"
    f"Content-Length: {len(_CONTENT)}\r\n\r\n{_CONTENT}"
).encode()
"""In order, but for its blobs, which nobody has pushed."""


class MailCase(ProcessCase):
    def setUp(self) -> None:
        super().setUp()
        self.certificate = Path(self.directory)
        make_certificate(self.certificate)
        (self.certificate / "key.pem").chmod(0o600)

    def inbox(self) -> Inbox:
        inbox = Inbox(self.certificate, ("us", PASSWORD))
        self.addCleanup(inbox.close)
        return inbox

    def configure(self, port: int, host: str = "localhost", header_timeout: int = 30, **others: object) -> None:
        options = {"smtp_login": "us", "smtp_password": PASSWORD, "smtp_secure": "auto", **others}
        self.write(
            f"x:\n  storage: memory\n  limits: {{header_timeout: {header_timeout}}}\n"
            "  listen:\n    - 'tcp:0:interface=127.0.0.1'\n"
            "    - 'ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem'\n  email_exceptions:\n"
            f"    smtp_host: {host}\n    smtp_port: {port}\n"
            "    from_addr: registry@example.com\n    to_addr: [ops@example.com, second@example.com]\n"
            + "".join(f"    {name}: {value}\n" for name, value in options.items())
        )

    @property
    def trusting(self) -> Mapping[str, str]:
        return {"SSL_CERT_FILE": str(self.certificate / "cert.pem")}

    async def broken(self) -> tuple[Daemon, int]:
        """A daemon that cannot list its catalogue, nor begin an upload."""
        daemon = self.run_program(
            BROKEN, ["--nodaemon", "--pidfile=", "docker-registry", "--config=c.yml", "--flavor=x"], self.trusting
        )
        found = await daemon.said.until(r"listening on 127.0.0.1:(\d+), 127.0.0.1:(\d+), storing")
        self.tls_port = int(found[2])
        return daemon, int(found[1])

    def assertNoSecrets(self, *texts: str) -> None:
        for text in texts:
            for secret in (PASSWORD, b64encode(f"us:{PASSWORD}".encode()).decode(), BASIC):
                self.assertNotIn(secret, text)
            self.assertNotIn("Marker", text)


class MailTests(MailCase):
    @deferred
    async def test_exception(self) -> None:
        """One mail for many of a kind, with what an operator needs and without a secret in any spelling."""
        inbox = self.inbox()
        self.configure(inbox.port)
        daemon, port = await self.broken()
        answers = [await self.ask(port, BREAK, *HEADERS) for _ in range(20)]
        self.assertTrue(all(answer.startswith("HTTP/1.1 500 ") for answer in answers))
        await inbox.until(1)
        await self.stop(daemon)
        [mail] = inbox.arrived
        self.assertEqual((inbox.logins, inbox.secure), ([("us", PASSWORD)], [True]))
        self.assertEqual(inbox.recipients, [["ops@example.com", "second@example.com"]])
        self.assertRegex(mail["Subject"], r"^docker-registry on \S+: ZeroDivisionError$")
        self.assertNotIn("Bcc", mail)
        body = mail.get_content().replace("\r\n", "\n")
        request = re.search("(?i)x-request-id: (.*)\r\n", answers[0])
        assert request is not None
        for line in (
            "what +ZeroDivisionError", r"where +v2/lists.py:\d+ catalogue", "flavor +x", r"version +\S+",
            f"request +{request[1]}", "method +GET", "route +/v2/_catalog", "count +1",
        ):
            self.assertRegex(body, f"(?m)^{line}$")
        self.assertIn("Traceback (most recent call last):", body)
        self.assertIn("[redacted]", body)
        self.assertNoSecrets(body, daemon.said.seen, daemon.complained.seen)
        self.assertEqual(daemon.said.seen.count("Traceback"), 20)

    @deferred
    async def test_disk_full(self) -> None:
        """One mail, not one for each request."""
        inbox = self.inbox()
        self.configure(inbox.port)
        daemon, port = await self.broken()
        for name in ("a", "b", "c"):
            self.assertIn("507", await self.ask(port, f"POST /v2/{name}/blobs/uploads/"))
        await self.ask(port, BREAK)
        await inbox.until(2)
        await self.stop(daemon)
        self.assertEqual([mail["Subject"].partition(": ")[2] for mail in inbox.arrived],
                         ["storage full", "ZeroDivisionError"])
        self.assertIn("No space left on device", inbox.arrived[0].get_content())

    @deferred
    async def test_strangers(self) -> None:
        """What they send, and what they leave in the middle, is in no mail; the first mail is of our own fault."""
        inbox = self.inbox()
        self.configure(inbox.port, header_timeout=2)
        daemon, port = await self.broken()
        slow = await self.connect(port)
        slow.send(b"GET /v2/ HTTP/1.1\r\nHost: r\r\n")
        for where, request in [*((port, each) for each in HOSTILE), *((self.tls_port, each) for each in HOSTILE)]:
            conversation = await self.connect(where)
            conversation.send(request)
            if request in HOSTILE[::3]:
                await self.ask(port, "GET /v2/")
                conversation.transport.abortConnection()            # type: ignore[union-attr]
            else:
                conversation.transport.loseConnection()             # type: ignore[union-attr]
            await conversation.closed
        await slow.closed
        for _ in range(20):                 # what is wrong with it is found when nobody is there any more
            conversation = await self.connect(port)
            conversation.send(MANIFEST)
            conversation.transport.abortConnection()                # type: ignore[union-attr]
        await self.ask(port, BREAK)
        await inbox.until(1)
        await self.stop(daemon)
        self.assertEqual([mail["Subject"].partition(": ")[2] for mail in inbox.arrived], ["ZeroDivisionError"])
        self.assertEqual(daemon.said.seen.count("Traceback"), 1, daemon.said.seen)

    @deferred
    async def test_server_that_hangs(self) -> None:
        """Nobody waits for it but, five seconds, the end of the registry; and the log says what was lost."""
        script = Script({"greeting": ""})
        listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(script)
        self.addCleanup(listening.stopListening)
        self.configure(listening.getHost().port, "127.0.0.1")
        connected = script.connected
        daemon, port = await self.broken()
        await self.ask(port, BREAK)
        await connected
        answers = await gatherResults([self.asked(port) for _ in range(50)])
        self.assertTrue(all("500 Internal" in answer for answer in answers))
        self.assertEqual(len(script.connections), 1)
        began = time.monotonic()
        await self.stop(daemon)
        self.assertLess(time.monotonic() - began, 20)        # an attempt has 30
        self.assertIn("the registry stops: 1 mails on exceptions were not sent", daemon.said.seen)

    @deferred
    async def asked(self, port: int) -> str:
        return await self.ask(port, BREAK)

    @deferred
    async def test_failing_server_is_said_once(self) -> None:
        """Without the dialogue; and there is no mail about it."""
        offer = {"EHLO": "250-script\n250 AUTH LOGIN PLAIN", "AUTH": "535 go away"}
        script = Script(offer)
        listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(script)
        self.addCleanup(listening.stopListening)
        self.configure(listening.getHost().port, "127.0.0.1", smtp_secure="never")
        daemon, port = await self.broken()
        await self.ask(port, BREAK)
        await daemon.said.until(r"mail on exceptions cannot be sent: the server answered 535 go away \(1 waiting\)")
        await self.ask(port, "POST /v2/a/blobs/uploads/")
        await self.stop(daemon)
        self.assertEqual(daemon.said.seen.count("cannot be sent"), 1)
        self.assertEqual(daemon.said.seen.count("Traceback"), 1)
        self.assertIn("the registry stops: 2 mails on exceptions were not sent", daemon.said.seen)
        self.assertNoSecrets(daemon.said.seen)


class CommandTests(MailCase):
    async def mail_test(self, status: int) -> Daemon:
        command = self.run_program(SERVE, ["mail-test", "--config", "c.yml", "--flavor", "x"], self.trusting)
        self.assertEqual(await command.ended, status, command.said.seen + command.complained.seen)
        self.assertNoSecrets(command.said.seen, command.complained.seen)
        self.assertNotIn("Traceback", command.complained.seen)
        return command

    @deferred
    async def test_sent(self) -> None:
        inbox = self.inbox()
        self.configure(inbox.port)
        command = await self.mail_test(0)
        self.assertEqual(re.sub("greeted: .*", "greeted", command.said.seen).splitlines(), [
            f"mail server localhost, port {inbox.port}, smtp_secure auto",
            f"connected to 127.0.0.1, port {inbox.port}", "greeted", "TLS begins",
            "TLS: the certificate for localhost is valid", "logged in as us", "sender registry@example.com accepted",
            "recipient ops@example.com: 250 OK", "recipient second@example.com: 250 OK", "accepted: 250 taken", "sent",
        ])
        self.assertRegex(inbox.arrived[0]["Subject"], r"^docker-registry on \S+: test$")

    @deferred
    async def test_not_sent(self) -> None:
        inbox = self.inbox()
        self.configure(inbox.port, smtp_password="wrong-Marker")
        command = await self.mail_test(1)
        self.assertRegex(command.complained.seen, "^not sent: the server answered 535 .*\n$")

    @deferred
    async def test_nothing_configured(self) -> None:
        self.write("x: {storage: memory}")
        command = await self.mail_test(78)
        self.assertEqual(command.complained.seen, "c.yml: flavor x has no smtp_host: there is no mail\n")

    @deferred
    async def test_stops(self) -> None:
        """When it is interrupted."""
        script = Script({"greeting": ""})
        listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(script)
        self.addCleanup(listening.stopListening)
        self.configure(listening.getHost().port, "127.0.0.1")
        connected = script.connected
        command = self.run_program(SERVE, ["mail-test", "--config", "c.yml", "--flavor", "x"])
        await connected
        command.kill(signal.SIGINT)
        self.assertNotEqual(await command.ended, 0)
