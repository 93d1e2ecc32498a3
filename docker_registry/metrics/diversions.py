"""What a store diverts, as it is counted."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import LoopingCall

from docker_registry.metrics.families import DIVERTED, DIVERTING, MOVED, WAITING
from docker_registry.metrics.table import Table
from docker_registry.storage.interface import Diverting, IDiverts

LOOKS = 1.0
"""Seconds between two of them."""


class DiversionCounts:
    """Looks how things stand, in each process of a daemon."""

    def __init__(self, clock: Any, table: Table, storage: IDiverts) -> None:
        self._table = table
        self._storage = storage
        self._before = Diverting("", 0.0, 0, 0, 0)
        self._looks = LoopingCall(self.look)
        self._looks.clock = clock

    def start(self) -> None:
        self._looks.start(LOOKS)

    async def stop(self) -> None:
        self._looks.stop()
        own = self._table.own
        own[DIVERTING.first] = own[WAITING.first] = 0

    def look(self) -> None:
        own, found = self._table.own, self._storage.diverting()
        own[DIVERTING.first] = bool(found.reason)
        own[WAITING.first] = found.waiting
        own[DIVERTED.first] += found.diverted - self._before.diverted
        own[MOVED.first] += found.moved - self._before.moved
        self._before = found
