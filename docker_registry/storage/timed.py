"""A store whose actions are timed. It adds no `Deferred` to what is answered at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import directlyProvides, providedBy

from docker_registry.errors import NotFound
from docker_registry.storage.files import SmallReader
from docker_registry.storage.interface import IStorage, IWriter, Stat

R = TypeVar("R")
Act = Callable[..., Deferred[Any]]


class Cells(NamedTuple):
    """Where an action is counted, in place: a call for each would cost as much as the counting.

    :ivar numbers: of the buckets, which have so many nanoseconds at most, and one of what took longer; then
        nanoseconds; then what failed, otherwise than by finding nothing.
    """

    numbers: list[int]
    bounds: tuple[int, ...]


Observe = Callable[[str], Cells]
"""Where an action is counted, by its name."""

ACTIONS = ("stat", "get", "put", "open", "list", "touch", "delete", "delete_tree", "quarantine")
OF_KEY = ("stat", "get")
BEGINNINGS = ("create", "resume")
WRITING = ("write", "sync", "commit")


def timed_storage(storage: IStorage, observe: Observe) -> IStorage:
    """``storage``, with everything that it provides."""
    made: Any = _Timed(storage, observe, ACTIONS)

    def wrapped(writer: IWriter) -> Any:
        return _Timed(writer, observe, WRITING)

    for name in BEGINNINGS:
        setattr(made, name, _then(_timed(getattr(storage, name), observe(name)), wrapped))
    timed: IStorage = made
    return timed


class _Timed:
    """What is not timed is the other's own affair."""

    def __init__(self, other: Any, observe: Observe, actions: tuple[str, ...]) -> None:
        self._other = other
        for name in actions:
            setattr(self, name, _timed(getattr(other, name), observe(name), name in OF_KEY))
        directlyProvides(self, providedBy(other))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)


def _timed(act: Act, cells: Cells, is_of_key: bool = False) -> Act:
    """:param is_of_key: whether it takes a key and nothing else: a call that says so costs half as much."""
    numbers, bounds = cells
    shortest, total, errors = bounds[0], len(bounds) + 1, len(bounds) + 2

    def ended(result: R, began: int) -> R:
        took = perf_counter_ns() - began
        numbers[bisect_left(bounds, took)] += 1
        numbers[total] += took
        if isinstance(result, Failure) and result.check(NotFound) is None:
            numbers[errors] += 1
        return result

    def told(answer: Deferred[Any], began: int) -> Deferred[Any]:
        if not answer.called or answer.result.__class__ not in _PLAIN:
            return answer.addBoth(ended, began)
        took = perf_counter_ns() - began
        numbers[0 if took <= shortest else bisect_left(bounds, took)] += 1
        numbers[total] += took
        return answer

    def timed_of_key(key: str) -> Deferred[Any]:
        began = perf_counter_ns()
        return told(act(key), began)

    def timed(*args: Any, **kwargs: Any) -> Deferred[Any]:
        began = perf_counter_ns()
        return told(act(*args, **kwargs), began)

    return timed_of_key if is_of_key else timed


_PLAIN = frozenset({bytes, Stat, SmallReader, type(None)})
"""What is answered at once, as a rule; the rest is counted behind a callback. To ask for what it is not takes three
times as long: `Deferred` has a say in who is one."""


def _then(act: Act, wrapped: Callable[[Any], Any]) -> Act:
    def then(*args: Any, **kwargs: Any) -> Deferred[Any]:
        return act(*args, **kwargs).addCallback(wrapped)

    return then
