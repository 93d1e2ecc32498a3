"""All connections of one registry: what they share, and how they end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.web.http import datetimeToString

from docker_registry.web.body import Budget
from docker_registry.web.channel import Channel
from docker_registry.web.limits import Limits
from docker_registry.web.request import Request

Headers = Sequence[tuple[bytes, bytes]]
Handler = Callable[[Request], Deferred[None]]
Refused = Callable[[int, str, bytes], tuple[Headers, bytes]]

SWEEP = 1.0
"""Seconds between two looks at the connections' deadlines."""


class Site(Factory):
    """:param reactor: for its clock.
    :param handler: answers a request; called when its head is in.
    :param refusal: headers and body of an answer that is given without the handler, from status, reason and target.
    :param finished: told of each request that was answered or cut, and the seconds that took.
    """

    log = Logger()
    noisy = False

    def __init__(
        self,
        reactor: Any,
        handler: Handler,
        *,
        refusal: Refused,
        limits: Limits,
        finished: Callable[[Request, float], None] | None = None,
    ) -> None:
        self.now: Callable[[], float] = reactor.seconds
        self.limits = limits
        self.refusal = refusal
        self.budget = Budget(limits.body_memory)
        self.draining = False
        self.in_flight = 0
        self._reactor = reactor
        self.handler = handler
        self._finished = finished
        self._channels: set[Channel] = set()
        self._addresses: Counter[str] = Counter()
        self._sweep: IDelayedCall | None = None
        self._drained: list[Deferred[None]] = []
        self._dated = 0.0
        self._standing = b""

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return Channel(self)

    def standing_headers(self) -> bytes:
        """What every answer has; made anew each second."""
        now = self.now()
        if now - self._dated >= 1.0:
            self._dated = now
            self._standing = b"Server: docker-registry\r\nDate: %b\r\n" % datetimeToString(now)
        return self._standing

    # From the connections

    def opened(self, channel: Channel) -> bool:
        """Whether there is room for another connection; `closed` follows in any case."""
        limit = self.limits.per_address if channel.address != "local" else 0
        room = not self.draining and len(self._channels) < self.limits.connections
        if limit and self._addresses[channel.address] >= limit:
            room = False
        self._channels.add(channel)
        self._addresses[channel.address] += 1
        if self._sweep is None:
            self._sweep = self._reactor.callLater(SWEEP, self._look)
        return room

    def closed(self, channel: Channel) -> None:
        if channel in self._channels:
            self._channels.discard(channel)
            self._addresses[channel.address] -= 1
            if not self._addresses[channel.address]:
                del self._addresses[channel.address]

    def began(self, request: Request) -> None:
        self.in_flight += 1

    def ended(self, request: Request) -> None:
        self.in_flight -= 1
        if self._finished is not None:
            self._finished(request, self.now() - request.started)
        if self.draining and not self.in_flight:
            self._fire_drained()

    def _look(self) -> None:
        self._sweep = None
        now = self.now()
        for channel in list(self._channels):
            channel.check(now)
        if self._channels:
            self._sweep = self._reactor.callLater(SWEEP, self._look)

    # Stopping

    def drain(self) -> Deferred[None]:
        """Take no new request; fires when the last one that was taken is answered."""
        self.draining = True
        for channel in list(self._channels):
            channel.close_if_idle()
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        if not self.in_flight:
            self._fire_drained()
        return drained

    def abort_all(self) -> None:
        """Cut what is left."""
        for channel in list(self._channels):
            channel.transport.abortConnection()

    def _fire_drained(self) -> None:
        drained, self._drained = self._drained, []
        for each in drained:
            if not each.called:
                each.callback(None)
