"""A daemon with workers whose content is in Glance, while that fails: skopeo, mail, metrics, status (F12)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from docker_registry.deferreds import deferred
from docker_registry.test.clients import images
from docker_registry.test.clients.tools import need, run
from docker_registry.test.glance_case import port_of
from docker_registry.test.mail_servers import Inbox
from docker_registry.test.process_case import SERVE, Daemon, reactor
from docker_registry.test.servers.process import RealServer
from docker_registry.test.servers.projects import Project
from docker_registry.test.servers.stores import glance, glance_folder
from docker_registry.test.test_workers_told import ToldCase


class OutageTests(ToldCase):
    timeout = 240

    @deferred
    async def test_outage(self) -> None:
        """Two mails, from whichever worker; what one of them diverted the parent moves."""
        need(("skopeo", "skopeo"))
        inbox = Inbox(careless=True)
        self.addCleanup(inbox.close)
        server = RealServer(glance_folder(), "glance.wsgi", port_of(glance()["OS_GLANCE_URL"]))
        self.addCleanup(deferToThread, server.mend)
        self.options(**Project().options(email_exceptions={
            "smtp_host": "127.0.0.1", "smtp_port": inbox.port, "from_addr": "us@example.com",
            "to_addr": "ops@example.com",
        }, admin_listen=["tcp:0:interface=127.0.0.1", "unix:admin.sock"]))
        layout = await deferToThread(images.make, Path(self.directory, "layout"), 3_000_000)
        daemon, port = await self.all_ready()
        await self.copy(f"oci:{layout.root}:image", port, "before")
        await deferToThread(server.kill)
        await self.copy(f"oci:{layout.root}:index", port, "during")
        await self.pull(port, "during")
        self.assertIn("Retry-After", await self.ask(port, f"GET /v2/before/blobs/{self.layer(layout.root)}"))
        await inbox.until(1)
        await self.seen(daemon, "registry_storage_diverting", lambda value: value == 1)
        asking: Daemon = self.run_program(SERVE, ["status", "-c", "c.yml", "-f", "x"])
        self.assertEqual(await asking.ended, 0)
        self.assertRegex(asking.said.seen, r"(?m)^  Glance fails +pushes go to storage_alternate$")
        diverted = await self.metric(daemon, "registry_storage_diverted_total")
        self.assertGreater(diverted, 3)
        self.assertTrue((await self.standing(port))["diverting"])
        await deferToThread(server.mend)
        await self.seen(daemon, "registry_storage_moved_total", lambda value: value == diverted)
        await self.seen(daemon, "registry_storage_diverting", lambda value: value == 0)
        await self.seen(daemon, "registry_storage_waiting", lambda value: value == 0)
        await inbox.until(2)
        for name in ("before", "during"):
            await self.pull(port, name)
        status = await self.standing(port)
        self.assertEqual((status["diverting"], status["to_be_moved"]), (False, 0))
        self.assertEqual(list(Path(self.directory, "images/docker/registry/v2/blobs").rglob("data")), [])
        await self.stop(daemon)
        self.assertEqual(
            [mail["Subject"].partition(": ")[2] for mail in inbox.arrived],
            ["Glance fails", "recovered from Glance fails"],
        )
        self.assertIn("Pushes go to storage_alternate until it works again", inbox.arrived[0].get_content())
        self.assertIn("Glance works again after", inbox.arrived[1].get_content())

    @deferred
    async def test_recover(self) -> None:
        """The directory beside Glance has lost what it knew of images, and then is another store."""
        need(("skopeo", "skopeo"))
        project = await deferToThread(Project)
        self.options(**project.options(glance_names=True))
        layout = await deferToThread(images.make, Path(self.directory, "layout"), 3_000_000)
        daemon, port = await self.all_ready()
        await self.copy(f"oci:{layout.root}:image", port, "app")
        while not await deferToThread(lambda: list(project.images(name="in:\"app:1\""))):
            await deferLater(reactor, 0.05)
        await self.stop(daemon)
        records = Path(self.directory, "images/glance")
        before = {path: path.read_bytes() for path in (records / "images").rglob("data")}
        store = (records / "store").read_text()
        self.assertGreater(len(before), 2)
        shutil.rmtree(records)
        daemon, port = await self.all_ready()
        self.assertIn(" 404 ", await self.ask(port, "GET /v2/app/manifests/1"))
        asking = self.recover()
        self.assertEqual(await asking.ended, 1)
        self.assertIn("is used by another registry", asking.complained.seen)
        await self.stop(daemon)
        asking = self.recover()
        self.assertEqual(await asking.ended, 3, asking.complained.seen)
        self.assertRegex(asking.said.seen, rf"--store STORE takes .*:\n  {store} has {len(before)}\n")
        asking = self.recover(f"--store={store}", "--json")
        self.assertEqual(await asking.ended, 0, asking.complained.seen)
        told = json.loads(asking.said.seen)
        self.assertEqual(told, {"store": store, "recovered": len(before), "left": [], "others": {}})
        self.assertIn(f"{len(before)} images, {len(before)} without a record, 3 MB", asking.complained.seen)
        for path, content in before.items():
            self.assertEqual(json.loads(path.read_bytes()), json.loads(content))
        again = self.recover()
        self.assertEqual((await again.ended, again.said.seen), (0, "0 recovered\n"))
        daemon, port = await self.all_ready()
        await self.pull(port, "app")
        await self.stop(daemon)
        shutil.rmtree(records.parent)                       # and all the rest
        asking = self.recover(f"--store={store}", "--tags")
        self.assertEqual(await asking.ended, 0, asking.complained.seen)
        self.assertEqual(asking.said.seen, f"{len(before)} recovered\n1 tags set\n")
        shutil.rmtree(Path(self.directory, "pulled-app"))
        daemon, port = await self.all_ready()
        await self.pull(port, "app")
        await self.stop(daemon)

    def recover(self, *options: str) -> Daemon:
        return self.run_program(SERVE, ["recover", "-c", "c.yml", "-f", "x", *options])

    async def copy(self, source: str, port: int, name: str) -> None:
        target = f"docker://127.0.0.1:{port}/{name}:1"
        options = ["--quiet", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"]
        await deferToThread(run, "skopeo", "copy", *options, source, target)

    async def pull(self, port: int, name: str) -> None:
        """skopeo compares digests."""
        folder = Path(self.directory, f"pulled-{name}")
        options = ["--quiet", "--all", "--preserve-digests", "--src-tls-verify=false"]
        await deferToThread(
            run, "skopeo", "copy", *options, f"docker://127.0.0.1:{port}/{name}:1", f"oci:{folder}:image"
        )

    def layer(self, layout: Path) -> str:
        """The digest of a blob that was pushed first."""
        (found,) = [
            each for each in json.loads((layout / "index.json").read_text())["manifests"]
            if each["annotations"]["org.opencontainers.image.ref.name"] == "image"
        ]
        manifest = json.loads((layout / "blobs" / found["digest"].replace(":", "/")).read_text())
        digest: str = manifest["layers"][0]["digest"]
        return digest

    async def seen(self, daemon: Daemon, name: str, is_so: Callable[[float], bool]) -> None:
        while not is_so(await self.metric(daemon, name)):
            await deferLater(reactor, 0.1)

    async def standing(self, port: int) -> dict[str, object]:
        answer = await self.ask(port, "GET /_status")
        found = re.search(r"\{.*\}", answer)
        assert found is not None, answer
        status: dict[str, object] = json.loads(found[0])
        return status
