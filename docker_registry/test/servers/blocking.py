"""A store that needs a reactor, for tests that have none: its reactor runs in a thread of its own."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import directlyProvides, providedBy

from docker_registry.storage.interface import IReader, IWriter
from docker_registry.threads import Threads


@cache
def loop() -> tuple[Any, Threads]:
    """A reactor that turns until the run ends, and threads for what would block it."""
    reactor = EPollReactor()
    pool = ThreadPool(0, 8)
    thread = threading.Thread(target=lambda: reactor.run(installSignalHandlers=False), daemon=True)
    thread.start()
    pool.start()

    def stop() -> None:
        reactor.callFromThread(reactor.stop)
        thread.join(10)
        pool.stop()

    atexit.register(stop)
    return reactor, Threads(reactor, pool)


class Blocking:
    """Calls ``inner`` over there, and waits: the Deferreds that it returns have fired."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        directlyProvides(self, providedBy(inner))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        return _waiting(value) if callable(value) else value


def _waiting(function: Callable[..., Any]) -> Callable[..., Any]:
    reactor, _ = loop()

    def call(*args: Any, **kwargs: Any) -> Any:
        is_deferred = []

        def begin() -> Deferred[Any]:
            result = function(*args, **kwargs)
            is_deferred.append(isinstance(result, Deferred))
            return maybeDeferred(lambda: result)

        try:
            result = blockingCallFromThread(reactor, begin)
        except Exception:
            return fail(Failure())
        if IReader.providedBy(result) or IWriter.providedBy(result):
            result = Blocking(result)
        return succeed(result) if is_deferred == [True] else result

    return call
