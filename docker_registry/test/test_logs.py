"""What strangers can do to the daemon's log: nothing but be quoted in it (T46)."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
from typing import Any

from twisted.logger import Logger, globalLogPublisher, textFileLogObserver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from docker_registry import current
from docker_registry.deferreds import deferred
from docker_registry.logs import appending
from docker_registry.logs.destination import SharedOutput
from docker_registry.logs.escaping import one_line
from docker_registry.logs.events import safe
from docker_registry.logs.redaction import Redactor
from docker_registry.test.process_case import TWISTD, ProcessCase, Systemd, reactor

BAD = [
    "a\r\nb", "\x1b[2J\x1b]0;owned\x07", "\0", "\x7f", "\x85\x9b1m", "\u2028\u2029", "\u202egnp.exe", "\u2066x\u2069",
    "\u200b", "\udcff\ud800", "\ufeff", "\t",
]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError()


class Asked:
    id, method, route, repository, user = "00ff", "GET", "/v2/<name:name>/tags/list", "a\nb", "\x1b"


class EscapingTests(SynchronousTestCase):
    def test_nothing_moves(self) -> None:
        for text in BAD:
            made = one_line(f"<{text}>")
            self.assertTrue(made.isprintable(), repr(made))
            self.assertEqual(made.encode("ascii").decode("unicode_escape"), f"<{text}>")

    def test_the_rest_stays(self) -> None:
        for text in ("", "GET /v2/ 200", "Grüße, 日本", "a\\b"):
            self.assertEqual(one_line(text), text)

    def test_long(self) -> None:
        self.assertEqual(one_line("x" * 100, 10), "xxxxxxxxxx… (90 characters more)")
        self.assertLess(len(one_line("\n" * (10 << 20))), 200 << 10)


class Case(SynchronousTestCase):
    form = "text"

    def setUp(self) -> None:
        self.out = io.StringIO()
        redact = Redactor(["hunter2"])
        self.log = Logger("ns", observer=safe(textFileLogObserver(self.out), self.form, redact))

    def said(self) -> str:
        text = self.out.getvalue()
        self.out.seek(0)
        self.out.truncate()
        return text


class TextTests(Case):
    def test_secrets(self) -> None:
        """Of what went wrong: the usual has fields that hold none, and is not searched."""
        try:
            raise KeyError("hunter2")
        except KeyError:
            self.log.failure("{x} failed", x="hunter2")
        self.log.warn("{x}", x="hunter2")
        self.assertNotIn("hunter2", said := self.said())
        self.assertGreaterEqual(said.count("[redacted]"), 3)

    def test_one_line(self) -> None:
        for text in BAD:
            self.log.info("pushed {name}", name=text)
            said = self.said()
            self.assertRegex(said, r"\A\S+ \[ns#info\] pushed [ -~]+\n\Z")

    def test_lines_of_a_traceback_begin_with_a_tab(self) -> None:
        self.log.failure("failed {x}", Failure(ValueError("a\n2026-01-01 [x] forged\x1b[2J\r\n\udcff")), x="\n")
        first, *more = self.said().rstrip("\n").split("\n")
        self.assertRegex(first, r"\[ns#critical\] failed \\n$")
        self.assertGreater(len(more), 2)
        for line in more:
            self.assertRegex(line, r"^\t[\t -~]*$")

    def test_what_cannot_be_said(self) -> None:
        """Nor does 10 MB of it fill the disk."""
        self.log.failure("failed", Failure(Unspeakable()))
        self.assertIn("Unspeakable", self.said())
        self.log.info("{x}", x=Unspeakable())
        self.assertIn("ns#info", self.said())
        self.log.failure("failed", Failure(ValueError("x\n" * (5 << 20))))
        self.assertLess(len(self.said()), 256 << 10)

    def test_the_request(self) -> None:
        self.log.info("about it", request=Asked())
        self.log.info("says {request.id} itself", request=Asked())
        current.request.reset(current.request.set(Asked()))
        self.log.info("nobody's")
        self.assertEqual(
            re.findall(r"\] (.*)", self.said()), ["about it (request 00ff)", "says 00ff itself", "nobody's"]
        )

    def test_request_of_the_context(self) -> None:
        working_for = current.request.set(Asked())
        self.addCleanup(current.request.reset, working_for)
        self.log.info("hers")
        self.assertTrue(self.said().endswith("hers (request 00ff)\n"))

    def test_old_kind(self) -> None:
        """syslog, in twistd."""
        events: list[dict[str, Any]] = []
        log = Logger("ns", observer=safe(events.append, "text"))
        log.failure("failed {x}", Failure(ValueError("\x1b")), x="\r\n")
        self.assertEqual(events[0]["system"], "-")
        text = str(events[0]["log_legacy"])
        self.assertEqual(text.split("\n")[0], "failed \\r\\n")
        self.assertNotIn("\x1b", text)

    def test_nothing_said(self) -> None:
        self.log.observer({"log_time": 0.0})
        self.assertEqual(self.said(), "")


class JSONTests(Case):
    form = "json"

    def test_fields(self) -> None:
        self.log.warn("pushed {repository}", repository="a", size=7, ratio=0.5, nan=float("nan"), other=object())
        event = json.loads(self.said())
        self.assertRegex(event.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$")
        self.assertEqual(
            event,
            {"level": "warn", "logger": "ns", "message": "pushed a", "repository": "a", "size": 7, "ratio": 0.5},
        )

    def test_one_line(self) -> None:
        for text in BAD:
            self.log.failure("pushed {name}", Failure(ValueError(text)), name=text, request=Asked())
            said = self.said()
            self.assertRegex(said, r"\A[ -~]+\n\Z")
            event = json.loads(said)
            self.assertEqual(event["message"], f"pushed {one_line(text)}")
            self.assertEqual(event["error"], "ValueError")
            self.assertIn("ValueError", event["traceback"])
            self.assertEqual(
                (event["request"], event["route"], event["repository"], event["user"]),
                ("00ff", Asked.route, "a\\nb", "\\x1b"),
            )

    def test_fields_do_not_pose_as_others(self) -> None:
        self.log.info("x", time="never", logger="mine", request="forged", traceback="forged")
        event = json.loads(self.said())
        self.assertEqual((event["level"], event["logger"], event["message"]), ("info", "ns", "x"))
        self.assertNotEqual(event["time"], "never")
        self.assertNotIn("forged", event.values())

    def test_old_kind(self) -> None:
        events: list[dict[str, Any]] = []
        Logger("ns", observer=safe(events.append, "json")).info("x\n")
        self.assertEqual(json.loads(str(events[0]["log_legacy"]))["message"], "x\\n")


class StandardTests(SynchronousTestCase):
    """Of a pipe that takes little."""

    def setUp(self) -> None:
        self.patch(appending, "PATIENCE", 1)
        self.reader, self.writer = small_pipe()
        self.addCleanup(os.close, self.writer)
        os.set_blocking(self.reader, False)
        self.patch(appending, "STDOUT", self.writer)
        self.out = SharedOutput(None)
        observer = textFileLogObserver(self.out)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def read(self) -> bytes:
        there = b""
        try:
            while part := os.read(self.reader, 1 << 16):
                there += part
        except BlockingIOError:
            return there
        return there

    def test_nobody_reads(self) -> None:
        """What there was room for is whole; how much is missing is said in the end, and nothing is after that."""
        self.addCleanup(os.close, self.reader)
        for number in range(100):
            self.out.write(f"{number:099}\n")
        first = self.read()
        there = len(first) // 100
        self.assertGreater(there, 10)
        self.assertEqual(first, b"".join(b"%099d\n" % number for number in range(there)))
        self.out.write("again\n")
        self.out.write("and again\n")
        said = f"{100 - there} events of this log were lost: "
        self.assertRegex(self.read().decode(), rf"\Aagain\n\S+ .*#warn\] {said}.*\nand again\n\Z")

    def test_in_the_middle_of_a_long_one(self) -> None:
        """What is next begins a line."""
        self.addCleanup(os.close, self.reader)
        self.out.write("x" * 99_999 + "\n")
        self.assertEqual({*self.read()}, {*b"x"})
        self.out.write("next\n")
        self.assertTrue(self.read().startswith(b"\nnext\n"))

    def test_no_other_end(self) -> None:
        os.close(self.reader)
        self.out.write("x\n")
        self.out.write("y\n")


def small_pipe() -> tuple[int, int]:
    """Where to read, and where to write."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 8192)
    return reader, writer


