"""Requests that have ended, told of many at a time.

To tell of one costs half as much when another has just been told of: code and tables are then in the caches of the
processor, from which the work for a request drives them out. What is kept until then is plain values: a request would
keep its connection, and fill the caches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from docker_registry.web.request import Request
from docker_registry.web.routing import Match

MOST = 256
"""Requests that wait to be told of."""

REMEMBERED = 512
"""Requests, as far as they are alike, of which is kept what they have in common."""

DELAY = 0.05
"""Seconds that one waits at most."""

KEPT = 1024
"""Bytes of a field that a client fills, which are kept."""


@dataclass(slots=True, eq=False)                    # frozen ones take five times as long to make
class Alike:
    """What many requests have in common, see `alike`. `Request` says what is not said here.

    :ivar route: ``""`` if it took none.
    :ivar status: 0 if there was no answer.
    :ivar received: bytes of its body.
    :ivar referrer: at most `KEPT` bytes, and so `agent`.
    """

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


Noted = tuple[str, str | None, str, bytes, str, Match | None, int, int, int, bytes, bytes]
"""What an `Alike` is made of."""


@lru_cache(REMEMBERED)
def alike(noted: Noted) -> Alike:
    """The same object for the same values, as long as it is remembered: what is made of it can be found by it."""
    client, user, method, target, version, match, status, received, sent, referrer, agent = noted
    route = match.rule if match is not None else ""
    return Alike(client, user, method, target, version, route, status, received, sent, referrer, agent)


class Ended(NamedTuple):
    """A request that was answered or cut.

    :ivar seconds: that it took.
    """

    what: Alike
    id: str
    started: float
    seconds: float


Fields = tuple[Alike, str, float, float]
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
        self._ended: list[tuple[Noted, str, float, float]] = []
        self._soon: IDelayedCall | None = None

    def finished(self, request: Request, seconds: float) -> None:
        """A request was answered or cut, after so many seconds."""
        referrer, agent = request.headers.get(b"referer"), request.headers.get(b"user-agent")
        self._ended.append((
            (
                request.client, request.user, request.method, request.target, request.http_version, request.match,
                request.status, request.body.received, request.sent,
                b"" if referrer is None else referrer[0][:KEPT],
                b"" if agent is None else agent[0][:KEPT],
            ),
            request.id, request.started, seconds,
        ))
        if self._soon is None:
            self._soon = self._clock.callLater(DELAY, self.hand_on)
        elif len(self._ended) >= MOST:
            self._tell()

    def start(self) -> None:
        """There is nothing to begin with."""

    async def stop(self) -> None:
        self.hand_on()

    def hand_on(self) -> None:
        """Tell now of those that wait."""
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        self._soon = None
        self._tell()

    def _tell(self) -> None:
        these, self._ended = self._ended, []
        ended = [(alike(noted), request, started, seconds) for noted, request, started, seconds in these]
        for told in self._told if ended else ():
            try:
                told(ended)
            except Exception:
                self.log.failure("{count} requests could not be recorded", count=len(ended))
