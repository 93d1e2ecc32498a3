"""Actions of the store as they are counted."""

from __future__ import annotations

from docker_registry.metrics.families import ACTION_ERRORS, ACTION_SECONDS, ACTIONS, DRIVERS, DURATIONS, NANOSECONDS
from docker_registry.metrics.table import Table, observe


class ActionCounts:
    """To be told of each action, see `docker_registry.storage.timed`.

    :param driver: the kind of store, one of `DRIVERS`.
    """

    def __init__(self, table: Table, driver: str) -> None:
        self._own = table.own
        at = DRIVERS.index(driver)
        self._columns = {
            action: (ACTION_SECONDS.at(at, number), ACTION_ERRORS.at(at, number))
            for number, action in enumerate(ACTIONS)
        }

    def __call__(self, action: str, seconds: float, failed: bool) -> None:
        durations, errors = self._columns[action]
        observe(self._own, durations, DURATIONS, seconds, NANOSECONDS)
        if failed:
            self._own[errors] += 1
