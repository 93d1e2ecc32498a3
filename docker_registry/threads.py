"""Calls that may block, made off the reactor's thread.

A hop to a thread and back costs some 95 µs, a small call inside it 4 µs. So the small calls made in one turn of the
reactor travel together (`Threads.quick`), and calls that take long have a hop each (`Threads.slow`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
R = TypeVar("R")

Call = tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Runner(Protocol):
    """Where calls that may block are made. Tests hand in one that calls at once."""

    def quick(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """For calls of some microseconds: stat, open, read of a small file."""

    def slow(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """For calls that may take long: fsync, hashing, parsing of large documents."""


class Threads:
    """The `Runner` of the daemon: a pool of threads of its own.

    A result that arrives after its Deferred was cancelled is closed if it has a ``close``, so that no file stays open.

    :param reactor: for its clock, and to come back to.
    :param pool: started and stopped by whoever made it.
    """

    def __init__(self, reactor: Any, pool: ThreadPool) -> None:
        self._reactor = reactor
        self._pool = pool
        self._away = 0
        self._waiting: list[Call] = []

    def are_idle(self) -> bool:
        """Whether no call is made at the moment. Of the reactor's thread."""
        return not self._away

    def quick(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """Make the call together with those of this turn of the reactor; a slow one delays its companions."""
        if not self._waiting:
            self._reactor.callLater(0, self._leave)
        answer: Deferred[R] = Deferred()
        self._waiting.append((answer, function, args, kwargs))
        return answer

    def slow(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        """Make the call in a thread of its own."""
        answer: Deferred[R] = Deferred()
        self._hop([(answer, function, args, kwargs)])
        return answer

    def _leave(self) -> None:
        calls, self._waiting = self._waiting, []
        self._hop(calls)

    def _hop(self, calls: list[Call]) -> None:
        self._away += 1
        self._pool.callInThread(self._run, calls)

    def _run(self, calls: list[Call]) -> None:
        results: list[tuple[Deferred[Any], Any]] = []
        for answer, function, args, kwargs in calls:
            try:
                results.append((answer, function(*args, **kwargs)))
            except Exception:
                results.append((answer, Failure()))
        self._reactor.callFromThread(self._arrive, results)

    def _arrive(self, results: list[tuple[Deferred[Any], Any]]) -> None:
        self._away -= 1
        for answer, result in results:
            if not answer.called:
                answer.callback(result)             # a Failure starts the errbacks
            elif hasattr(result, "close"):
                result.close()
