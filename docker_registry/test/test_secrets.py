"""A daemon all of whose secrets are known to the test: whatever it says, none of them is in it (T44).

Which options are secrets the model says; one that is new is tried here without anybody thinking of it.
"""

from __future__ import annotations

import json
import os
import re
import stat
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from twisted.internet.protocol import Factory, Protocol

from docker_registry.config.load import load
from docker_registry.config.model import Config
from docker_registry.config.secrets import secrets
from docker_registry.config.section import Section, group, is_list
from docker_registry.deferreds import deferred
from docker_registry.test.clients.daemon import free_port
from docker_registry.test.mail_servers import Inbox
from docker_registry.test.process_case import SERVE, TWISTD, Daemon, ProcessCase, reactor
from docker_registry.test.test_workers_told import BROKEN
from docker_registry.test.worker_case import ALL, READY, kill

COMMON = "Mark3r"
"""In every secret as it is."""

ODD = {("notifications", "endpoints", "url"): "http://127.0.0.1:PORT/Mark3r-url"}
"""Secrets that cannot be any text."""

RAISING = """
from docker_registry.registry.catalogue import Catalogue

async def page(self, *others):
    secrets = open("spellings").read()
    raise RuntimeError(secrets)

Catalogue.page = page
""" + TWISTD


def options(section: type[Section] = Config, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Each option that is a secret, and whether it is a mapping of them."""
    for name, field in section.model_fields.items():
        if (inner := group(field)) is not None:
            yield from options(inner, (*path, name))
        elif "SecretStr" in str(field.annotation):
            yield (*path, name), str(field.annotation).startswith("dict")


def marked(path: tuple[str, ...]) -> str:
    """The secret of an option."""
    return ODD.get(path, f'{COMMON}-{path[-1]}/+ %"x')


def spellings(secret: str) -> set[str]:
    """What a secret looks like in texts, in URLs, in source, and in base64, alone and behind a name."""
    return {
        secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1],
        *(b64encode(before + secret.encode()).decode() for before in (b"", b"us:", b"\0us\0")),
    }


class SecretCase(ProcessCase):
    def setUp(self) -> None:
        super().setUp()
        self.inbox = Inbox(login=("us", marked(("email_exceptions", "smtp_password"))), careless=True)
        self.addCleanup(self.inbox.close)
        factory = Factory.forProtocol(Refusing)
        factory.noisy = False
        hook = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(hook.stopListening)
        self.secrets = [*self.fill(hook.getHost().port)]
        self.seen: dict[str, str] = {}

    def fill(self, port: int) -> Iterator[str]:
        self.document: dict[str, Any] = {
            "storage_path": "./images", "listen": ["tcp:0:interface=127.0.0.1"], "loglevel": "debug",
            "access_log": "json", "access_log_file": "./access.log",
            "admin_listen": ["tcp:0:interface=127.0.0.1"], "shutdown_grace": 5,
            "email_exceptions": {
                "smtp_host": "127.0.0.1", "smtp_port": self.inbox.port, "smtp_login": "us", "smtp_secure": "never",
                "from_addr": "us@example.com", "to_addr": "ops@example.com",
            },
            "notifications": {"endpoints": [{"name": "hook", "threshold": 1, "backoff": 1}]},
        }
        for path, is_mapping in options():
            secret = marked(path).replace("PORT", str(port))
            self.place(self.document, Config, path, {"X-Key": [secret]} if is_mapping else secret)
            yield secret

    def place(self, into: dict[str, Any], section: type[Section], path: tuple[str, ...], value: object) -> None:
        name, *rest = path
        if not rest:
            into[name] = value
            return
        field = section.model_fields[name]
        inner = group(field)
        assert inner is not None
        around = into.setdefault(name, [{}] if is_list(field) else {})
        self.place(around[0] if is_list(field) else around, inner, tuple(rest), value)

    def configure(self, **others: object) -> None:
        self.document |= others
        self.write(json.dumps({"x": self.document}))
        found = load(f"{self.directory}/c.yml", "x", {}).config
        self.assertEqual({*secrets(found)}, {*self.secrets}, "all of them are secrets")

    def note(self, where: str, text: str) -> None:
        self.seen[where] = text

    async def command(self, *arguments: str, status: int) -> None:
        """Note all that one says."""
        process = self.run_program(SERVE, arguments)
        self.assertEqual(await process.ended, status, process.said.seen + process.complained.seen)
        self.note(" ".join(arguments), process.said.seen + process.complained.seen)

    def note_processes(self, *pids: int) -> None:
        for pid in pids:
            self.note(f"arguments of {pid}", Path(f"/proc/{pid}/cmdline").read_text())

    def check(self, daemon: Daemon) -> None:
        """Nothing of what was noted, logged, mailed has a secret; and there was something in each."""
        self.note("log", daemon.said.seen + daemon.complained.seen)
        self.note("access log", Path(self.directory, "access.log").read_text())
        for number, raw in enumerate(self.inbox.raw):
            self.note(f"mail {number}", raw.decode())
            self.note(f"body of mail {number}", self.inbox.arrived[number].get_content())
        for where, text in self.seen.items():
            self.assertTrue(text, where)
            found = text.find(COMMON)
            self.assertEqual(found, -1, f"{where}: {text[max(found - 100, 0) : found + 100]}")
            for secret in self.secrets:
                for spelling in spellings(secret):
                    found = text.find(spelling.rstrip("=")[:-2])
                    self.assertEqual(found, -1, f"{where}: {text[max(found - 100, 0) : found + 100]}")

    async def asked_for_figures(self, daemon: Daemon) -> None:
        found = await daemon.said.until(r"health and metrics on \D*127.0.0.1:(\d+)")
        for path in ("/metrics", "/readyz", "/debug/health", f"/{COMMON}-404"):
            self.note(path[:8], await self.ask(int(found[1]), f"GET {path}"))


class SecretTests(SecretCase):
    def test_there_are_some(self) -> None:
        """That the search for them finds what it should."""
        found = {path for path, _ in options()}
        self.assertLessEqual({("secret_key",), ("s3_secret_key",), ("email_exceptions", "smtp_password"),
                              ("notifications", "endpoints", "headers")}, found)

    @deferred
    async def test_an_exception_that_has_them_all(self) -> None:
        """In every spelling; the log as text, then as JSON. The same in what a client sends."""
        texts = sorted({spelling for secret in self.secrets for spelling in spellings(secret)})
        Path(self.directory, "spellings").write_text(" \n".join(texts))
        for form in ("text", "json"):
            self.configure(log_format=form)
            daemon = self.run_program(
                RAISING, ["--nodaemon", "--pidfile=", "docker-registry", "--config=c.yml", "--flavor=x"]
            )
            port = int((await daemon.said.until(r"listening on 127.0.0.1:(\d+), storing"))[1])
            basic = b64encode(f"us:{self.secrets[0]}".encode()).decode()
            answer = await self.ask(
                port, f"GET /v2/_catalog?token={COMMON}&a=b&_state={COMMON}&Password={COMMON}",
                f"Authorization: Basic {basic}", f"Cookie: {COMMON}", f"X-Auth-Token: {COMMON}",
                f"Referer: http://us:{COMMON}@r/?access_token={COMMON}",
            )
            self.assertIn(" 500 ", answer)
            self.note(f"answer {form}", answer)
            await self.inbox.until(1)
            await self.asked_for_figures(daemon)
            assert daemon.transport is not None
            self.note_processes(daemon.transport.pid)
            await self.stop(daemon)
            self.check(daemon)
            self.assertIn("[redacted]", daemon.said.seen)
            self.assertIn("[redacted]", self.inbox.arrived[0].get_content())
            self.inbox.arrived.clear()
            self.inbox.raw.clear()

    @deferred
    async def test_workers_that_fail(self) -> None:
        """Mail, webhooks that are refused, commands beside them."""
        self.configure(workers=2)
        link = Path(self.directory, BROKEN)
        link.parent.mkdir(parents=True)
        os.mknod(link, stat.S_IFSOCK | 0o600)
        daemon = self.twistd()
        port = int((await daemon.said.until(ALL))[1].rpartition(":")[2])
        pids = [int(pid) for _, pid in READY.findall(daemon.said.seen)]
        for pid in pids:
            self.addCleanup(kill, pid)
        assert daemon.transport is not None
        self.note_processes(daemon.transport.pid, *pids)
        self.assertIn(" 500 ", await self.ask(port, "GET /v2/broken/manifests/latest"))
        self.assertIn(" 201 ", await self.ask(port, f"POST /v2/a/blobs/uploads/?digest={EMPTY}"))
        await daemon.said.until("webhooks? .*hook.*it answered 503")
        await self.inbox.until(1)
        await self.asked_for_figures(daemon)
        await self.command("check-config", "-c", "c.yml", "-f", "x", status=0)
        await self.command("check-config", "-c", "c.yml", "-f", "x", "--json", status=0)
        await self.command("mail-test", "-c", "c.yml", "-f", "x", status=0)
        await self.command("config-schema", status=0)
        await self.stop(daemon)
        self.check(daemon)

    @deferred
    async def test_bucket_that_nobody_has(self) -> None:
        """Requests to it are signed, and what cannot be reached is told of."""
        self.configure(
            storage="s3", storage_path="/x", s3_bucket="images", s3_endpoint=f"http://127.0.0.1:{free_port()}",
            storage_check=False,
        )
        daemon = self.twistd()
        port = int((await daemon.said.until(r"listening on 127.0.0.1:(\d+), storing"))[1])
        answer = await self.ask(port, "GET /v2/a/manifests/latest")
        self.assertIn(" 503 ", answer)
        self.note("answer", answer)
        await self.stop(daemon)
        self.check(daemon)

    @deferred
    async def test_mistakes(self) -> None:
        """A secret of a wrong type, or where a group should be; then in what is no YAML."""
        for number, secret in enumerate(self.secrets[:2]):
            text = json.dumps(secret)
            self.write(f"x:\n  storage: memory\n  secret_key: [{text}]\n  s3_secret_key: {{a: {text}}}\n"
                       f"  smtp_password: {text}\n  email_exceptions: {text}\n  limits: {text}\n"
                       f"  notifications: {{endpoints: [{text}, {{name: a, url: [{text}]}}]}}\n"
                       + (f"  a: [{text}" if number % 2 else ""))
            process = self.run_program(SERVE, ["check-config", "-c", "c.yml", "-f", "x"])
            self.assertEqual(await process.ended, 78)
            said = process.complained.seen
            self.assertEqual(process.said.seen, "")
            self.assertRegex(said, r"^c\.yml:\d+:\d+: ")
            self.assertNotIn(COMMON, said)


class Refusing(Protocol):
    """An endpoint that is not well, and says back what it was told."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 503 No\r\nX-Was: %b\r\nContent-Length: 6\r\nConnection: close\r\n\r\nMark3r"
                             % re.sub(rb"[\r\n]", b" ", data))
        self.transport.loseConnection()


EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
