"""Connections to stores, as Twisted's client has them, with what it lacks: they end when they are given up."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeVar
from weakref import WeakSet

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import HTTPConnectionPool

R = TypeVar("R")


class Connections(HTTPConnectionPool):
    """A pool that knows also those that are in use, or on their way out."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self._made: WeakSet[Any] = WeakSet()

    def getConnection(self, key: Hashable, endpoint: IStreamClientEndpoint) -> Deferred[Any]:
        return super().getConnection(key, endpoint).addCallback(self._remember)

    def _remember(self, connection: Any) -> Any:
        self._made.add(connection)
        return connection

    async def close(self) -> None:
        """All of them, and wait until they are gone: what somebody still sends or receives is cut off."""
        for each in list(self._made):
            if each.state != "CONNECTION_LOST":
                each.transport.abortConnection()
        await self.closeCachedConnections()
        await deferLater(self._reactor, 0)      # by then the others have heard of it as well


def cancellable(request: Deferred[R]) -> Deferred[R]:
    """``request``, which fails with ``CancelledError`` when it is cancelled, whatever it was about.

    Twisted's own says what was in the middle instead: that the host has no address, that connecting was cancelled. Who
    takes that for a failure of the store tries again, though nobody wants to know any more.
    """
    is_cancelled = False

    def cancel(_: Deferred[R]) -> None:
        nonlocal is_cancelled
        is_cancelled = True
        request.cancel()

    def ended(result: R | Failure) -> None:
        if not is_cancelled:
            waiting.callback(result)            # a Failure starts the errbacks

    waiting: Deferred[R] = Deferred(cancel)
    request.addBoth(ended)
    return waiting
