"""What a mail says, what it never says, and that nobody writes into its head (G5, T44, T47)."""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import time
from base64 import b64encode, urlsafe_b64encode
from email.message import EmailMessage
from urllib.parse import quote, quote_plus

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.alerts.cases import Untold
from docker_registry.alerts.faults import Fault, Kind
from docker_registry.alerts.message import MAX_BYTES, Envelope, message
from docker_registry.alerts.texts import Origin, Text, Texts
from docker_registry.errors import StorageFailed
from docker_registry.logs.redaction import Redactor

ENVELOPE = Envelope("registry@example.com", ("a@example.com", "b@example.com"))
KIND = Kind("OSError", "storage/local.py:7 put", "/v2/<name:name>/tags/list")
SECRET = "p+ss/w%rd ü\"q\\"


class Asked:
    id, method, route, repository, user = "00ff", "GET", "/v2/<name:name>/tags/list", "library/busybox", "ann"


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError()


def failure(error: Exception, secret_local: str = "LOCAL VARIABLE") -> Failure:
    try:
        raise error
    except Exception:
        return Failure(captureVars=True)


def parsed(mail: bytes) -> EmailMessage:
    """As the reader's program sees it."""
    read = email.message_from_bytes(mail.replace(b"\n", b"\r\n"), policy=email.policy.SMTP)
    assert isinstance(read, EmailMessage)
    return read


class TextsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.texts = Texts(Origin("r1.example.com", "prod", "1.0"), Redactor([SECRET]))

    def text(self, error: Exception, count: int = 0, kind: Kind = KIND, asked: object = Asked) -> Text:
        found = Fault(kind, 1e9, asked() if asked else None, failure(error), "")   # type: ignore[operator]
        return self.texts.of_finding(
            self.texts.finding(found), Untold(kind, count, 50.0, 60.0), 1e9, ["A note."]
        )

    def mail(self, error: Exception) -> EmailMessage:
        mail = message(self.text(error), ENVELOPE)
        self.assertLessEqual(len(mail), MAX_BYTES)
        self.assertEqual([line for line in mail.split(b"\n") if line[:1] == b"." or len(line) > 998], [])
        return parsed(mail)


class ContentTests(TextsCase):
    def test_everything_that_an_operator_needs(self) -> None:
        text = self.text(OSError(5, "Input/output error", "/srv/x"), 12)
        self.assertEqual(text.subject, "docker-registry on r1.example.com: OSError")
        head, _, rest = text.body.partition("\n\n")
        self.assertEqual(head.splitlines(), [
            "what        OSError",
            "where       storage/local.py:7 put",
            "time        2001-09-09 01:46:40 UTC",
            "host        r1.example.com",
            "flavor      prod",
            "version     1.0",
            "request     00ff",
            "method      GET",
            "route       /v2/<name:name>/tags/list",
            "repository  library/busybox",
            "user        ann",
            "count       1, and 12 more since 2001-09-09 01:47:30 UTC",
        ])
        self.assertIn("Traceback (most recent call last):\n", rest)
        self.assertIn("in failure\n    raise error\n", rest)
        self.assertIn("OSError: [Errno 5] Input/output error: '/srv/x'", rest)
        self.assertTrue(rest.endswith("\n\nA note.\n"))

    def test_no_request(self) -> None:
        body = self.text(KeyError("x"), asked=None).body
        self.assertNotRegex(body, "(?m)^(request|method|route|repository|user) ")

    def test_no_variables(self) -> None:
        self.assertNotIn("LOCAL VARIABLE", self.text(KeyError("x")).body)

    def test_cause(self) -> None:
        """What the disk said is in the exception that ours was raised from."""
        try:
            try:
                raise OSError(28, "No space left on device")
            except OSError as error:
                raise StorageFailed("x") from error
        except StorageFailed:
            found = Failure()
        body = self.texts.finding(Fault(KIND, 0.0, None, found, "")).details
        self.assertLess(body.index("No space left on device"), body.index("docker_registry.errors.StorageFailed: x"))

    def test_traceback_that_twisted_has_let_go_of(self) -> None:
        found = failure(KeyError("x"))
        found.cleanFailure()
        body = self.texts.finding(Fault(KIND, 0.0, None, found, "")).details
        self.assertIn("in failure\n    raise error\nKeyError: 'x'", body)

    def test_end(self) -> None:
        other = Kind("storage full", "", "")
        text = self.texts.of_end([Untold(other, 0, 0.0, 5.0), Untold(KIND, 3, 1.0, 9.0)], 1e9, ["A note."])
        self.assertEqual(text.subject, "docker-registry on r1.example.com: recovered from 2 kinds of faults")
        self.assertIn(
            "OSError at storage/local.py:7 put in /v2/<name:name>/tags/list: 3 more since 2001-09-09 01:46:41 UTC, "
            "the last 2001-09-09 01:46:49 UTC\nstorage full: none since 2001-09-09 01:46:45 UTC\n",
            text.body,
        )
        self.assertIn("A note.", text.body)

    def test_end_of_very_many(self) -> None:
        ended = [Untold(Kind(f"E{number}", "x", ""), number, 1.0, 9.0) for number in range(1000)]
        body = self.texts.of_end(ended, 1e9, []).body
        self.assertIn(f"and {sum(range(950))} of 950 other kinds", body)
        self.assertIn("E999 at x: 999 more", body)
        self.assertLess(len(body), 10_000)


