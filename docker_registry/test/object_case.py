"""A store of objects behind a proxy that sees every request, and does harm where a test wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater
from twisted.logger import LogEvent
from twisted.python.threadpool import ThreadPool

from docker_registry.deferreds import together
from docker_registry.storage.http import Patience
from docker_registry.test.reactor_case import ReactorCase
from docker_registry.test.servers.faults import FaultProxy
from docker_registry.threads import Threads

reactor: Any = _reactor

MIB = 1 << 20
SHORT = Patience(connect=0.3, first_byte=0.3, idle=0.3)


class ObjectCase(ReactorCase):
    """:ivar proxy: between the store and `storage`.
    :ivar storage: a store that does not wait between two tries.
    """

    storage: Any
    make: Any

    def begin(self, port: int) -> None:
        """:param port: of the store."""
        pool = ThreadPool(0, 4)
        pool.start()
        self.addCleanup(pool.stop)
        self.runner = Threads(reactor, pool)
        self.proxy = FaultProxy(reactor, port).start()
        self.addCleanup(self.proxy.stop)

    async def close(self, storage: Any) -> None:
        await deferLater(reactor, 0)            # whoever received the last bytes is still in the middle of it
        await storage.close()

    def mailed(self, events: Sequence[LogEvent]) -> set[str]:
        """What mail calls what was logged, of which nothing has a traceback."""
        for each in events:
            self.assertNotIn("log_failure", each)
        return {each["alert"] for each in events if each.get("alert")}

    async def claimed(self) -> None:
        """Of several who claim a key one is first, and what is there stays."""
        other = self.make()
        await together(self.storage.claim("claimed", b"1"), other.claim("claimed", b"2"))
        first = await self.storage.get("claimed")
        self.assertIn(first, (b"1", b"2"))
        for each in (other, self.storage):
            await each.claim("claimed", b"3")
            self.assertEqual(await each.get("claimed"), first)

    async def content(self, key: str, storage: Any = None) -> bytes:
        """Of an object, or of an upload that is not finished."""
        reader = await (storage or self.storage).open(key)
        parts = []
        while part := await reader.read(MIB):
            parts.append(part)
        reader.close()
        return b"".join(parts)
