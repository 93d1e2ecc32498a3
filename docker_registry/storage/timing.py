"""How long the actions of a store take."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from time import perf_counter_ns
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from docker_registry.errors import NotFound

R = TypeVar("R")


class Timing:
    """How long one action took, each time.

    :param bounds: of the buckets, in nanoseconds.
    """

    __slots__ = ("_bounds", "_errors", "_long", "_nanoseconds", "_short", "_shortest")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self._bounds = bounds
        self._shortest = bounds[0]
        self._begin()

    def _begin(self) -> None:
        self._short = self._nanoseconds = self._errors = 0
        self._long = [0] * len(self._bounds)

    def ended(self, began: int) -> None:
        """An action has, that began then, by `perf_counter_ns`."""
        took = perf_counter_ns() - began
        self._nanoseconds += took
        if took <= self._shortest:                  # as most that are read from memory
            self._short += 1
        else:
            self._long[bisect_left(self._bounds, took) - 1] += 1

    def take(self) -> list[int]:
        """What was counted since this was called last: what took no longer than each bound and longer than the one
        before, and one of what took longer than all; then nanoseconds; then what failed, otherwise than by finding
        nothing."""
        taken = [self._short, *self._long, self._nanoseconds, self._errors]
        self._begin()
        return taken

    def until(self, answer: Deferred[R], began: int) -> Deferred[R]:
        """``answer``; the action ends when it fires."""
        return answer.addBoth(self._came, began)

    def _came(self, result: R, began: int) -> R:
        self.ended(began)
        if isinstance(result, Failure) and result.check(NotFound) is None:
            self._errors += 1
        return result


Observe = Callable[[str], Timing]
"""Where an action is counted, by its name."""
