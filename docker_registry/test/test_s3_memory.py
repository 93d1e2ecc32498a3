"""What many uploads at a time take of a daemon's memory."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from twisted.internet.threads import deferToThread

from docker_registry.deferreds import together
from docker_registry.test.clients.pushing import Repository
from docker_registry.test.clients.wire import Wire, digest_of
from docker_registry.test.process_case import ProcessCase, reactor
from docker_registry.test.servers.stores import swift

MIB = 1 << 20
MEMORY, BODIES, REST = 96, 8, 48
"""MiB: of parts, of bodies, and of all else that uploads make (docs/storage.md: 200 with Python)."""

UPLOADS = 24


class MemoryTests(ProcessCase):
    async def test_many_uploads(self) -> None:
        """Three times as many bytes as there is memory for, from clients that are faster than the store."""
        self.write(json.dumps({"x": {
            **swift().options(), "listen": ["tcp:0:interface=127.0.0.1"], "s3_memory": f"{MEMORY}MiB",
            "limits": {"body_memory": f"{BODIES}MiB"},
        }}))
        daemon, port = await self.started()
        reactor.suggestThreadPoolSize(UPLOADS)
        self.addCleanup(reactor.suggestThreadPoolSize, 10)
        status = Path(f"/proc/{daemon.transport.pid}/status")       # type: ignore[union-attr]

        def size(name: str) -> float:
            [found] = re.findall(rf"{name}:\s*(\d+) kB", status.read_text())
            return int(found) / 1024

        whole = os.urandom(12 * MIB)

        def push(number: int) -> None:
            wire = Wire(f"http://127.0.0.1:{port}")
            content = number.to_bytes(4) + whole
            Repository(wire, "a").push_stream(digest_of(content), content).expect(201)
            wire.close()

        await deferToThread(push, UPLOADS)
        before = size("VmRSS")
        await together(*(deferToThread(push, number) for number in range(UPLOADS)))
        added = size("VmHWM") - before
        self.assertGreater(added, MEMORY / 2)
        self.assertLess(added, MEMORY + BODIES + REST)
        await self.stop(daemon)
