"""All connections of one registry: what they share, and how they end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.web.http import datetimeToString
from zope.interface import implementer

from docker_registry import current
from docker_registry.polling import Turn
from docker_registry.web.body import Budget
from docker_registry.web.channel import Channel
from docker_registry.web.limits import Limits
from docker_registry.web.request import Headers, Request

Handler = Callable[[Request], Deferred[Any] | Coroutine[Deferred[Any], Any, Any] | None]
Finished = Callable[[Request, float], None]
Refused = Callable[[int, str, bytes], tuple[Headers, bytes]]

SWEEP = 1.0
"""Seconds between two looks at the connections' deadlines."""


@implementer(IProtocolNegotiationFactory)
class Site(Factory):
    """:param reactor: for its clock.
    :param handler: answers a request; called when its head is in, before its body. Returns what tells when it is done,
        or ``None`` if it is.
    :param refusal: headers and body of an answer that is given without the handler, from status, reason and target;
        the target is empty if it was never seen.
    :param finished: each is told of each request that was answered or cut, and the seconds that took.
    :param common_headers: stand on every answer.
    :ivar connected: told how many connections there are, when that changes.
    :ivar draining: whether no new request is taken.
    :ivar in_flight: requests that are read or answered.
    :ivar files: that are being sent.
    :ivar turn: of the reactor, if anybody says when it begins and ends.
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
        finished: Sequence[Finished] = (),
        common_headers: Headers = (),
    ) -> None:
        self.now: Callable[[], float] = reactor.seconds
        self.refusal = refusal
        self.limits = limits
        self.budget = Budget(limits.body_memory)
        self.draining = False
        self.in_flight = 0
        self.files = 0
        self.turn = Turn()
        self._reactor = reactor
        self._handler = handler
        self._finished = finished
        self._common = b"".join([b"%b: %b\r\n" % header for header in common_headers])
        self.connected: Callable[[int], None] | None = None
        self._channels: set[Channel] = set()
        self._addresses: Counter[str] = Counter()
        self._sweep: IDelayedCall | None = None
        self._drained: list[Deferred[None]] = []
        self._second = -1
        self._standing = b""

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return Channel(self)

    def acceptableProtocols(self) -> list[bytes]:
        """What is spoken over TLS (RFC 7301): without it Twisted ends the handshake of every client that asks."""
        return [b"http/1.1"]

    def stopFactory(self) -> None:
        self._rest()

    def common_headers(self) -> bytes:
        """What every answer has; made anew each second."""
        now = self.now()
        if int(now) != self._second:
            self._second = int(now)
            self._standing = b"Server: docker-registry\r\nDate: %b\r\n%b" % (datetimeToString(now), self._common)
        return self._standing

    def later(self, call: Callable[[], None]) -> None:
        """Make the call in the next turn of the reactor."""
        self._reactor.callLater(0, call)

    # From the connections

    def opened(self, channel: Channel) -> bool:
        """Whether there is room for another connection; `closed` follows in any case."""
        room = not self.draining and len(self._channels) < self.limits.connections
        self._channels.add(channel)
        if self.connected is not None:
            self.connected(len(self._channels))
        self._addresses[channel.address] += 1
        if self._sweep is None:
            self._sweep = self._reactor.callLater(SWEEP, self._look)
        return room and self._has_room(channel.address)

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._channels)

    def requests(self) -> Iterator[Request]:
        """Those that are read or answered."""
        return (channel.request for channel in self._channels if channel.request is not None)

    @property
    def is_overrun(self) -> bool:
        """Whether there are so many connections that those for which there is no room are not even told."""
        return len(self._channels) > 2 * self.limits.connections

    def moved(self, channel: Channel, address: str) -> bool:
        """Whether there is room for another connection from ``address``, for which a proxy has opened this one."""
        self._leave(channel.address)
        channel.address = address
        self._addresses[address] += 1
        return self._has_room(address)

    def closed(self, channel: Channel) -> None:
        self._channels.remove(channel)
        if self.connected is not None:
            self.connected(len(self._channels))
        self._leave(channel.address)
        self._rest()
        self.let_go()

    def let_go(self) -> None:
        """A connection has come to its end, or nearly."""
        if self._drained and all(channel.is_done for channel in self._channels):
            drained, self._drained = self._drained, []
            for each in drained:
                if not each.called:
                    each.callback(None)

    def _has_room(self, address: str) -> bool:
        most = self.limits.per_address
        return not most or address == "local" or self._addresses[address] <= most

    def _leave(self, address: str) -> None:
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def handle(self, request: Request) -> Deferred[Any] | None:
        """Have a request answered; what is logged meanwhile can tell that it was for this one.

        :raises Exception: what the handler raised.
        """
        working_for = current.request.set(request)
        try:
            handling = self._handler(request)
            return None if handling is None else ensureDeferred(handling)
        finally:
            current.request.reset(working_for)

    def began(self) -> None:
        self.in_flight += 1

    def ended(self, request: Request) -> None:
        self.in_flight -= 1
        seconds = self.now() - request.started
        for told in self._finished:
            try:
                told(request, seconds)
            except Exception:
                self.log.failure("request {request.id} could not be recorded", request=request)

    def _look(self) -> None:
        self._sweep = None
        now = self.now()
        for channel in list(self._channels):
            channel.check(now)
        self.let_go()
        if self._channels and self._sweep is None:
            self._sweep = self._reactor.callLater(SWEEP, self._look)

    def _rest(self) -> None:
        """Without connections or a port there is nothing to look at."""
        if self._sweep is not None and not self._channels and not self.numPorts:
            self._sweep.cancel()
            self._sweep = None

    # Stopping

    def drain(self) -> Deferred[None]:
        """Take no new request; fires when what was taken is answered, and the answers are with the kernel.

        Clients that take their time are waited for: `abort_all` ends that.
        """
        self.draining = True
        for channel in list(self._channels):
            channel.close_if_idle()
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        self.let_go()
        return drained

    def abort_all(self) -> None:
        """Cut what is left."""
        for channel in list(self._channels):
            channel.abort()
