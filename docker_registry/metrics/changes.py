"""Changes of the registry as they are counted."""

from __future__ import annotations

import re

from docker_registry.metrics.families import CHANGED, CHANGES
from docker_registry.metrics.table import Table
from docker_registry.registry.events import Event


class ChangeCounts:
    """An observer of `docker_registry.registry.events`."""

    def __init__(self, table: Table) -> None:
        self._own = table.own

    async def changed(self, event: Event) -> None:
        name = re.sub(r"(?<=.)([A-Z])", r"_\1", type(event).__name__).lower()
        self._own[CHANGED.at(CHANGES.index(name))] += 1