class DaemonTests(ProcessCase):
    """Over a real socket, in both formats."""

    async def lines(self, form: str) -> list[str]:
        listen = "listen: ['tcp:0:interface=127.0.0.1']"
        self.write(f"x: {{storage: memory, log_format: {form}, loglevel: debug, access_log: off, {listen}}}")
        daemon, port = await self.started()
        await self.ask(port, "PUT /v1/images/%s/json" % ("a" * 64), "User-Agent: \x1b[2J", body=b"{")
        for user_agent in BAD[1:]:
            await self.ask(port, "GET /v1/images/%1b%0a/json", f"User-Agent: {user_agent.encode('utf-8', 'ignore')!r}")
        await self.stop(daemon)
        return daemon.said.seen.split("\n")[:-1]

    @deferred
    async def test_json(self) -> None:
        for line in await self.lines("json"):
            json.loads(line)

    @deferred
    async def test_text(self) -> None:
        for line in await self.lines("text"):
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\S+ \[\S+\] [ -~]*$")

    @deferred
    async def test_nobody_reads_it(self) -> None:
        """Requests are answered all the same."""
        listen = f"'unix:{self.directory}/http'"
        self.write(f"x: {{storage: memory, loglevel: debug, access_log: off, listen: [{listen}]}}")
        reader, writer = small_pipe()
        self.addCleanup(os.close, reader)
        arguments = ["--nodaemon", "--pidfile=", "docker-registry", "--config=c.yml", "--flavor=x"]
        systemd = Systemd()
        hears = reactor.listenUNIXDatagram(f"{self.directory}/notify", systemd)
        self.addCleanup(hears.stopListening)
        environ = {"NOTIFY_SOCKET": f"{self.directory}/notify"}
        daemon = self.run_program(TWISTD, arguments, environ, fds={0: "w", 1: writer, 2: "r"})
        os.close(writer)
        await systemd.told.until("READY=1")
        for _ in range(100):
            self.assertIn("200 OK", await self.ask(f"unix:{self.directory}/http"))
        self.assertGreater(len(os.read(reader, 1 << 16)), 4000)
        await self.ask(f"unix:{self.directory}/http")
        await self.stop(daemon)
        self.assertRegex(os.read(reader, 1 << 16).decode(), r"[1-9]\d* events of this log were lost")
