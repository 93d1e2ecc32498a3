"""Between coroutines and Deferreds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredLock, DeferredSemaphore
from twisted.logger import Logger
from twisted.python.failure import Failure

from docker_registry.complaints import log_failed
from docker_registry.errors import CLIENTS

P = ParamSpec("P")
R = TypeVar("R")
K = TypeVar("K")


def deferred(function: Callable[P, Coroutine[Deferred[Any], Any, R]]) -> Callable[P, Deferred[R]]:
    """Make a coroutine function return the `Deferred` that its interface promises.

    The coroutine starts at once and runs to its first unfired ``await``; cancelling the Deferred raises
    ``CancelledError`` at that ``await``.
    """

    @wraps(function)
    def start(*args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        return Deferred.fromCoroutine(function(*args, **kwargs))

    return start


def begin(work: Coroutine[Deferred[Any], Any, R]) -> Deferred[R] | None:
    """Run ``work`` to its first ``await`` of something that has not happened yet.

    Most requests never get there: for them this saves all that makes a `Deferred` of a coroutine.

    :returns: what it will come to, or ``None`` if it has come to its end.
    :raises Exception: what it ended with.
    """
    try:
        waiting = work.send(None)
    except StopIteration:
        return None
    return Deferred.fromCoroutine(_go_on(work, waiting))


def _go_on(work: Coroutine[Deferred[Any], Any, R], waiting: Deferred[Any]) -> Generator[Deferred[Any], Any, R]:
    while True:
        try:
            try:
                result = yield waiting
            except BaseException as error:
                waiting = work.throw(error)
            else:
                waiting = work.send(result)
        except StopIteration as end:
            returned: R = end.value
            return returned


async def outcomes(*waiting: Deferred[Any]) -> list[Any]:
    """What each of ``waiting`` came to, in their order: its result, or the exception it failed with.

    Those that have fired already cost next to nothing.
    """
    results: list[Any] = []
    if all(each.called for each in waiting):
        for each in waiting:
            each.addBoth(results.append)
    if len(results) < len(waiting):
        results = [result for _, result in await DeferredList(waiting, consumeErrors=True)]
    for result in results:
        if isinstance(result, Failure) and not isinstance(result.value, Exception):
            result.raiseException()         # the end of the process is no outcome
    return [result.value if isinstance(result, Failure) else result for result in results]


async def together(*waiting: Deferred[R]) -> list[R]:
    """The results of all of ``waiting``, in their order.

    :raises Exception: the first of them that failed, when all are done.
    """
    results = await outcomes(*waiting)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


async def at_most(count: int, works: Iterable[Callable[[], Coroutine[Deferred[Any], Any, R]]]) -> list[R]:
    """The results of all of ``works``, in their order; so many of them run at a time.

    :raises Exception: the first of them that failed, when all are done.
    """
    slots = DeferredSemaphore(count)

    async def run(work: Callable[[], Coroutine[Deferred[Any], Any, R]]) -> R:
        await slots.acquire()
        try:
            return await work()
        finally:
            slots.release()

    return await together(*(Deferred.fromCoroutine(run(work)) for work in works))


class Shield:
    """Work that runs to its end although whoever waits for it is cancelled (E6).

    `idle` lets a stopping daemon wait for what is still running.
    """

    log = Logger()

    def __init__(self) -> None:
        self._running: set[Deferred[Any]] = set()
        self._idle: list[Deferred[None]] = []

    def __call__(self, work: Coroutine[Deferred[Any], Any, R]) -> Deferred[R]:
        """Start ``work``; the Deferred fires with its result, and cancelling the Deferred does not touch ``work``."""
        running = Deferred.fromCoroutine(work)
        waiting: Deferred[R] = Deferred()
        self._running.add(running)

        def ended(result: R | Failure) -> None:
            self._running.discard(running)
            if not waiting.called:
                waiting.callback(result)            # a Failure starts the errbacks
            elif isinstance(result, Failure) and result.check(*CLIENTS) is None:
                # Whoever asked has gone: what failed would otherwise be forgotten. What he did wrong may be.
                log_failed(self.log, "work failed after its client had gone", result)
            if not self._running:
                idle, self._idle = self._idle, []
                for each in idle:
                    each.callback(None)

        running.addBoth(ended)
        return waiting

    def idle(self) -> Deferred[None]:
        """Fires when nothing is running."""
        idle: Deferred[None] = Deferred()
        if self._running:
            self._idle.append(idle)
        else:
            idle.callback(None)
        return idle


class Background:
    """Work whose end nobody waits for. What it fails with is for it to say."""

    def __init__(self) -> None:
        self._running: Deferred[Any] | None = None

    def begin(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        """Start ``work``; what was begun before has ended."""
        self._running = Deferred.fromCoroutine(work)
        self._running.addErrback(lambda failure: failure.trap(CancelledError))

    def stop(self) -> None:
        """It ends where it waits. May be called at any time."""
        if self._running is not None:
            self._running.cancel()
            self._running = None


class Turns(Generic[K]):
    """One at a time, by key, in this process."""

    def __init__(self) -> None:
        self._locks: dict[K, DeferredLock] = {}

    @asynccontextmanager
    async def held(self, key: K) -> AsyncIterator[None]:
        """Wait until nobody has it, and have it in the block."""
        lock = self._locks.setdefault(key, DeferredLock())
        await lock.acquire()
        try:
            yield
        finally:
            lock.release()
            if not lock.locked and not lock.waiting:
                self._locks.pop(key, None)

    @contextmanager
    def tried(self, key: K) -> Iterator[bool]:
        """Whether nobody has it; if so, have it in the block. Nobody waits."""
        if key in self._locks:
            yield False
            return
        lock = self._locks[key] = DeferredLock()
        lock.acquire()
        try:
            yield True
        finally:
            lock.release()
            if not lock.locked:
                self._locks.pop(key, None)


class Shared(Generic[K, R]):
    """Work that is done once for all who ask for it while it is running."""

    def __init__(self) -> None:
        self._waiting: dict[K, list[Deferred[R]]] = {}

    def __call__(self, key: K, start: Callable[[], Deferred[R]]) -> Deferred[R]:
        """What ``start`` comes to, or what the work that is running for ``key`` does.

        Cancelling the Deferred does not touch the work.
        """
        waiting: Deferred[R] = Deferred()
        if key in self._waiting:
            self._waiting[key].append(waiting)
        else:
            self._waiting[key] = [waiting]
            start().addBoth(self._arrived, key)
        return waiting

    def _arrived(self, result: R | Failure, key: K) -> None:
        for each in self._waiting.pop(key):
            if not each.called:
                each.callback(result)               # a Failure starts the errbacks
