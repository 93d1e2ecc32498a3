"""Options for mail on exceptions: as docker-registry 0.x had them, checked before the port opens (H5, T47)."""

from __future__ import annotations

from docker_registry.config.mail import Mail
from docker_registry.config.secrets import secrets
from docker_registry.test.config_case import MARKER, ConfigCase

WHOLE = "smtp_host: mail.example.com, from_addr: us@example.com, to_addr: them@example.com"
ADDRESS = "(allowed: a mail address)"
ADDRESSES = "(allowed: a mail address, or a list of them)"

PROBLEMS = [
    # what stands in email_exceptions, and what is said of it
    ("smtp_port: abc", 'smtp_port: wrong value "abc" (allowed: a whole number; from 1 to 65535)'),
    ("smtp_port: 0", "smtp_port: wrong value 0 (allowed: a whole number; from 1 to 65535)"),
    ("smtp_host: 'mail.example.com:25'", "smtp_host: not the name or the address of a host "
                                         "(allowed: text)"),
    ("smtp_secure: maybe", 'smtp_secure: wrong value "maybe" (allowed: auto, starttls, tls, '
                           "never; true is starttls and false is auto)"),
    ("smtp_secure: [k.pem, c.pem]", "smtp_secure: wrong value: a list (allowed: auto, starttls, "
                                    "tls, never; true is starttls and false is auto)"),
    (f"smtp_password: {MARKER}", "smtp_password: smtp_login and smtp_password go together "
                                 "(allowed: text)"),
    ("from_addr: nobody", f"from_addr: not a mail address {ADDRESS}"),
    ('from_addr: "a@b\\r\\nBcc: c@d"', f"from_addr: not a mail address {ADDRESS}"),
    ("from_addr: 'Me <me@example.com>'", f"from_addr: not a mail address {ADDRESS}"),
    ("from_addr: [a@b]", f"from_addr: wrong value: a list {ADDRESS}"),
    ("to_addr: 'a@b, c'", f"to_addr: not a mail address {ADDRESSES}"),
    ("to_addr: [a@b, c..d@e]", f"to_addr: not a mail address {ADDRESSES}"),
    ("to_addr: 5", f"to_addr: wrong value 5 {ADDRESSES}"),
]


class MailOptionsTests(ConfigCase):
    def mail(self, options: str, **others: object) -> Mail:
        return self.load(f"x:\n  storage: memory\n  {options}\n", **others).config.email_exceptions

    def test_problems(self) -> None:
        for option, expected in PROBLEMS:
            with self.subTest(option):
                said = self.problems(f"x:\n  storage: memory\n  email_exceptions: {{{option}}}\n")
                self.assertEqual(said.partition(" ")[2], f"x.email_exceptions.{expected}")

    def test_server_without_addresses(self) -> None:
        said = self.problems("x:\n  storage: memory\n  email_exceptions: {smtp_host: mail}\n").splitlines()
        self.assertEqual(said, [
            f"c.yml:3:21: x.email_exceptions.from_addr: missing, and there is an smtp_host {ADDRESS}",
            f"c.yml:3:21: x.email_exceptions.to_addr: missing, and there is an smtp_host {ADDRESSES}",
        ])

    def test_login_without_password(self) -> None:
        said = self.problems(f"x:\n  storage: memory\n  email_exceptions: {{{WHOLE}, smtp_login: me}}\n")
        self.assertIn("x.email_exceptions.smtp_password: smtp_login and smtp_password go together", said)

    def test_none(self) -> None:
        for options in ("email_exceptions:", "email_exceptions: {}", "loglevel: info"):
            self.assertEqual(self.mail(options), Mail())

    def test_as_it_was(self) -> None:
        """The lines of docker-registry 0.9's sample."""
        mail = self.mail(
            "email_exceptions:\n    smtp_host: _env:SMTP_HOST\n    smtp_port: _env:SMTP_PORT:25\n"
            "    smtp_login: _env:SMTP_LOGIN\n    smtp_password: _env:SMTP_PASSWORD\n"
            "    smtp_secure: _env:SMTP_SECURE:false\n"
            "    from_addr: _env:SMTP_FROM_ADDR:docker-registry@localdomain.local\n"
            "    to_addr: _env:SMTP_TO_ADDR:noise+dockerregistry@localdomain.local\n",
            environ={"SMTP_HOST": "mail.example.com", "SMTP_LOGIN": "me", "SMTP_PASSWORD": MARKER},
        )
        self.assertEqual((mail.smtp_host, mail.smtp_port, mail.smtp_secure), ("mail.example.com", 25, "auto"))
        self.assertEqual(mail.from_addr, "docker-registry@localdomain.local")
        self.assertEqual(mail.to_addr, ("noise+dockerregistry@localdomain.local",))
        self.assertEqual([*secrets(mail)], [MARKER])

    def test_flat(self) -> None:
        """By themselves, and some here, some there; what a flavor says goes before what is common."""
        self.assertEqual(self.mail(WHOLE.replace(", ", "\n  ")), self.mail(f"email_exceptions: {{{WHOLE}}}"))
        mail = self.mail(
            "smtp_host: here\n  email_exceptions: {to_addr: a@b}\n"
            "common:\n  smtp_host: there\n  smtp_port: 26\n  email_exceptions: {from_addr: c@d, to_addr: e@f}\n"
        )
        self.assertEqual((mail.smtp_host, mail.smtp_port, mail.from_addr, mail.to_addr), ("here", 26, "c@d", ("a@b",)))

    def test_problems_of_flat_ones_are_told_as_written(self) -> None:
        said = self.problems("x:\n  storage: memory\n  smtp_port: abc\n")
        self.assertTrue(said.startswith('c.yml:3:14: x.smtp_port: wrong value "abc"'), said)

    def test_twice(self) -> None:
        said = self.problems("x:\n  storage: memory\n  smtp_port: 5\n  email_exceptions: {smtp_port: 6}\n")
        self.assertEqual(said, "c.yml:3:3: x.smtp_port: stands below email_exceptions as well")

    def test_misspelled(self) -> None:
        said = self.problems("x:\n  storage: memory\n  smpt_host: mail\n")
        self.assertEqual(said, "c.yml:3:3: x.smpt_host: unknown option; the nearest is smtp_host")

    def test_secure(self) -> None:
        for written, meant in (("true", "starttls"), ("false", "auto"), ("never", "never"), ("tls", "tls")):
            self.assertEqual(self.mail(f"smtp_secure: {written}").smtp_secure, meant)
            self.assertEqual(self.mail("smtp_secure: _env:S", environ={"S": written}).smtp_secure, meant)

    def test_several_recipients(self) -> None:
        for written in ("'a@b, c@d'", "'a@b c@d'", "[a@b, c@d]", "_env:TO"):
            self.assertEqual(self.mail(f"to_addr: {written}", environ={"TO": "a@b,c@d"}).to_addr, ("a@b", "c@d"))
