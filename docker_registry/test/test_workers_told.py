"""What several workers see is mailed and told by one of the processes (G2, D11)."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
from hashlib import sha256
from pathlib import Path

from twisted.internet.task import deferLater
from twisted.web.server import Site

from docker_registry.deferreds import deferred
from docker_registry.test.mail_servers import Inbox
from docker_registry.test.process_case import Daemon, reactor
from docker_registry.test.test_webhooks_daemon import Hook
from docker_registry.test.worker_case import WorkerCase

BROKEN = "images/docker/registry/v2/repositories/broken/_manifests/tags/latest/current/link"


class ToldCase(WorkerCase):
    def options(self, **options: object) -> None:
        self.write("x: " + json.dumps({
            "storage_path": "./images", "listen": ["tcp:0:interface=127.0.0.1"], "workers": 2, "secret_key": "s",
            "shutdown_grace": 5, "admin_listen": ["tcp:0:interface=127.0.0.1"], **options,
        }))

    async def metric(self, daemon: Daemon, name: str) -> float:
        port = await daemon.said.until(r"health and metrics on \D*127.0.0.1:(\d+)")
        found = re.search(rf"(?m)^{re.escape(name)} (\S+)", await self.ask(int(port[1]), "GET /metrics"))
        assert found is not None
        return float(found[1])


class MailTests(ToldCase):
    @deferred
    async def test_one_mail_for_what_all_see(self) -> None:
        """And one for a worker that ends."""
        inbox = Inbox(careless=True)
        self.addCleanup(inbox.close)
        self.options(email_exceptions={
            "smtp_host": "127.0.0.1", "smtp_port": inbox.port, "from_addr": "us@example.com",
            "to_addr": "ops@example.com",
        })
        link = Path(self.directory, BROKEN)
        link.parent.mkdir(parents=True)
        os.mknod(link, stat.S_IFSOCK | 0o600)
        daemon, port = await self.all_ready()
        first, second = self.pids(daemon).values()
        for other in (first, second):
            with self.only(other):
                for _ in range(5):
                    self.assertIn(" 500 ", await self.ask(port, "GET /v2/broken/manifests/latest"))
        await inbox.until(1)
        before = self.pids(daemon)[1]
        os.kill(before, signal.SIGKILL)
        await self.another(daemon, 1, before)
        await inbox.until(2)
        self.assertGreaterEqual(await self.metric(daemon, 'registry_mails_total{outcome="sent"}'), 1)
        await self.stop(daemon)
        self.assertEqual(
            [mail["Subject"].partition(": ")[2] for mail in inbox.arrived],
            ["docker_registry.errors.StorageFailed", "worker ended"],
        )
        body = inbox.arrived[0].get_content().replace("\r\n", "\n")
        for line in (r"where +storage/\S+ \S+", r"route +/v2/<name:name>/manifests/<reference>", "repository +broken",
                     r"count +1, and 4 more since .*"):
            self.assertRegex(body, f"(?m)^{line}$")
        self.assertIn("No such device or address", body)
        self.assertIn("was killed by signal 9", inbox.arrived[1].get_content())


class WebhookTests(ToldCase):
    @deferred
    async def test_all_write_and_one_sends(self) -> None:
        """Whichever is killed, and while there is nobody to send to."""
        hook = Hook()
        listening = reactor.listenTCP(0, Site(hook), interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        self.options(notifications={"endpoints": [
            {"name": "hook", "url": f"http://127.0.0.1:{listening.getHost().port}/", "backoff": 1, "threshold": 1},
        ]})
        daemon, port = await self.all_ready()
        names = []
        for round_ in range(2):
            for number, other in list(self.pids(daemon).items()):
                with self.only(other):
                    names.append(f"r{round_}/not-by-{number}")
                    await self.push(port, names[-1])
            await hook.until(len(names))
            before = self.pids(daemon)[round_ + 1]
            hook.status = 503
            names.append(f"r{round_}/last")
            await self.push(port, names[-1])
            await daemon.said.until("(?s)" + "it answered 503; they wait.*" * (round_ + 1))
            await self.written(daemon, len(names))                  # who wrote it counts it a moment later
            os.kill(before, signal.SIGKILL)
            hook.status = 200
            await self.another(daemon, round_ + 1, before)
            await hook.until(len(names))
        await self.written(daemon, len(names))
        await self.stop(daemon)
        self.assertEqual({event["target"]["repository"] for event in hook.events}, set(names))
        self.assertGreater(len({event["source"]["instanceID"] for event in hook.events}), 1)

    async def written(self, daemon: Daemon, count: int) -> None:
        """Wait until so many events are counted, and no more."""
        while (found := await self.metric(daemon, 'registry_notifications_events_total{type="Events"}')) < count:
            await deferLater(reactor, 0.02)
        self.assertEqual(found, count)

    async def push(self, port: int, name: str) -> None:
        content = name.encode()
        digest = f"sha256:{sha256(content).hexdigest()}"
        answer = await self.ask(port, f"POST /v2/{name}/blobs/uploads/?digest={digest}", body=content)
        self.assertIn(" 201 ", answer)
