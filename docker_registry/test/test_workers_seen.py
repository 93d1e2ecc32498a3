"""Several workers, as operators see them: one set of figures, one answer, one access log."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater

from docker_registry.deferreds import deferred
from docker_registry.test.process_case import SERVE, Daemon, reactor
from docker_registry.test.test_access_log import COMBINED
from docker_registry.test.worker_case import WorkerCase, kill

ADMIN = "unix:admin.sock"


class SeenTests(WorkerCase):
    async def seen(self) -> tuple[Daemon, int]:
        self.configure(admin_listen=f"['{ADMIN}']", access_log_file="./access.log")
        return await self.all_ready()

    async def told(self, path: str) -> str:
        answer = await self.ask(f"unix:{self.directory}/admin.sock", f"GET {path}")
        return answer.partition("\r\n\r\n")[2]

    async def requests(self) -> int:
        """To ``/v2/``, by all workers."""
        found = re.search(
            r'^registry_http_requests_total\{code="200",handler="base",method="get",protocol="v2"\} (\d+)',
            await self.told("/metrics"), re.MULTILINE,
        )
        return int(found[1]) if found else 0

    async def counted(self, count: int) -> None:
        """Wait until so many requests are: a process counts those of a moment together."""
        while (found := await self.requests()) < count:
            await deferLater(reactor, 0.02)
        self.assertEqual(found, count)

    async def standing(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(await self.told("/readyz"))
        return document

    @deferred
    async def test_all_together(self) -> None:
        """Each is asked by itself; a figure is the sum, and there is one of each process."""
        daemon, port = await self.seen()
        first, second = (self.pids(daemon)[number] for number in (1, 2))
        for asleep, count in [(first, 3), (second, 4)]:
            with self.only(asleep):
                for _ in range(count):
                    self.assertIn("200 OK", await self.ask(port))
        await self.counted(7)
        metrics = await self.told("/metrics")
        for number in (1, 2):
            self.assertRegex(metrics, rf'registry_worker_resident_memory_bytes\{{worker="{number}"\}} [1-9]')
        standing = await self.standing()
        self.assertEqual(standing["status"], "ok")
        self.assertEqual({worker["pid"] for worker in standing["workers"]}, {first, second})
        await self.stop(daemon)

    @deferred
    async def test_one_is_killed(self) -> None:
        """What it counted stays, and its successor goes on from there; meanwhile the other serves."""
        daemon, port = await self.seen()
        first, second = (self.pids(daemon)[number] for number in (1, 2))
        with self.only(second):
            for _ in range(5):
                await self.ask(port)
            await self.counted(5)
        kill(first)
        self.assertEqual((await self.standing())["status"], "ok")
        after = await self.another(daemon, 1, first)
        self.assertEqual(await self.requests(), 5)
        with self.only(second):
            await self.ask(port)
        await self.counted(6)
        self.assertEqual({worker["pid"] for worker in (await self.standing())["workers"]}, {after, second})
        await self.stop(daemon)

    @deferred
    async def test_command(self) -> None:
        daemon, port = await self.seen()
        await self.ask(port)
        await self.counted(1)
        asking = self.run_program(SERVE, ["status", "-c", "c.yml", "-f", "x", "--json"])
        self.assertEqual(await asking.ended, 0, asking.complained.seen)
        found = json.loads(asking.said.seen)
        self.assertEqual((found["ready"], len(found["workers"]), found["requests"]), (True, 2, 1))
        self.assertTrue(0 <= found["uptime_seconds"] < 600, found)
        await self.stop(daemon)

    @deferred
    async def test_one_access_log(self) -> None:
        """Of all workers; after SIGHUP in the file that has the name then (H3)."""
        daemon, port = await self.seen()
        first, second = (self.pids(daemon)[number] for number in (1, 2))
        log, old = Path(self.directory, "access.log"), Path(self.directory, "access.log.1")
        for asleep in (first, second):
            with self.only(asleep):
                await self.ask(port, "GET /v2/before")
        await self.appears(str(log), r"(?s)before.*before")
        log.rename(old)
        daemon.kill(signal.SIGHUP)
        await daemon.said.until(r"(?s)(reloaded: .*){3}")           # the parent is the first
        for asleep in (first, second):
            with self.only(asleep):
                await self.ask(port, "GET /v2/after")
        await self.stop(daemon)
        for path, word in ((old, b"/v2/before"), (log, b"/v2/after")):
            lines = path.read_bytes().splitlines(keepends=True)
            self.assertEqual([word in line for line in lines], [True, True])
            self.assertTrue(all(map(COMBINED.fullmatch, lines)))
