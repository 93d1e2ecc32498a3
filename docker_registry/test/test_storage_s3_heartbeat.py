"""A real store that answers 200, and does not know yet whether it will succeed (F2)."""

from __future__ import annotations

import os
import re
import signal
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from docker_registry.deferreds import outcomes
from docker_registry.errors import NotFound
from docker_registry.storage.objects.store import Refused
from docker_registry.storage.s3 import errors
from docker_registry.test.s3_case import MIB, S3FaultCase, reactor
from docker_registry.test.servers.stores import container, swift, swift_folder
from docker_registry.test.storage_contract import content

PARTS = 24
"""Which the store looks at one after the other when it makes an object of them."""

GRACE = 11.5
"""Seconds: Swift says nothing for 10, and then something each second."""


class HeartbeatTests(S3FaultCase):
    store = staticmethod(swift)

    async def test_completion(self) -> None:
        """Two that take long: one comes to its end, of the other a part has gone."""
        said: list[bytes] = []
        in_success = errors.in_success

        def heard(document: bytes, expected: str) -> errors.Complaint | None:
            said.append(document)
            return in_success(document, expected)

        self.patch(errors, "in_success", heard)
        await self.storage.put("part", content(5 * MIB))
        while (completions := await self.completing(said)) is None:
            pass                                # the store was faster than this process
        found = await outcomes(*completions)
        self.assertIsInstance(found[0], Refused)
        self.assertIn("InvalidPart", str(found[0]))
        self.assertIsNone(found[1])
        self.assertEqual((await self.storage.stat("whole")).size, PARTS * 5 * MIB)
        await self.fails(self.storage.stat("torn"), NotFound)
        begins = rb'<\?xml version="1.0" encoding="UTF-8"\?>\n\s+<(\w+)'
        names = [match[1] for document in said if (match := re.match(begins, document)) is not None]
        self.assertEqual(sorted(names), [b"CompleteMultipartUploadResult", b"Error"], said)

    async def completing(self, said: list[bytes]) -> list[Deferred[Any]] | None:
        """Two completions, in the middle of which the store has paused; ``None`` if one was over before.

        :param said: will have what was said of them.
        """
        whole, torn = await self.upload("whole"), await self.upload("torn")
        segment = quote(f"{self.settings.prefix}torn/{torn[0]}/{PARTS}")
        status, _, _ = await deferToThread(container().ask, "DELETE", f"/{container().name}%2Bsegments/{segment}")
        self.assertEqual(status, 204)
        log = (swift_folder() / "log" / "object.log").stat().st_size
        said.clear()
        completions = [self.complete(name, *upload) for name, upload in (("torn", torn), ("whole", whole))]
        for name in ("torn", "whole"):
            while not self.looked_at(1, name, log):
                await deferLater(reactor, 0.001)
        if await self.paused(log):
            return completions
        await outcomes(*completions)
        return None

    async def upload(self, name: str) -> tuple[str, list[str]]:
        """Its id, and the tags of its parts."""
        key = f"{self.settings.prefix}{name}"
        upload = await self.storage.bucket.begin(key)
        tags = [
            await self.storage.bucket.part_copy(key, upload, number, f"{self.settings.prefix}part")
            for number in range(1, PARTS + 1)
        ]
        return upload, tags

    def complete(self, name: str, upload: str, tags: list[str]) -> Deferred[Any]:
        key = f"{self.settings.prefix}{name}"
        return Deferred.fromCoroutine(self.storage.bucket.complete(key, upload, tags, PARTS * 5 * MIB))

    def looked_at(self, part: int, name: str, since: int) -> bool:
        """Whether the store has looked at a part of an upload.

        :param since: where the log ended before.
        """
        pattern = rf'"HEAD /d1/\S+segments/{self.settings.prefix}{name}/[^/ ]+/{part}"'.encode()
        with (swift_folder() / "log" / "object.log").open("rb") as log:
            log.seek(since)
            return re.search(pattern, log.read()) is not None

    async def paused(self, since: int) -> bool:
        """Stop the server that keeps objects for a while, unless it has looked at all parts already."""
        process = int((swift_folder() / "pids").read_text().splitlines()[2].split()[0])
        self.addCleanup(os.kill, process, signal.SIGCONT)
        os.kill(process, signal.SIGSTOP)
        is_early = not any(self.looked_at(PARTS, name, since) for name in ("torn", "whole"))
        await deferLater(reactor, GRACE if is_early else 0)
        os.kill(process, signal.SIGCONT)
        return is_early
