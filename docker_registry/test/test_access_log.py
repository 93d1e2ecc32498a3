"""A line for each request, and no more than a line (T44, T46)."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.deferreds import deferred
from docker_registry.logs import appending
from docker_registry.logs.appending import PIECE, Appender
from docker_registry.logs.lines import BATCH, DELAY, MOST, Lines
from docker_registry.test.process_case import ProcessCase
from docker_registry.test.registry_case import Direct
from docker_registry.test.web_case import SiteCase, get, put, refusal
from docker_registry.web.access_log import AccessLog, as_json, combined
from docker_registry.web.gathering import Ended, Fields, Gathered
from docker_registry.web.request import Request
from docker_registry.web.site import Site

COMBINED = re.compile(
    rb'(?P<client>\S+) - (?P<user>\S+) \[(?P<time>[^]]+)\] "(?P<line>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+) '
    rb'"(?P<referrer>[^"]*)" "(?P<agent>[^"]*)" (?P<request>[0-9a-f]{16}) (?P<seconds>\d+\.\d{6})\n'
)
HOSTILE = [
    b'"', b"\\", b"\xff\xfe", "\u202egnp".encode(), "\u2066".encode(), "\x85\u2028".encode(), b"a\tb",
    b'" 200 1 "-" "forged', "Grüße".encode(),
]
"""What may stand in a header field."""

REFUSED = [b"\x1b[2J", b"\x7f", b"\r\n127.0.0.1 - - forged", b"\0"]
"""What the parser does not let through; the log does not count on that."""


class FormCase(SiteCase):
    def setUp(self) -> None:
        super().setUp()
        self.lines: list[bytes] = []
        self.user: str | None = None
        self.agent: bytes | None = None
        told = [AccessLog(form, self.lines.extend).told for form in (combined, as_json)]
        self.gathered = Gathered(self.clock, told)
        self.site = Site(
            self.clock, self.handle, refusal=refusal, limits=self.limits, finished=[self.gathered.finished]
        )
        self.channel, self.wire = self.connect()

    async def handler(self, request: Request) -> None:
        request.user = self.user
        if self.agent is not None:
            request.headers[b"user-agent"] = [self.agent]
        content = await request.body.read_all(1000)
        self.clock.advance(0.25)
        request.answer(201 if content else 200, [], b"12345")

    def told(self) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The one request that was logged, by both forms."""
        self.gathered.hand_on()
        (text, document), self.lines[:] = self.lines, []
        match = COMBINED.fullmatch(text)
        assert match is not None, text
        for line in (text, document):
            self.assertRegex(line, rb"\A[ -~]+\n\Z")
            self.assertLess(len(line), PIECE)
        return match.groupdict(), json.loads(document)


