"""The ports on which operators and their programs ask: open before the store is, and closed after it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from docker_registry.admin.health import Health
from docker_registry.admin.routes import Admin, site
from docker_registry.metrics.exposition import TableCollector, VersionCollector, WorkerCollector
from docker_registry.metrics.table import Table

Entrance = Callable[[Factory], Awaitable[IListeningPort]]
"""Listens somewhere."""


class AdminListener:
    """:param table: what all processes of the daemon count, and say of themselves.
    :param now: see `docker_registry.metrics.pulse`.
    :param give_up: called with what keeps it from listening.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        now: Callable[[], float],
        table: Table,
        entrances: Sequence[Entrance],
        give_up: Callable[[Exception], None],
    ) -> None:
        self._site = site(reactor, Admin(Health(reactor, now, table), collectors(table), now))
        self._entrances = entrances
        self._give_up = give_up
        self._ports: list[IListeningPort] = []
        self._started: Deferred[None] | None = None

    def start(self) -> None:
        self._started = Deferred.fromCoroutine(self._listen())

    async def stop(self) -> None:
        """At once: who asks now would only hear that there is nothing left to be asked."""
        if self._started is not None:
            await self._started
        closed = gatherResults([maybeDeferred(port.stopListening) for port in self._ports])
        self._site.drain()
        self._site.abort_all()
        await closed

    async def _listen(self) -> None:
        for entrance in self._entrances:
            try:
                self._ports.append(await entrance(self._site))
            except Exception as error:
                self._give_up(error)
                return
            self.log.info("health and metrics on {where}", where=_where(self._ports[-1]))


def collectors(table: Table) -> CollectorRegistry:
    """All that Prometheus is told."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(VersionCollector())
    registry.register(TableCollector(table))
    if table.rows == 1:
        ProcessCollector(registry=registry)
    else:
        registry.register(WorkerCollector(table))
    return registry


def _where(port: IListeningPort) -> str:
    host: Any = port.getHost()
    return f"{host.host}:{host.port}" if hasattr(host, "port") else f"unix:{os.fsdecode(host.name)}"