class HostileTests(TextsCase):
    def assertHeadIsOurs(self, mail: EmailMessage, subject: str = "docker-registry on r1.example.com: OSError") -> None:
        self.assertEqual(sorted(mail.keys()), [
            "Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "MIME-Version",
            "Message-ID", "Subject", "To",
        ])
        self.assertEqual(mail["Subject"], subject)
        self.assertEqual((mail["From"], mail["To"]), ("registry@example.com", "a@example.com, b@example.com"))
        self.assertRegex(mail["Message-ID"], "^<[0-9a-f]{32}@example.com>$")

    def test_lines_in_the_text(self) -> None:
        for text in ("x\r\nBcc: evil@example.com\r\n\r\n", "\r\n.\r\nMAIL FROM:<evil@example.com>\r\n", "\n.\n", "..."):
            mail = self.mail(OSError(text))
            self.assertHeadIsOurs(mail)
            self.assertIn("Traceback", mail.get_content())

    def test_dots(self) -> None:
        """A line that begins with one arrives as it was, without relying on anybody to double it."""
        self.assertIn("\r\n.\r\n.x\r\n", self.mail(OSError("\n.\n.x\n")).get_content())

    def test_ten_megabytes(self) -> None:
        for text in ("x" * (10 << 20), "ü" * (10 << 20), "x\n" * (5 << 20), "\0" * (10 << 20)):
            before = time.process_time()
            mail = self.mail(OSError(text))
            self.assertLess(time.process_time() - before, 2.0)
            self.assertHeadIsOurs(mail)
            self.assertIn(f"of {len(text) + len('OSError: ') + 1} characters", mail.get_content())

    def test_deep(self) -> None:
        def down(depth: int) -> None:
            down(depth - 1) if depth else os.environ["NO_SUCH_VARIABLE"]

        try:
            down(900)
        except KeyError as error:
            mail = self.mail(error)
        self.assertIn("KeyError: 'NO_SUCH_VARIABLE'", mail.get_content())

    def test_what_is_no_character(self) -> None:
        content = self.mail(OSError("a\udcffb \ud800 \0 \x1b[2J \u202e x")).get_content()
        self.assertIn(r"a\udcffb \ud800 \x00 \x1b[2J \u202e x", content)

    def test_other_alphabets(self) -> None:
        self.assertIn("Gerät ist nicht bereit, 日本", self.mail(OSError("Gerät ist nicht bereit, 日本")).get_content())

    def test_exception_that_cannot_be_written(self) -> None:
        content = self.mail(Unspeakable()).get_content()
        self.assertIn("Unspeakable: <exception str() failed>", content)
        self.assertIn("in failure\r\n", content)

    def test_class_with_a_name_of_its_own(self) -> None:
        odd = Kind("x\r\nBcc: evil@example.com", "", "")
        mail = parsed(message(self.text(KeyError(), kind=odd), ENVELOPE))
        self.assertHeadIsOurs(mail, "docker-registry on r1.example.com: xBcc evilexample.com")

    def test_request_of_a_stranger(self) -> None:
        class Evil(Asked):
            repository, user = "a\nflavor      dev\u202e", "x" * 10_000

        body = self.text(KeyError(), asked=Evil).body
        self.assertIn("repository  a\\nflavor      dev\\u202e\n", body)
        self.assertLess(len(body), 3000)