class FormTests(FormCase):
    def test_fields(self) -> None:
        self.user = "jane"
        self.send(put(b"xy", "User-Agent: docker/29", "Referer: http://a/", path="/v2/a?digest=b"))
        text, document = self.told()
        request = self.requests[0].id
        self.assertEqual(text, {
            "client": b"192.168.1.1", "user": b"jane", "time": b"15/Jan/2027:08:00:00 +0000",
            "line": b"PUT /v2/a?digest=b HTTP/1.1", "status": b"201", "bytes": b"5", "referrer": b"http://a/",
            "agent": b"docker/29", "request": request.encode(), "seconds": b"0.250000",
        })
        self.assertEqual(document, {
            "time": "2027-01-15T08:00:00.250000Z", "request": request, "client": "192.168.1.1", "user": "jane",
            "method": "PUT", "target": "/v2/a?digest=b", "protocol": "HTTP/1.1", "route": "", "status": 201,
            "bytes": 5, "seconds": 0.25, "referrer": "http://a/", "agent": "docker/29",
        })

    def test_nothing_known(self) -> None:
        """A head that nobody can read."""
        self.send(b"nonsense\r\n\r\n")
        text, document = self.told()
        self.assertEqual((text["line"], text["user"], text["agent"], text["status"]), (b"-", b"-", b"-", b"400"))
        self.assertEqual((document["target"], document["user"], document["agent"]), (None, None, None))

    def test_one_that_cannot_be_written(self) -> None:
        """Those that are logged together with it are."""
        def form(ended: Sequence[Fields]) -> list[bytes]:
            targets = [Ended(*each).what.target for each in ended]
            if b"/bad" in targets:
                raise ValueError("no form")
            return [target + b"\n" for target in targets]

        log = AccessLog(form, self.lines.extend)
        self.site._finished = [Gathered(self.clock, [log.told]).finished]
        self.send(get("/a") + get("/bad") + get("/b"))
        self.clock.advance(1)
        self.assertEqual(self.lines, [b"/a\n", b"/b\n"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_client_went_away(self) -> None:
        self.send(put(b"xy")[:-1])
        self.lose()
        text, document = self.told()
        self.assertEqual((text["status"], text["bytes"], document["status"]), (b"499", b"0", 499))

    def test_hostile_fields(self) -> None:
        for value in HOSTILE:
            self.send(b"GET /\" HTTP/1.1\r\nHost: r\r\nReferer: %b\r\nUser-Agent: x%b\r\n\r\n" % (value, value))
            text, document = self.told()
            self.assertEqual(text["line"], b"GET /\\x22 HTTP/1.1")
            self.assertEqual(text["agent"].decode("unicode_escape").encode("latin-1"), b"x" + value)
            self.assertEqual(document["agent"], "x" + value.decode("utf-8", "backslashreplace"))
            self.assertEqual(document["target"], '/"')

    def test_hostile_fields_that_are_refused(self) -> None:
        for value in REFUSED:
            self.agent = value
            self.send(get("/"))
            text, document = self.told()
            self.assertEqual(text["agent"].decode("unicode_escape").encode("latin-1"), value)
            self.assertEqual(document["agent"].encode(), value)

    def test_hostile_user(self) -> None:
        for user in ("a b", "a\r\nb", "\udcff", "\u202e", '"', "x" * 600):
            self.user = user
            self.send(get("/"))
            _, document = self.told()
            self.assertLessEqual(len(document["user"]), 512)
            self.assertEqual(document["user"], user[:512])

    def test_long_fields(self) -> None:
        long = "x" * 5000
        self.send(get(f"/{long}", f"Referer: {long}", f"User-Agent: {long}"))
        text, document = self.told()
        for form in (text, {name: str(value).encode() for name, value in document.items()}):
            self.assertEqual((len(form["referrer"]), len(form["agent"])), (512, 512))
        self.assertEqual(len(document["target"]), 1024)

    def test_longest_line_is_one_write(self) -> None:
        """Also when everything in it is written in four characters."""
        self.send(b"GET /%b HTTP/1.1\r\nHost: r\r\nReferer: %b\r\nUser-Agent: %b\r\n\r\n" % (
            b'"' * 5000, b"\xff" * 5000, b"\x1b" * 5000
        ))
        self.gathered.hand_on()
        self.assertEqual(len(self.lines), 2)
        for line in self.lines:
            self.assertRegex(line, rb"\A[ -~]+\n\Z")
            self.assertLess(len(line), 2 * PIECE)

    def test_no_secrets(self) -> None:
        for url in (
            "/v2/?token=hunter2", "/v2/?a=b&%74oken=hunter2", "/v2/?X-Amz-Signature=hunter2", "/v2/?_state=hunter2",
            "/v2/?password=hunter2&", "/v2/?access_TOKEN=hunter2=", "/v2/?client_secret=hunter2",
        ):
            referrer = f"Referer: http://joe:hunter2@r{url}"
            self.send(get(url, referrer, "Authorization: Basic hunter2", "Cookie: hunter2"))
            self.gathered.hand_on()
            self.assertEqual(len(self.lines), 2)
            self.assertNotIn(b"hunter2", b"".join(self.lines))
            text, document = self.told()
            self.assertIn("=-", document["target"])
            self.assertIn(b"//-@r/v2/", text["referrer"])

    def test_common_queries_stay(self) -> None:
        for query in ("digest=sha256:01&mount=sha256:45&from=a/b", "n=10&last=x", "scope=repository:a:pull"):
            self.send(get(f"/v2/?{query}"))
            self.assertEqual(self.told()[1]["target"], f"/v2/?{query}")


class Later:
    """A runner whose calls come back when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Deferred[Any]]] = []

    def slow(self, function: Any, *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.calls.append((function, args, done))
        return done

    quick = slow

    def run(self) -> None:
        function, args, done = self.calls.pop(0)
        execute(function, *args).chainDeferred(done)


class LinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = Clock()
        self.lines = self.open(Direct())
        self.said = EventLoggingObserver()
        globalLogPublisher.addObserver(self.said)
        self.addCleanup(globalLogPublisher.removeObserver, self.said)

    def open(self, runner: Any) -> Lines:
        lines = Lines("the log", self.path, runner, self.clock)
        self.addCleanup(lambda: Deferred.fromCoroutine(lines.stop()))
        return lines

    def warnings(self) -> list[str]:
        return [event["log_format"].format(**event) for event in self.said]

    def test_waits_for_others(self) -> None:
        self.lines.write([b"a\n"])
        self.lines.write([b"b\n"])
        self.clock.advance(DELAY - 0.1)
        self.assertFalse(self.path.exists())
        self.clock.advance(0.1)
        self.assertEqual(self.path.read_bytes(), b"a\nb\n")
        self.lines.write([b"c\n"])
        self.clock.advance(DELAY)
        self.assertEqual(self.path.read_bytes(), b"a\nb\nc\n")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o640 & ~_umask())

    def test_does_not_wait_for_ever(self) -> None:
        line = b"x" * 1000 + b"\n"
        for _ in range(BATCH // len(line) + 1):
            self.lines.write([line])
        self.assertGreaterEqual(self.path.stat().st_size, BATCH)

    def test_one_write_at_a_time(self) -> None:
        """What comes meanwhile waits, and does not take a thread for a line."""
        runner = Later()
        lines = self.open(runner)
        lines.write([b"a\n"])
        self.clock.advance(DELAY)
        lines.write([b"b\n"])
        self.clock.advance(DELAY)
        self.assertEqual(len(runner.calls), 1)
        runner.run()
        self.assertEqual(runner.calls, [])
        self.clock.advance(DELAY)
        runner.run()
        self.assertEqual(self.path.read_bytes(), b"a\nb\n")

    def test_a_disk_that_hangs(self) -> None:
        """Memory is bounded, and what was lost is counted."""
        runner = Later()
        lines = self.open(runner)
        lines.write([b"first\n"])
        self.clock.advance(DELAY)
        line = b"x" * 9999 + b"\n"
        for _ in range(2 * MOST // len(line)):
            lines.write([line])
        self.assertLess(lines._size, MOST + 2 * len(line))
        runner.run()
        runner.run()
        lost = 2 * MOST // len(line) - (self.path.stat().st_size - len(b"first\n")) // len(line)
        self.assertEqual(self.warnings(), [f"the log: {lost} lines were lost"])

    def test_a_file_that_cannot_be_written(self) -> None:
        """Said once; the lines after it are there."""
        self.path.mkdir()
        for _ in range(3):
            self.lines.write([b"lost\n"])
            self.clock.advance(DELAY)
        self.path.rmdir()
        self.lines.write([b"kept\n"])
        self.clock.advance(DELAY)
        self.assertEqual(self.path.read_bytes(), b"kept\n")
        self.assertEqual(
            self.warnings(), [f"the log: {self.path} cannot be written: Is a directory", "the log: 3 lines were lost"]
        )

    def test_reopen(self) -> None:
        """As logrotate has it: renamed, then told."""
        old = self.path.with_suffix(".1")
        self.lines.write([b"a\n"])
        self.clock.advance(DELAY)
        self.path.rename(old)
        self.lines.write([b"b\n"])
        self.successResultOf(self.lines.reopen())
        self.lines.write([b"c\n"])
        self.clock.advance(DELAY)
        self.assertEqual((old.read_bytes() + self.path.read_bytes()), b"a\nb\nc\n")
        self.assertIn(b"c\n", self.path.read_bytes())

    def test_reopen_that_fails(self) -> None:
        """The old file stays in use (H3)."""
        self.lines.write([b"a\n"])
        self.clock.advance(DELAY)
        old = self.path.with_suffix(".1")
        self.path.rename(old)
        self.path.mkdir()
        self.successResultOf(self.lines.reopen())
        self.lines.write([b"b\n"])
        self.clock.advance(DELAY)
        self.assertEqual(old.read_bytes(), b"a\nb\n")
        self.assertEqual(self.warnings(), [f"the log: {self.path} cannot be written: Is a directory"])

    def test_close(self) -> None:
        self.lines.write([b"a\n"])
        self.successResultOf(Deferred.fromCoroutine(self.lines.stop()))
        self.assertEqual(self.path.read_bytes(), b"a\n")
        self.lines.write([b"late\n"])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AppenderTests(SynchronousTestCase):
    def test_two(self) -> None:
        path = Path(self.mktemp())
        one, two = Appender(path), Appender(path)
        one.append([b"a\n"])
        two.append([b"b\n"])
        one.append([b"c\n"])
        one.close()
        two.close()
        self.assertEqual(path.read_bytes(), b"a\nb\nc\n")

    def test_after_a_torn_line(self) -> None:
        """A disk that takes a part of a line and is full: the next line begins as one."""
        path = Path(self.mktemp())
        appender = Appender(path)
        self.addCleanup(appender.close)
        real, full = os.write, [3]

        def write(fd: int, data: bytes) -> int:
            if not full:
                return real(fd, data)
            if full[0] == 0:
                full.clear()
                raise OSError(28, "No space left on device")
            size, full[0] = full[0], 0
            return real(fd, data[:size])

        self.patch(os, "write", write)
        self.assertRaises(OSError, appender.append, [b"12345\n"])
        appender.append([b"next\n"])
        self.assertEqual(path.read_bytes(), b"123\nnext\n")

    def test_pipe_that_nobody_empties(self) -> None:
        """Whole lines as long as there is room, and then no waiting without end."""
        self.patch(appending, "PATIENCE", 1)
        path = Path(self.mktemp())
        os.mkfifo(path)
        appender = Appender(path)
        self.assertRaises(OSError, appender.append, [b"x\n"])
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        line = b"y" * 98 + b"\n"
        lost = appender.append([line] * 10_000)
        appender.close()
        there = b""
        while part := os.read(reader, 1 << 16):
            there += part
        self.assertEqual(there, line * (10_000 - lost))
        self.assertGreater(lost, 0)

    def test_standard_output_that_was_closed(self) -> None:
        """What has its number now is something else, such as a file of the store."""
        self.patch(sys, "__stdout__", None)
        self.patch(os, "dup", self.fail)
        self.assertRaises(OSError, Appender(None).append, [b"x\n"])


class DaemonTests(ProcessCase):
    """Over real sockets."""

    OPTIONS = "storage: memory, listen: ['tcp:0:interface=127.0.0.1']"

    @deferred
    async def test_standard_output(self) -> None:
        """By default, and without the daemon's own log being held up by it."""
        self.write(f"x: {{{self.OPTIONS}}}")
        daemon, port = await self.started()
        await self.ask(port, "GET /v2/", "User-Agent: \u202egnp")
        await daemon.said.until(
            r'127\.0\.0\.1 - - \[[^]]*\] "GET /v2/ HTTP/1\.1" 200 2 "-" "\\xE2\\x80\\xAEgnp" \w{16} \d+\.\d+'
        )
        await self.stop(daemon)

    @deferred
    async def test_off(self) -> None:
        self.write(f"x: {{{self.OPTIONS}, access_log: off}}")
        daemon, port = await self.started()
        await self.ask(port, "GET /v2/")
        await self.stop(daemon)
        self.assertNotIn("GET", daemon.said.seen)

    @deferred
    async def test_everything_is_written_at_the_end(self) -> None:
        self.write(f"x: {{{self.OPTIONS}, access_log: json, access_log_file: ./access.log}}")
        daemon, port = await self.started()
        for number in range(5):
            await self.ask(port, f"GET /v2/nowhere/{number}")
        await self.stop(daemon)
        lines = [json.loads(line) for line in Path(self.directory, "access.log").read_text().splitlines()]
        self.assertEqual(
            [(line["target"], line["status"], line["client"]) for line in lines],
            [(f"/v2/nowhere/{number}", 404, "127.0.0.1") for number in range(5)],
        )

    @deferred
    async def test_several_processes_one_file(self) -> None:
        """Whole lines, each once."""
        self.write(f"x: {{{self.OPTIONS}, access_log: combined, access_log_file: ./access.log}}")
        daemons = [await self.started() for _ in range(3)]
        agent = "a" * 500
        conversations = [await self.connect(port) for _, port in daemons]
        request = f"GET /v2/ HTTP/1.1\r\nHost: r\r\nUser-Agent: {agent}\r\n"
        for each in conversations:
            each.send(f"{request}\r\n".encode() * 500 + f"{request}Connection: close\r\n\r\n".encode())
        for each in conversations:
            await each.closed
        for daemon, _ in daemons:
            await self.stop(daemon)
        lines = Path(self.directory, "access.log").read_bytes().splitlines(keepends=True)
        self.assertEqual(len(lines), 3 * 501)
        ids = [match["request"] for match in map(COMBINED.fullmatch, lines) if match is not None]
        self.assertEqual(len(ids), len(lines))
        self.assertEqual(len(set(ids)), len(ids))

    @deferred
    async def test_directory_that_is_not_there(self) -> None:
        self.write(f"x: {{{self.OPTIONS}, access_log_file: ./nowhere/access.log}}")
        daemon = self.twistd()
        self.assertEqual(await daemon.ended, 78)
        self.assertIn("x.access_log_file: ", daemon.complained.seen)
        self.assertIn("nowhere is no directory", daemon.complained.seen)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
