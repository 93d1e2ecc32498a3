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
    :ivar numbers: what took no longer than each bound and longer than the one before, and one of what took longer than
        all; then nanoseconds; then what failed, otherwise than by finding nothing.
    """

    __slots__ = ("_bounds", "_errors", "_shortest", "_total", "numbers")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self._bounds = bounds
        self._shortest = bounds[0]
        self._total, self._errors = len(bounds) + 1, len(bounds) + 2
        self.numbers = [0] * (len(bounds) + 3)

    def ended(self, began: int) -> None:
        """An action has, that began then, by `perf_counter_ns`."""
        took = perf_counter_ns() - began
        numbers = self.numbers
        numbers[0 if took <= self._shortest else bisect_left(self._bounds, took)] += 1
        numbers[self._total] += took

    def until(self, answer: Deferred[R], began: int) -> Deferred[R]:
        """``answer``; the action ends when it fires."""
        return answer.addBoth(self._came, began)

    def _came(self, result: R, began: int) -> R:
        self.ended(began)
        if isinstance(result, Failure) and result.check(NotFound) is None:
            self.numbers[self._errors] += 1
        return result


Observe = Callable[[str], Timing]
"""Where an action is counted, by its name."""
