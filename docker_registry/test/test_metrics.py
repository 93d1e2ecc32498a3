"""What is counted, by whom, and what is told of it (T51)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from klein import Klein
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.admin.listener import collectors
from docker_registry.deferreds import deferred
from docker_registry.digest import Digest
from docker_registry.errors import Damaged, NotFound, StorageFailed
from docker_registry.metrics.actions import ActionCounts
from docker_registry.metrics.changes import ChangeCounts
from docker_registry.metrics.families import (
    ACTIONS,
    CHANGED,
    CHANGES,
    COLUMNS,
    HANDLERS,
    PID,
    REQUESTS,
    ROUTE,
)
from docker_registry.metrics.requests import V1, V2, RequestCounts, handler
from docker_registry.metrics.table import Axis, Columns, Table, memory, observe
from docker_registry.registry import events
from docker_registry.storage import timing
from docker_registry.storage.interface import IStorage
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.memory import MemoryStorage
from docker_registry.storage.timed import timed_storage
from docker_registry.storage.timing import Timing
from docker_registry.test.process_case import ProcessCase
from docker_registry.test.registry_case import Direct
from docker_registry.test.storage_contract import StorageContract
from docker_registry.test.web_case import SiteCase, get, put
from docker_registry.v1 import routes as v1
from docker_registry.v2 import routes as v2
from docker_registry.web.gathering import Gathered
from docker_registry.web.request import Request
from docker_registry.web.routing import Match

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def parsed(text: str) -> Samples:
    """What Prometheus reads: values by name and labels."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return samples


def told(table: Table) -> Samples:
    return parsed(generate_latest(collectors(table)).decode())


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get(name, {}).get(tuple(sorted(labels.items())), 0.0)


class TableTests(SynchronousTestCase):
    def test_columns_do_not_overlap(self) -> None:
        taken: set[int] = set()
        for family in COLUMNS.families:
            for column, labels in family.combinations():
                self.assertEqual(len(labels), len(family.labels))
                columns = set(range(column, column + family.cells))
                self.assertEqual(columns & taken, set())
                taken |= columns
        self.assertEqual(taken, set(range(COLUMNS.width)))

    def test_at_is_what_combinations_say(self) -> None:
        columns = Columns()
        columns.gauge("first", "")
        pairs = Axis(("b", "c"), (("1", "2"), ("3", "4")))
        family = columns.histogram("h", "", Axis.of("a", "xyz"), pairs, bounds=(1.0,))
        for a, first in enumerate("xyz"):
            for b, pair in enumerate((["1", "2"], ["3", "4"])):
                self.assertEqual(dict(family.combinations())[family.at(a, b)], [first, *pair])

    def test_it_is_small(self) -> None:
        """It is memory of every process, and read at every scrape."""
        self.assertLess(COLUMNS.width * 8, 256 << 10)

    def test_buckets(self) -> None:
        """A bound belongs to its bucket, as Prometheus has it."""
        own = memoryview(bytearray(5 * 8)).cast("q")
        for number in (0.5, 1.0, 1.5, 2.0, 7.0):
            observe(own, 0, (1.0, 2.0), number, 10)
        self.assertEqual(list(own[:4]), [2, 2, 1, 120])


