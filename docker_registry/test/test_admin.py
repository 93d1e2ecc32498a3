"""Whether the registry is well, as operators and their programs are told (H4, H9, T28, T51)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.admin.health import SILENT, Health
from docker_registry.admin.listener import collectors
from docker_registry.admin.routes import TOGETHER, Admin, site
from docker_registry.deferreds import deferred
from docker_registry.metrics.exposition import TableCollector
from docker_registry.metrics.families import COLUMNS
from docker_registry.metrics.pulse import FRESH, INTEREST, PATIENCE, Pulse
from docker_registry.metrics.table import Table
from docker_registry.test.process_case import Daemon, ProcessCase
from docker_registry.test.web_case import SiteCase, get

NOT_OURS = re.compile(r"(?i)python|twisted|klein|traceback|/work|/home|/tmp")


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.table = Table(COLUMNS.width)
        self.store: str | Exception | None = ""
        self.tries = 0
        self.pulse = self.beating(self.table)
        self.health = Health(self.clock, self.clock.seconds, self.table)
        self.said = EventLoggingObserver()
        globalLogPublisher.addObserver(self.said)
        self.addCleanup(globalLogPublisher.removeObserver, self.said)

    def beating(self, table: Table) -> Pulse:
        pulse = Pulse(self.clock, self.clock.seconds, table, works=self.works)
        pulse.start()
        pulse.became("ready")
        return pulse

    def works(self) -> Deferred[str]:
        self.tries += 1
        if isinstance(self.store, Exception):
            return fail(self.store)
        return Deferred() if self.store is None else succeed(self.store)

    def problem(self) -> str:
        """What is found, in however long it takes."""
        asking = Deferred.fromCoroutine(self.health.standing())
        for _ in range(200):
            if asking.called:
                break
            self.clock.advance(0.1)
        return self.successResultOf(asking).problem

    def lines(self) -> list[str]:
        return [event["log_format"].format(**event) for event in self.said]


class HealthTests(Case):
    def test_ready(self) -> None:
        self.assertEqual(self.problem(), "")

    def test_states(self) -> None:
        for state, problem in [("starting", "starting"), ("draining", "stopping"), ("ready", "")]:
            self.pulse.became(state)
            self.assertEqual(self.problem(), problem)

    def test_store_that_fails(self) -> None:
        """Said in the log once, and once when it is over."""
        self.store = "StorageFull: no space left"
        for _ in range(3):
            self.assertEqual(self.problem(), "the store does not work")
            self.clock.pump([1] * 10)
        self.store = ""
        self.clock.pump([1] * 10)
        self.assertEqual(self.problem(), "")
        self.assertEqual(
            self.lines(), ["the store does not work: StorageFull: no space left", "the store works again"]
        )

    def test_store_that_hangs(self) -> None:
        self.store = None
        before = self.clock.seconds()
        self.assertEqual(self.problem(), "the store does not work")
        self.assertLess(self.clock.seconds() - before, PATIENCE + 2)

    def test_what_was_so_long_ago(self) -> None:
        """Says nothing of today: nobody has tried the store since."""
        self.assertEqual(self.problem(), "")
        self.clock.pump([1] * 1000)
        self.assertEqual([worker.store for worker in self.health.at_once().workers], ["unknown"])
        self.store = None
        self.assertEqual(self.problem(), "the store does not work")

    def test_fault_in_the_trial(self) -> None:
        self.store = ZeroDivisionError()
        self.assertEqual(self.problem(), "the store does not work")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_nobody_asks(self) -> None:
        """A disk may sleep."""
        self.clock.pump([1] * 100)
        self.assertEqual(self.tries, 0)
        self.problem()
        self.clock.pump([1] * 1000)
        self.assertLessEqual(self.tries, INTEREST // (FRESH - 1) + 1)

    def test_many_ask(self) -> None:
        for _ in range(50):
            self.assertEqual(self.problem(), "")
        self.assertEqual(self.tries, 1)

    def test_reactor_that_hangs(self) -> None:
        self.assertEqual(self.problem(), "")
        self.pulse._beats.stop()
        self.clock.advance(SILENT + 1)
        self.assertEqual(self.problem(), "the reactor hangs")

    def test_stopped(self) -> None:
        """In the middle of a trial, too."""
        self.store = None
        Deferred.fromCoroutine(self.health.standing())
        self.clock.advance(1)
        self.assertEqual(self.tries, 1)
        self.successResultOf(Deferred.fromCoroutine(self.pulse.stop()))
        self.assertEqual(self.problem(), "starting")
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class WorkersTests(Case):
    """The parent is asked, and is none of those that serve."""

    def setUp(self) -> None:
        super().setUp()
        numbers = memoryview(bytearray(3 * COLUMNS.width * 8)).cast("q")
        self.successResultOf(Deferred.fromCoroutine(self.pulse.stop()))
        self.table = Table(COLUMNS.width, numbers, 0)
        self.pulses = [self.beating(Table(COLUMNS.width, numbers, row)) for row in (1, 2)]
        self.health = Health(self.clock, self.clock.seconds, self.table)

    def test_all(self) -> None:
        self.assertEqual(self.problem(), "")
        self.assertEqual(len(self.health.at_once().workers), 2)

    def test_one_is_enough(self) -> None:
        """The other is restarted meanwhile."""
        self.problem()
        self.pulses[0]._beats.stop()
        self.clock.pump([0.5] * 14)
        self.assertEqual(self.problem(), "")
        self.assertEqual([worker.state for worker in self.health.at_once().workers], ["silent", "ready"])

    def test_none(self) -> None:
        for pulse in self.pulses:
            self.successResultOf(Deferred.fromCoroutine(pulse.stop()))
        self.assertEqual(self.problem(), "starting")


class AnswerTests(SiteCase):
    def setUp(self) -> None:
        super().setUp()
        self.table = Table(COLUMNS.width)
        self.pulse = Pulse(self.clock, self.clock.seconds, self.table, works=lambda: succeed(""))
        admin = Admin(
            Health(self.clock, self.clock.seconds, self.table), collectors(self.table), self.clock.seconds
        )
        self.site = site(self.clock, admin)
        self.channel, self.wire = self.connect()
        self.pulse.start()
        self.pulse.became("ready")

    def ask(self, path: str) -> tuple[int, bytes, bytes]:
        """Status, head and body."""
        self.send(get(path))
        self.clock.pump([0.1] * 20)
        answer = self.sent()
        head, _, content = answer.partition(b"\r\n\r\n")
        (status,) = self.statuses(answer)
        return status, head, content

    def test_well(self) -> None:
        for path, expected in [
            ("/livez", {"status": "ok"}),
            ("/debug/health", {}),
            ("/readyz", {"status": "ok", "workers": [{"pid": os.getpid(), "state": "ready", "store": "works"}]}),
        ]:
            status, head, content = self.ask(path)
            self.assertEqual((status, json.loads(content)), (200, expected))
            self.assertIn(b"Content-Type: application/json\r\n", head)
            self.assertIn(b"Cache-Control: no-store\r\n", head)

    def test_not_well(self) -> None:
        """It lives all the same: a restart would not help."""
        self.pulse.became("draining")
        self.assertEqual(self.ask("/livez")[0], 200)
        status, _, content = self.ask("/readyz")
        self.assertEqual((status, json.loads(content)["reason"]), (503, "stopping"))
        status, _, content = self.ask("/debug/health")
        self.assertEqual((status, json.loads(content)), (503, {"registry": "stopping"}))

    def test_nothing_else(self) -> None:
        for path in ("/", "/metrics/x", "/debug", "/debug/pprof", "/debug/vars", "/v2/", "/_ping", "/%ff", "//livez"):
            status, _, content = self.ask(path)
            self.assertEqual((status, [*json.loads(content)]), (404, ["error"]), path)

    def test_errors_are_for_machines(self) -> None:
        for sent, status in [
            (b"POST /livez HTTP/1.1\r\nHost: r\r\n\r\n", 405), (b"nonsense\r\n\r\n", 400),
            (b"GET / HTTP/2.0\r\nHost: r\r\n\r\n", 505), (get("/" + "x" * 10_000), 414),
        ]:
            self.channel, self.wire = self.connect()
            self.send(sent)
            answer = self.sent()
            head, _, content = answer.partition(b"\r\n\r\n")
            self.assertEqual(self.statuses(answer), [status])
            self.assertIn(b"error", json.loads(content) and content)
            self.assertIn(b"Content-Length: %d\r\n" % len(content), head + b"\r\n")

    def test_formats(self) -> None:
        _, head, _ = self.ask("/metrics")
        self.assertIn(b"Content-Type: text/plain; version=0.0.4", head)
        self.send(get("/metrics", "Accept: application/openmetrics-text; version=1.0.0"))
        answer = self.sent()
        self.assertIn(b"Content-Type: application/openmetrics-text", answer)
        self.assertTrue(answer.endswith(b"# EOF\n"))

    def test_many_scrapes(self) -> None:
        """Who asks at the same time gets the same, so that however many there are those who push hardly wait."""
        written: list[object] = []
        made = TableCollector.collect

        def collect(collector: TableCollector) -> Iterator[Metric]:
            written.append(collector)
            return made(collector)

        self.patch(TableCollector, "collect", collect)
        for number in range(1, 4):
            for _ in range(20):
                self.send(get("/metrics"))
            answer = self.sent()
            self.assertEqual(self.statuses(answer), [200] * 20)
            self.assertEqual(len(written), number)
            self.clock.advance(2 * TOGETHER)
        self.send(get("/metrics", "Accept: application/openmetrics-text; version=1.0.0") + get("/metrics"))
        self.assertEqual(self.sent().count(b"# EOF\n"), 1)

    def test_says_nothing_of_the_machine(self) -> None:
        for path in ("/livez", "/readyz", "/debug/health", "/nowhere"):
            _, head, content = self.ask(path)
            self.assertIsNone(NOT_OURS.search((head + content).decode("latin-1")))


class DaemonTests(ProcessCase):
    """Over real sockets."""

    ADMIN = re.compile(r"health and metrics on (\S+)")

    async def begin(self, options: str = "") -> tuple[Daemon, int, int]:
        endpoint = "tcp:0:interface=127.0.0.1"
        self.write(f"x: {{storage_path: ./images, listen: ['{endpoint}'], admin_listen: ['{endpoint}'] {options}}}")
        daemon, port = await self.started()
        return daemon, port, int((await daemon.said.until(self.ADMIN))[1].rpartition(":")[2])

    async def document(self, admin: int, path: str) -> tuple[int, Any]:
        head, _, content = (await self.ask(admin, f"GET {path}")).partition("\r\n\r\n")
        return int(head.split()[1]), json.loads(content)

    @deferred
    async def test_ready(self) -> None:
        daemon, _, admin = await self.begin()
        status, document = await self.document(admin, "/readyz")
        self.assertEqual((status, document["status"], document["workers"][0]["store"]), (200, "ok", "works"))
        await self.stop(daemon)

    @deferred
    async def test_store_that_cannot_be_written(self) -> None:
        """Its disk is gone: the daemon lives, and is not ready until it is back."""
        daemon, _, admin = await self.begin()
        Path(self.directory, "images").rename(Path(self.directory, "elsewhere"))
        images = Path(self.directory, "elsewhere", "images")
        images.parent.joinpath("images").write_text("no directory")      # the probe lies below that name
        status, document = await self.document(admin, "/readyz")
        self.assertEqual((status, document.get("reason")), (503, "the store does not work"))
        self.assertEqual((await self.document(admin, "/livez"))[0], 200)
        await daemon.said.until("the store does not work: ")
        images.unlink()
        await daemon.said.until("the store works again")
        self.assertEqual((await self.document(admin, "/readyz"))[0], 200)
        await self.stop(daemon)

    @deferred
    async def test_draining(self) -> None:
        """The images' port is closed; the health's is open until the last request has come to its end."""
        daemon, port, admin = await self.begin()
        upload = await self.draining(daemon, port)
        await self.until_draining(admin)
        self.assertEqual((await self.document(admin, "/livez"))[0], 200)
        upload.send(b"0123456789")
        await upload.closed
        self.assertEqual(await daemon.ended, 0)

    async def until_draining(self, admin: int) -> None:
        while (await self.document(admin, "/readyz"))[1].get("reason") != "stopping":
            pass

    @deferred
    async def test_port_in_use(self) -> None:
        _, _, admin = await self.begin()
        self.write(f"x: {{storage: memory, listen: ['tcp:0'], admin_listen: ['tcp:{admin}:interface=127.0.0.1']}}")
        daemon = self.twistd()
        self.assertEqual(await daemon.ended, 78)
        reason = f"cannot start: cannot listen on tcp:{admin}:interface=127.0.0.1: Address already in use"
        self.assertIn(reason, daemon.said.seen)

    @deferred
    async def test_second_port_in_use(self) -> None:
        """Nothing is left of the first one."""
        _, _, admin = await self.begin()
        self.write(f"x: {{storage: memory, listen: ['tcp:0'], admin_listen: ['unix:admin.sock', 'tcp:{admin}']}}")
        daemon = self.twistd()
        self.assertEqual(await daemon.ended, 78)
        self.assertIn(f"cannot start: cannot listen on tcp:{admin}: Address already in use", daemon.said.seen)
        self.assertNotIn("listening on", daemon.said.seen)      # not even for a moment (H5)
        self.assertFalse(Path(self.directory, "admin.sock").exists())

    @deferred
    async def test_two_endpoints(self) -> None:
        """Both say the same, and both are closed at the end."""
        self.write("x: {storage_path: ./images, listen: ['tcp:0:interface=127.0.0.1'], workers: 2, secret_key: s, "
                   "admin_listen: ['unix:admin.sock:mode=600', 'tcp:0:interface=127.0.0.1']}")
        daemon = self.twistd()
        port = int((await daemon.said.until(r"health and metrics on 127.0.0.1:(\d+)"))[1])
        await daemon.said.until("try: docker push")
        for where in (f"unix:{self.directory}/admin.sock", port):
            self.assertIn(" 200 OK", await self.ask(where, "GET /readyz"))
            self.assertRegex(await self.ask(where, "GET /metrics"), r"(?m)^registry_http_connections\S* 0\.0$")
        await self.stop(daemon)
        self.assertFalse(Path(self.directory, "admin.sock").exists())
        await self.assertFailure(Deferred.fromCoroutine(self.connect(port)), ConnectError)
        self.assertNotIn("Traceback", daemon.said.seen + daemon.complained.seen)

    @deferred
    async def test_socket_file(self) -> None:
        self.write("x: {storage: memory, listen: ['tcp:0'], admin_listen: ['unix:admin.sock:mode=600']}")
        daemon = self.twistd()
        await daemon.said.until("health and metrics on unix:admin.sock\n")
        answer = await self.ask(f"unix:{self.directory}/admin.sock", "GET /livez")
        self.assertTrue(answer.startswith("HTTP/1.1 200 OK"))
        await self.stop(daemon)
