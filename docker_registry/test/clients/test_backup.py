"""A copy that is made while clients push, with the commands of docs/running.md."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import docker_registry
from docker_registry.registry.documents import OCI_MANIFEST
from docker_registry.test.clients.daemon import Ours
from docker_registry.test.clients.images import CONFIG, LAYER
from docker_registry.test.clients.tools import need

RUNNING = Path(docker_registry.__file__).parent.parent / "docs" / "running.md"
DOCUMENTED = "backup:/srv/registry/"


class BackupTests(SynchronousTestCase):
    def setUp(self) -> None:
        need(("rsync", "rsync"))
        self.home = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.home)
        self.store, self.copy = self.home / "store", self.home / "copy"
        self.copy.mkdir()

    def test_copied_while_clients_push(self) -> None:
        """Every tag of the copy has its manifest, and every blob of it."""
        ours = Ours(self.store, access_log="off", loglevel="info", limits={"per_address": 0})
        self.addCleanup(lambda: ours.stop())
        for number in range(50):
            self.push(ours, f"early{number}")
        stopped, pushed = threading.Event(), list[str]()
        pushers = [threading.Thread(target=self.go_on, args=(ours, name, stopped, pushed)) for name in "abc"]
        for pusher in pushers:
            pusher.start()
        try:
            self.back_up()
        finally:
            stopped.set()
            for pusher in pushers:
                pusher.join()
        self.assertGreater(len(pushed), 0)
        ours.stop()
        tags = self.check_copy()
        self.assertGreaterEqual(len(tags), 50)
        self.assertFalse([*self.copy.rglob("_uploads")], "halves of uploads are of no use")

    def back_up(self) -> None:
        """As the operator types it, but for where to."""
        commands = re.findall(r"^\$ (rsync .*backup:/srv/registry/)$", RUNNING.read_text(), re.MULTILINE)
        self.assertEqual(len(commands), 3)
        for command in commands:
            words = [str(self.copy) if word == DOCUMENTED else word for word in shlex.split(command)]
            subprocess.run(words, cwd=self.store, check=True, capture_output=True)

    def go_on(self, ours: Ours, name: str, stopped: threading.Event, pushed: list[str]) -> None:
        number = 0
        while not stopped.is_set():
            self.push(ours, f"{name}{number}")
            pushed.append(f"{name}{number}")
            number += 1

    def push(self, ours: Ours, tag: str) -> None:
        """An image of its own."""
        blobs = []
        for content, kind in ((os.urandom(5000), LAYER), (json.dumps({"tag": tag}).encode(), CONFIG)):
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            blobs.append({"mediaType": kind, "digest": digest, "size": len(content)})
            status, *_ = ours.request("POST", f"/v2/shop/web/blobs/uploads/?digest={digest}", content)
            self.assertEqual(status, 201)
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blobs[1], "layers": blobs[:1]}
        status, *_ = ours.request(
            "PUT", f"/v2/shop/web/manifests/{tag}", json.dumps(manifest).encode(), {"Content-Type": OCI_MANIFEST}
        )
        self.assertEqual(status, 201)

    def check_copy(self) -> list[str]:
        """What a registry over the copy serves is whole."""
        ours = Ours(self.copy, access_log="off", loglevel="info")
        self.addCleanup(ours.stop)
        _, _, content = ours.request("GET", "/v2/shop/web/tags/list?n=1000")
        tags: list[str] = json.loads(content)["tags"]
        for tag in tags:
            status, _, content = ours.request("GET", f"/v2/shop/web/manifests/{tag}")
            self.assertEqual(status, 200, tag)
            manifest = json.loads(content)
            for blob in (manifest["config"], *manifest["layers"]):
                status, _, content = ours.request("GET", f"/v2/shop/web/blobs/{blob['digest']}")
                self.assertEqual((status, f"sha256:{hashlib.sha256(content).hexdigest()}"), (200, blob["digest"]))
        return tags
