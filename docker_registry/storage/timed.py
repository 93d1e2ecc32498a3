"""A store whose actions are timed. It adds no `Deferred` to any."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import directlyProvides, providedBy

from docker_registry.storage.interface import IFlat, IStorage, ITimesReads, IWriter
from docker_registry.storage.timing import Observe, Timing

Act = Callable[..., Deferred[Any]]

READS = ("stat", "get", "open")
ACTIONS = (*READS, "put", "list", "touch", "delete", "delete_tree", "quarantine")
BEGINNINGS = ("create", "resume")
WRITING = ("write", "sync", "commit")


def timed_storage(storage: IStorage, observe: Observe) -> IStorage:
    """``storage``, with everything that it provides."""
    made: Any = _Timed(storage, observe, ACTIONS)

    def wrapped(writer: IWriter) -> Any:
        return _Timed(writer, observe, WRITING)

    for name in BEGINNINGS:
        setattr(made, name, _then(_timed(getattr(storage, name), observe(name)), wrapped))
    if IFlat.providedBy(storage):
        made.discard = _timed(IFlat(storage).discard, observe("delete"))
    if ITimesReads.providedBy(storage):
        ITimesReads(storage).time_reads(observe)
        for name in READS:
            setattr(made, name, getattr(storage, name))
    timed: IStorage = made
    return timed


class _Timed:
    """What is not timed is the other's own affair."""

    def __init__(self, other: Any, observe: Observe, actions: tuple[str, ...]) -> None:
        self._other = other
        for name in actions:
            setattr(self, name, _timed(getattr(other, name), observe(name)))
        directlyProvides(self, providedBy(other))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)


def _timed(act: Act, timing: Timing) -> Act:
    def timed(*args: Any, **kwargs: Any) -> Deferred[Any]:
        began = perf_counter_ns()
        return timing.until(act(*args, **kwargs), began)

    return timed


def _then(act: Act, wrapped: Callable[[Any], Any]) -> Act:
    def then(*args: Any, **kwargs: Any) -> Deferred[Any]:
        return act(*args, **kwargs).addCallback(wrapped)

    return then
