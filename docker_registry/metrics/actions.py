"""Actions of the store as they are counted."""

from __future__ import annotations

from docker_registry.metrics.families import ACTION_ERRORS, ACTION_SECONDS, ACTIONS, DRIVERS, DURATIONS, NANOSECONDS
from docker_registry.metrics.table import Table
from docker_registry.storage.timed import Cells

_BOUNDS = tuple(int(bound * NANOSECONDS) for bound in DURATIONS)


class ActionCounts:
    """Where the actions of a store are counted, see `docker_registry.storage.timed`.

    :param driver: the kind of store, one of `DRIVERS`.
    """

    def __init__(self, table: Table, driver: str) -> None:
        self._own = table.own
        self._driver = DRIVERS.index(driver)

    def __call__(self, action: str) -> Cells:
        number = ACTIONS.index(action)
        first = ACTION_SECONDS.at(self._driver, number)
        return Cells(self._own, first, _BOUNDS, first + len(_BOUNDS) + 1, ACTION_ERRORS.at(self._driver, number))