class RedactionTests(TextsCase):
    def plain(self, secret: str) -> list[str]:
        """The forms that a secret has in texts, URLs and source."""
        low = re.sub("%..", lambda code: code[0].lower(), quote(secret))
        return [secret, quote(secret), quote(secret, safe=""), low, quote_plus(secret),
                repr(secret)[1:-1], repr(secret.encode())[2:-1], json.dumps(secret)[1:-1]]

    def encoded(self, secret: str) -> list[str]:
        """In base64, by itself and within something else."""
        return [
            encode(before + secret.encode() + after).decode()
            for before in (b"", b"x", b"xy", b"login:", b"\0login\0") for after in (b"", b"z", b"zz")
            for encode in (b64encode, urlsafe_b64encode)
        ]

    def test_every_spelling(self) -> None:
        """Of secrets with every kind of character."""
        for secret in (SECRET, "hunter2", "0123456789abcdef" * 4, "Tr0ub4dor&3"):
            redact = Redactor([secret, "other"])
            for spelling in self.plain(secret):
                self.assertEqual(redact(f"before {spelling} after"), "before [redacted] after")
            for spelling in self.encoded(secret):
                left = redact(f"before {spelling} after")
                # What is left is its neighbours', and what it has in common with them.
                hidden = len(f"before {spelling} after") - len(left.replace("[redacted]", "", 1))
                self.assertGreaterEqual(hidden, len(secret.encode()) * 4 // 3 - 1, (spelling, left))

    def test_short_secrets_are_words(self) -> None:
        redact = Redactor(["abc"])
        self.assertEqual(redact("abc, abcd, xabc, (abc)"), "[redacted], abcd, xabc, ([redacted])")

    def test_none(self) -> None:
        self.assertEqual(Redactor([""])("a b"), "a b")

    def test_credentials_by_their_form(self) -> None:
        """Which nobody has configured."""
        marker = "MARKER5ecret"
        basic = b64encode(f"me:{marker}".encode()).decode()
        redact = Redactor([])
        for text in (
            f"Authorization: Basic {basic}", f"authorization: Bearer {marker}", f"'Authorization': 'Bearer {marker}'",
            f"(b'authorization', b'Basic {basic}')", f"b'authorization': [b'Basic {basic}']", f"Cookie: {marker}",
            f"Set-Cookie: {marker}; Path=/", f"X-Auth-Token: {marker}", f'"x-auth-token": "{marker}"',
            f"https://s3/x?X-Amz-Signature={marker}&a=b", f"GET /v2/?token={marker} HTTP/1.1", f"?a=b&_state={marker}",
            f"&X-Amz-Credential={marker}%2Fus&", f"http://me:{marker}@host/path", f"Basic {basic}",
            f"?password={marker}", f"?a=b&access_token={marker}", f"?client_secret={marker}", f"?key={marker}&n=1",
        ):
            left = redact(text)
            self.assertIn("[redacted]", left, text)
            for spelling in (marker, basic):
                self.assertNotIn(spelling, left)

    def test_what_is_none_stays(self) -> None:
        for text in (
            "a basic mistake", "https://example.com/a@b", "token expired", "File \"x.py\", line 3, in authorize",
            "GET /v2/library/busybox/tags/list 200",
        ):
            self.assertEqual(Redactor(["secret"])(text), text)

    def test_takes_no_longer_for_odd_texts(self) -> None:
        """Which a client may bring into a line of the log: what is looked for is found, or not, in one go."""
        redact = Redactor([SECRET, "hunter2"])
        texts = [
            "://" + ":" * 60_000, "://a:" * 12_000, "basic " * 10_000, "bearer" + " " * 60_000 + "x",
            "authorization" + " " * 60_000, ("cookie" + " " * 50) * 1000, "?token=" * 9000, "cookie='" + "a" * 60_000,
            "?" + "token" * 12_000, ("?" + "a" * 50) * 1000, "?tokentokentoken" * 4000,
        ]
        before = time.process_time()
        for text in texts:
            redact(text)
        self.assertLess(time.process_time() - before, 1.0)

    def test_in_mail(self) -> None:
        """Also across the place where a long text is cut."""
        for before in ("", *("x" * length for length in range(7940, 8000, 4))):
            body = self.text(OSError(f"{before}{SECRET}, {b64encode(SECRET.encode()).decode()}")).body
            for spelling in [*self.plain(SECRET), b64encode(SECRET.encode()).decode()]:
                self.assertNotIn(spelling, body)
            self.assertNotIn(SECRET[:4], re.sub("x{100,}", "", body))
