"""The catalogue of the real daemon: what it acknowledged is in it, however it ended."""

from __future__ import annotations

import json
import os
import signal
from hashlib import sha256
from pathlib import Path
from typing import Any

from docker_registry.deferreds import deferred
from docker_registry.registry.descriptions import KEY
from docker_registry.registry.documents import OCI_MANIFEST
from docker_registry.test.process_case import ProcessCase
from docker_registry.test.worker_case import WorkerCase

COMPLETE = "the catalogue is complete"


class CatalogueCase(ProcessCase):
    async def push(self, port: int, name: str, said: str) -> None:
        """An image that has a configuration and nothing else."""
        digest = f"sha256:{sha256(b'{}').hexdigest()}"
        answer = await self.ask(port, f"POST /v2/{name}/blobs/uploads/?digest={digest}", body=b"{}")
        self.assertTrue(answer.startswith("HTTP/1.1 201"), answer)
        manifest = {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "annotations": {KEY: said},
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 2},
        }
        answer = await self.ask(port, f"PUT /v2/{name}/manifests/latest", body=json.dumps(manifest).encode())
        self.assertTrue(answer.startswith("HTTP/1.1 201"), answer)

    async def json(self, port: int, path: str) -> Any:
        answer = await self.ask(port, f"GET {path}")
        head, _, body = answer.partition("\r\n\r\n")
        self.assertTrue(head.startswith("HTTP/1.1 200"), answer)
        return json.loads(body)

    async def listed(self, port: int) -> list[str]:
        listed: list[str] = (await self.json(port, "/v2/_catalog"))["repositories"]
        return listed

    async def found(self, port: int, term: str) -> dict[str, str]:
        found = await self.json(port, f"/v1/search?q={term}")
        self.assertEqual(found["num_results"], len(found["results"]))
        return {each["name"]: each["description"] for each in found["results"]}


class CatalogueTests(CatalogueCase):
    def setUp(self) -> None:
        super().setUp()
        self.write("x: {storage_path: ./images, v1: false, listen: ['tcp:0:interface=127.0.0.1']}")

    @deferred
    async def test_killed(self) -> None:
        """Between any two pushes: what was answered is listed and found, from the first moment of the next process and
        when it has read the store."""
        expected: dict[str, str] = {}
        for number in range(3):
            daemon, port = await self.started()
            self.assertEqual(await self.listed(port), sorted(expected))
            self.assertEqual(await self.found(port, "app"), expected)
            await daemon.said.until(COMPLETE)
            self.assertEqual(await self.found(port, "APP"), expected)
            said = f"said by {number}"
            await self.push(port, f"team/app{number}", said)
            expected[f"team/app{number}"] = said
            self.assertEqual(await self.listed(port), sorted(expected))
            self.assertEqual(await self.found(port, f"BY+{number}"), {f"team/app{number}": said})
            if number == 1:
                answer = await self.ask(port, "DELETE /v2/team/app0/manifests/latest")
                self.assertTrue(answer.startswith("HTTP/1.1 202"), answer)
                expected["team/app0"] = ""
                self.assertEqual(await self.found(port, "APP"), expected)
            daemon.kill(signal.SIGKILL)
            await daemon.ended
            self.assertNotIn("Traceback", daemon.said.seen)

    @deferred
    async def test_removed(self) -> None:
        """An operator deletes the cache: while the registry is stopped, and while it runs."""
        daemon, port = await self.started()
        await self.push(port, "app", "said")
        await self.stop(daemon)
        cache = Path(self.directory, "images", ".cache")
        for path in cache.iterdir():
            path.unlink()
        daemon, port = await self.started()
        self.assertEqual(await self.found(port, "app"), {"app": "said"})
        await daemon.said.until(COMPLETE)
        for path in cache.iterdir():
            path.unlink()
        await self.push(port, "app2", "said too")
        self.assertEqual(await self.listed(port), ["app", "app2"])
        self.assertEqual(await self.found(port, "app"), {"app": "said", "app2": "said too"})
        await daemon.said.until(f"(?s){COMPLETE}.*{COMPLETE}")
        self.assertEqual(await self.found(port, "said"), {"app": "said", "app2": "said too"})
        await self.stop(daemon)
        self.assertNotIn("Traceback", daemon.said.seen)

    @deferred
    async def test_cache_path(self) -> None:
        """Elsewhere, and of each store its own."""
        for store in ("one", "two"):
            self.write(f"x: {{storage_path: ./{store}, cache_path: ./cache, listen: ['tcp:0:interface=127.0.0.1']}}")
            daemon, port = await self.started()
            await daemon.said.until(COMPLETE)
            self.assertEqual(await self.listed(port), [])
            await self.push(port, store, "said")
            self.assertEqual(await self.found(port, "said"), {store: "said"})
            await self.stop(daemon)
            self.assertFalse(Path(self.directory, store, ".cache").exists())
        self.assertEqual(len(list(Path(self.directory, "cache").glob("*/catalogue-*.db"))), 2)


class WorkerTests(CatalogueCase, WorkerCase):
    @deferred
    async def test_what_one_was_told_the_other_knows(self) -> None:
        """At once; and so does the one that takes the place of a killed one."""
        daemon, port = await self.all_ready()
        await daemon.said.until(COMPLETE)
        expected: dict[str, str] = {}
        for number in range(4):
            first, second = sorted(self.pids(daemon).values(), reverse=bool(number % 2))
            with self.only(second):
                await self.push(port, f"app{number}", f"said by {number}")
            expected[f"app{number}"] = f"said by {number}"
            with self.only(first):
                self.assertEqual(await self.listed(port), sorted(expected))
                self.assertEqual(await self.found(port, "app"), expected)
        before = self.pids(daemon)[1]
        os.kill(before, signal.SIGKILL)
        await self.another(daemon, 1, before)
        with self.only(self.pids(daemon)[2]):
            self.assertEqual(await self.found(port, "app"), expected)
        await self.stop(daemon)
        self.assertNotIn("Traceback", daemon.said.seen)
        self.assertEqual(len(list(Path(self.directory, "images", ".cache").glob("*.db"))), 1)
