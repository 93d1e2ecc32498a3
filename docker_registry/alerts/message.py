"""A text as a mail (RFC 5322)."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from secrets import token_hex

from docker_registry.alerts.texts import Text

MAX_BYTES = 64 << 10
"""Of a mail as it is sent."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who mails whom; both from the configuration and from nowhere else."""

    sender: str
    recipients: tuple[str, ...]


def message(text: Text, envelope: Envelope) -> bytes:
    """The mail, with plain line feeds, and no line that begins with a dot.

    Twisted doubles such dots for SMTP, except where its pieces of a file meet.
    """
    body = text.body
    while len(written := _written(text.subject, body, envelope)) > MAX_BYTES:
        body = f"{body[: len(body) * 3 // 4]}\n[…]\n"
    return written


def _written(subject: str, body: str, envelope: Envelope) -> bytes:
    mail = EmailMessage()
    mail["Subject"] = subject
    mail["From"] = envelope.sender
    mail["To"] = ", ".join(envelope.recipients)
    mail["Date"] = formatdate(usegmt=True)
    mail["Message-ID"] = f"<{token_hex(16)}@{envelope.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(body, charset="utf-8", cte="quoted-printable")
    return mail.as_bytes().replace(b"\n.", b"\n=2E")