class ProcessesTests(SynchronousTestCase):
    """Several, of which one tells what all have counted."""

    COUNT = (
        "import os, sys\n"
        "from docker_registry.metrics.families import COLUMNS, PID, REQUESTS\n"
        "from docker_registry.metrics.table import Table\n"
        "table = Table.shared(COLUMNS.width, int(sys.argv[1]), int(sys.argv[2]))\n"
        "table.own[PID.first] = os.getpid()\n"
        "for _ in range(int(sys.argv[3])): table.own[REQUESTS.at(0, 0, 0)] += 1\n"
        "print('done', flush=True)\n"
        "sys.stdin.read()\n"
    )

    def setUp(self) -> None:
        self.fd = memory(COLUMNS.width, 3)
        self.addCleanup(os.close, self.fd)
        self.table = Table.shared(COLUMNS.width, self.fd, 0)

    def count(self, row: int, number: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", self.COUNT, str(self.fd), str(row), str(number)],
            pass_fds=[self.fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        self.addCleanup(process.wait)
        assert process.stdin is not None
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stdin.close)
        self.assertEqual(process.stdout.readline(), b"done\n")
        return process

    def total(self) -> float:
        (found,) = told(self.table)["registry_http_requests_total"].values()
        return found

    def test_sum(self) -> None:
        self.count(1, 100)
        self.count(2, 11)
        self.table.own[REQUESTS.at(0, 0, 0)] += 1
        self.assertEqual(self.total(), 112)

    def test_a_worker_that_is_killed(self) -> None:
        """What it counted stays, and its successor goes on from there."""
        first = self.count(1, 100)
        first.kill()
        first.wait()
        self.assertEqual(self.total(), 100)
        self.count(1, 5)
        self.assertEqual(self.total(), 105)

    def test_figures_of_each(self) -> None:
        pids = [self.count(row, 1).pid for row in (1, 2)]
        self.assertEqual([self.table.of(row)[PID.first] for row in (1, 2)], pids)
        samples = told(self.table)
        for row in ("1", "2"):
            self.assertGreater(value(samples, "registry_worker_resident_memory_bytes", worker=row), 1 << 20)
            self.assertGreater(value(samples, "registry_worker_cpu_seconds_total", worker=row), 0)
            self.assertGreater(value(samples, "registry_worker_open_fds", worker=row), 0)
        self.assertEqual(value(samples, "registry_worker_open_fds", worker="0"), 0)


class HandlerTests(SynchronousTestCase):
    def test_every_route_has_one(self) -> None:
        """A new route is sorted in before it is counted under another's name."""
        rules = {rule.rule for app in (v1._app, v2._app) for rule in _rules(app)}
        self.assertEqual({rule for rule in rules if rule.startswith("/v2")}, set(V2))
        self.assertEqual(set(V1) - rules, set())
        for rule in rules:
            for method in ("GET", "PUT"):
                self.assertIn(handler(rule, method), ROUTE.values)
                self.assertIn(handler(rule, method)[0], HANDLERS)

    def test_v1_as_v2_has_it(self) -> None:
        layer = "/v1/images/<image>/layer"
        self.assertEqual(handler(layer, "GET"), ("blob", "v1"))
        self.assertEqual(handler(layer, "PUT"), ("blob_upload", "v1"))
        self.assertEqual(handler("/_ping", "GET"), ("base", "v1"))

    def test_changes(self) -> None:
        kinds = {
            kind for kind in vars(events).values()
            if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event
            and not issubclass(kind, events.Pulled)         # which changes nothing
        }
        table = Table(COLUMNS.width)
        for kind in kinds:
            self.successResultOf(Deferred.fromCoroutine(ChangeCounts(table).changed(kind.__new__(kind))))
        self.assertEqual([table.own[CHANGED.at(at)] for at in range(len(CHANGES))], [1] * len(kinds))


class RequestTests(SiteCase):
    def setUp(self) -> None:
        super().setUp()
        self.table = Table(COLUMNS.width)
        self.counts = RequestCounts(self.table)
        self.gathered = Gathered(self.clock, [self.counts.told])
        self.table.settling.append(self.gathered.hand_on)
        self.site._finished = [self.gathered.finished]
        self.waiting: Deferred[None] = Deferred()

    async def handler(self, request: Request) -> None:
        if request.path.startswith("/v2/"):
            request.match = Match("/v2/<name:name>/manifests/<reference>", "x", {})
        if request.path.endswith("wait"):
            await self.waiting
        content = await request.body.read_all(10_000)
        self.clock.advance(0.02)
        request.answer(201 if content else 200, [], b"x" * 3000)

    def test_values(self) -> None:
        self.send(get("/v2/a") + get("/v2/b") + put(b"y" * 2000, path="/v2/c") + get("/nowhere"))
        samples = told(self.table)
        labels = {"handler": "manifest", "protocol": "v2"}
        total = "registry_http_requests_total"
        self.assertEqual(value(samples, total, **labels, method="get", code="200"), 2)
        self.assertEqual(value(samples, total, **labels, method="put", code="201"), 1)
        self.assertEqual(value(samples, total, handler="none", protocol="none", method="get", code="200"), 1)
        seconds = "registry_http_request_duration_seconds"
        self.assertEqual(value(samples, f"{seconds}_bucket", **labels, method="get", le="0.01"), 0)
        self.assertEqual(value(samples, f"{seconds}_bucket", **labels, method="get", le="0.025"), 2)
        self.assertAlmostEqual(value(samples, f"{seconds}_sum", **labels, method="get"), 0.04)
        sent = "registry_http_response_size_bytes"
        self.assertEqual(value(samples, f"{sent}_bucket", **labels, le="2048"), 0)
        self.assertEqual(value(samples, f"{sent}_bucket", **labels, le="4096"), 3)
        self.assertEqual(value(samples, f"{sent}_sum", **labels), 9000)
        self.assertEqual(value(samples, "registry_http_request_size_bytes_sum", **labels), 2000)

    def test_gone(self) -> None:
        self.send(get("/v2/wait"))
        self.lose()
        samples = told(self.table)
        labels = {"handler": "manifest", "protocol": "v2", "method": "get"}
        self.assertEqual(value(samples, "registry_http_requests_total", **labels, code="499"), 1)

    def test_in_flight(self) -> None:
        self.send(get("/v2/wait"))
        self.counts.running(self.site)
        in_flight = "registry_http_in_flight_requests"
        self.assertEqual(value(told(self.table), in_flight, handler="manifest", protocol="v2"), 1)
        self.waiting.callback(None)
        self.counts.running(self.site)
        self.assertEqual(value(told(self.table), in_flight, handler="manifest", protocol="v2"), 0)

    def test_every_status(self) -> None:
        """Those that no table has, too."""
        request = self._request()
        for status in (*range(100, 600), 999):
            request.status = status
            self.gathered.finished(request, 0.0)
        samples = told(self.table)["registry_http_requests_total"]
        self.assertEqual(sum(samples.values()), 1 + 501)
        self.assertLess(len(samples), 50)

    def test_no_label_of_a_client(self) -> None:
        """Paths, names, methods and agents of strangers make no new series (T51)."""
        self.send(get("/v2/a") + get("/a"))
        before = len(generate_latest(collectors(self.table)).splitlines())
        for number in range(200):
            self.send(get(f"/v2/{number}/evil%E2%80%AE", f"User-Agent: {number}"))
            self.send(get(f"/{number}"))
        self.assertEqual(len(generate_latest(collectors(self.table)).splitlines()), before)

    def _request(self) -> Request:
        self.send(get("/v2/a"))
        return self.requests[-1]


class TimedContractTests(StorageContract, SynchronousTestCase):
    """A store that is timed is a store."""

    def make(self) -> IStorage:
        self.clock = Clock()
        return timed_storage(MemoryStorage(self.clock), ActionCounts(Table(COLUMNS.width), "memory"))


class TimedReads:
    """Of a local store, which times by itself what it reads: each once, whether it needed a thread or not."""

    cached = True

    def setUp(self: Any) -> None:
        self.table = Table(COLUMNS.width)
        local = LocalStorage(Path(self.mktemp()), Direct(), Clock(), cached=self.cached)
        self.storage = timed_storage(local, ActionCounts(self.table, "local"))
        self.successResultOf(self.storage.start())
        self.addCleanup(self.storage.close)
        self.successResultOf(self.storage.put("a/b", b"content"))

    def counted(self: Any, name: str) -> dict[str, float]:
        found = told(self.table).get(name, {}).items()
        return {dict(labels)["action"]: number for labels, number in found if number}

    def test_reads(self: Any) -> None:
        for action, times in (("stat", 1), ("get", 2), ("open", 3)):
            for _ in range(times):
                self.successResultOf(getattr(self.storage, action)("a/b"))
        counts = {"put": 1, "stat": 1, "get": 2, "open": 3}
        self.assertEqual(self.counted("registry_storage_action_seconds_count"), counts)
        self.assertEqual(set(self.counted("registry_storage_action_seconds_sum")), set(counts))
        self.assertEqual(self.counted("registry_storage_errors_total"), {})

    def test_errors(self: Any) -> None:
        self.failureResultOf(self.storage.get("a/nothing"), NotFound)
        self.failureResultOf(self.storage.get("a"), Damaged)
        self.assertEqual(self.counted("registry_storage_action_seconds_count"), {"put": 1, "get": 2})
        self.assertEqual(self.counted("registry_storage_errors_total"), {"get": 1})


class TimedReadsAtOnceTests(TimedReads, SynchronousTestCase):
    pass


class TimedReadsInThreadsTests(TimedReads, SynchronousTestCase):
    cached = False


class TimedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.answer: Deferred[Any] = succeed(None)
        self.table = Table(COLUMNS.width)
        memory = MemoryStorage(Clock())
        self.patch(memory, "stat", lambda key: self.answer)
        self.storage = timed_storage(memory, ActionCounts(self.table, "local"))

    def counted(self) -> tuple[float, float]:
        samples, labels = told(self.table), {"driver": "local", "action": "stat"}
        return (
            value(samples, "registry_storage_action_seconds_count", **labels),
            value(samples, "registry_storage_errors_total", **labels),
        )

    def test_at_once(self) -> None:
        """The same Deferred, with nothing added to it."""
        self.assertIs(self.storage.stat("x"), self.answer)
        self.assertEqual(self.answer.callbacks, [])
        self.assertEqual(self.counted(), (1, 0))

    def test_later(self) -> None:
        self.answer = Deferred()
        answer = self.storage.stat("x")
        self.assertIs(answer, self.answer)
        self.assertEqual(self.counted(), (0, 0))
        self.answer.callback(7)
        self.assertEqual(self.successResultOf(answer), 7)
        self.assertEqual(self.counted(), (1, 0))

    def test_errors(self) -> None:
        """Nothing there is no error of the store's."""
        for error, count in ((NotFound("x"), 0), (StorageFailed("x"), 1)):
            self.answer = fail(error)
            self.failureResultOf(self.storage.stat("x"), type(error))
            self.assertEqual(self.counted()[1], count)

    def test_is_added_up(self) -> None:
        """In the table, where another process finds it, each is once."""
        for _ in range(3):
            self.storage.stat("x")
            self.table.settle()
            self.table.settle()
        self.assertEqual(value(told(Table(COLUMNS.width, self.table.own)), "registry_storage_action_seconds_count",
                               driver="local", action="stat"), 3)

    def test_every_action_has_a_column(self) -> None:
        methods = {*IStorage.names(), "write", "sync", "commit"} - {"start", "close"}
        self.assertEqual(set(ACTIONS), methods)


class TimingTests(SynchronousTestCase):
    def test_buckets(self) -> None:
        """As long as a bound is below it; each is taken once."""
        now = 1000
        self.patch(timing, "perf_counter_ns", lambda: now)
        found = Timing((10, 20))
        for took in (0, 10, 11, 20, 21, 500):
            found.ended(now - took)
        found.until(fail(StorageFailed("x")), now - 3).addErrback(lambda _: None)
        self.assertEqual(found.take(), [3, 2, 2, 565, 1])
        self.assertEqual(found.take(), [0, 0, 0, 0, 0])


class DaemonTests(ProcessCase):
    """Over real sockets."""

    @deferred
    async def test_after_a_known_set_of_requests(self) -> None:
        endpoint = "tcp:0:interface=127.0.0.1"
        self.write(f"x: {{storage_path: ./images, listen: ['{endpoint}'], admin_listen: ['{endpoint}']}}")
        daemon, port = await self.started()
        admin = int((await daemon.said.until(r"health and metrics on \S+:(\d+)"))[1])
        blob = b"layer" * 20_000
        digest = Digest.of(blob)
        for line, body in [
            (f"POST /v2/a/blobs/uploads/?digest={digest}", blob),
            (f"GET /v2/a/blobs/{digest}", b""),
            (f"GET /v2/a/blobs/{digest}", b""),
            (f"HEAD /v2/a/blobs/{digest}", b""),
            ("GET /v2/a/manifests/nowhere", b""),
            ("GET /v2/", b""),
            ("GET /v1/_ping", b""),
            ("GET /v2/%E2%80%AE%1b/nothing", b""),
            ("BREW /coffee", b""),
        ]:
            await self.ask(port, line, body=body)
        samples = parsed((await self.ask(admin, "GET /metrics")).partition("\r\n\r\n")[2])
        counts = samples["registry_http_requests_total"].items()
        self.assertEqual(
            {" ".join(value for _, value in labels): number for labels, number in counts},
            {
                "201 blob_upload post v2": 1, "200 blob get v2": 2, "200 blob head v2": 1, "404 manifest get v2": 1,
                "200 base get v2": 1, "200 base get v1": 1, "404 none get none": 1, "501 none get none": 1,
            },
        )
        self.assertEqual(
            value(samples, "registry_http_response_size_bytes_sum", handler="blob", protocol="v2"), 2 * len(blob)
        )
        self.assertEqual(value(samples, "registry_changes_total", change="blob_pushed"), 1)
        self.assertEqual(value(samples, "registry_storage_action_seconds_count", driver="local", action="commit"), 1)
        self.assertGreater(value(samples, "process_resident_memory_bytes"), 1 << 20)
        self.assertEqual(value(samples, "registry_uploads_open"), 0)
        await self.stop(daemon)

    @deferred
    async def test_not_beside_the_images(self) -> None:
        """Who may pull need not see them."""
        daemon, port = await self.started()
        for path in ("/metrics", "/debug/health", "/readyz", "/livez"):
            self.assertTrue((await self.ask(port, f"GET {path}")).startswith("HTTP/1.1 404 "))
        await self.stop(daemon)


def _rules(app: Klein) -> Any:
    return app.url_map.iter_rules()

