"""Requests that have ended, told of many at a time.

To tell of one costs half as much when another has just been told of: code and tables are then in the caches of the
processor, from which the work for a request drives them out. What is kept until then is plain values: a request would
keep its connection, and give the garbage collector something to follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from docker_registry.web.request import Request

MOST = 256
"""Requests that wait to be told of."""

DELAY = 0.05
"""Seconds that one waits at most."""

KEPT = 1024
"""Bytes of a field that a client fills, which are kept."""


class Ended(NamedTuple):
    """What is known of a request that was answered or cut. `Request` says what is not said here.

    :ivar route: ``""`` if it took none.
    :ivar status: 0 if there was no answer.
    :ivar received: bytes of its body.
    :ivar referrer: at most `KEPT` bytes, and so `agent`.
    :ivar seconds: that it took.
    """

    id: str
    client: str
    user: str | None
    method: str
    target: bytes
    http_version: str
    route: str
    status: int
    received: int
    sent: int
    referrer: bytes
    agent: bytes
    started: float
    seconds: float


Fields = tuple[str, str, str | None, str, bytes, str, str, int, int, int, bytes, bytes, float, float]
"""What `Ended` has, without the names: to give them to each costs a third of all that is done here."""

Told = Callable[[Sequence[Fields]], None]


class Gathered:
    """One for `Site` to tell, who tells others.

    :param told: each is told of requests, in the order in which they ended.
    """

    log = Logger()

    def __init__(self, clock: Any, told: Sequence[Told]) -> None:
        self._clock = clock
        self._told = told
        self._ended: list[Fields] = []
        self._soon: IDelayedCall | None = None

    def finished(self, request: Request, seconds: float) -> None:
        """A request was answered or cut, after so many seconds."""
        headers, match = request.headers, request.match
        referrer, agent = headers.get(b"referer"), headers.get(b"user-agent")
        self._ended.append((
            request.id, request.client, request.user, request.method, request.target, request.http_version,
            match.rule if match is not None else "", request.status, request.body.received, request.sent,
            b"" if referrer is None else referrer[0][:KEPT], b"" if agent is None else agent[0][:KEPT],
            request.started, seconds,
        ))
        if self._soon is None:
            self._soon = self._clock.callLater(DELAY, self.hand_on)
        elif len(self._ended) >= MOST:
            self.hand_on()

    def start(self) -> None:
        """There is nothing to begin with."""

    async def stop(self) -> None:
        self.hand_on()

    def hand_on(self) -> None:
        """Tell now of those that wait."""
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        self._soon = None
        these, self._ended = self._ended, []
        for told in self._told if these else ():
            try:
                told(these)
            except Exception:
                self.log.failure("{count} requests could not be recorded", count=len(these))
