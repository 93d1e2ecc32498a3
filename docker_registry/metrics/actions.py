"""Actions of the store as they are counted."""

from __future__ import annotations

from docker_registry.metrics.families import ACTION_ERRORS, ACTION_SECONDS, ACTIONS, DRIVERS, DURATIONS, NANOSECONDS
from docker_registry.metrics.table import Table
from docker_registry.storage.timing import Timing

_BOUNDS = tuple(int(bound * NANOSECONDS) for bound in DURATIONS)


class ActionCounts:
    """Where the actions of a store are counted, see `docker_registry.storage.timing`: in lists of this process, which
    cost a request half of what the table would.

    :param driver: the kind of store, one of `DRIVERS`.
    """

    def __init__(self, table: Table, driver: str) -> None:
        self._own = table.own
        self._driver = DRIVERS.index(driver)
        self._timings: dict[str, Timing] = {}
        table.settling.append(self.settle)

    def __call__(self, action: str) -> Timing:
        if action not in self._timings:
            self._timings[action] = Timing(_BOUNDS)
        return self._timings[action]

    def settle(self) -> None:
        """Add what was counted since to the table."""
        own = self._own
        for action, timing in self._timings.items():
            numbers = timing.take()
            if not any(numbers):
                continue
            number = ACTIONS.index(action)
            first = ACTION_SECONDS.at(self._driver, number)
            for column, count in enumerate(numbers[:-1], first):
                own[column] += count
            own[ACTION_ERRORS.at(self._driver, number)] += numbers[-1]
