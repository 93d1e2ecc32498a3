"""Who is waiting for whom, and for how long: looked at every second or so, never set as a timer of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from docker_registry.web.errors import BodyTooSlow, Refusal
from docker_registry.web.limits import Limits
from docker_registry.web.states import State
from docker_registry.web.transports import unsent

if TYPE_CHECKING:
    from docker_registry.web.channel import Channel

HANDSHAKE = 10.0
"""Seconds from the beginning of a connection to the end of its TLS handshake."""


class Watch:
    """The time that the present wait of one connection has taken.

    :ivar since: seconds, by the site's clock, when that wait began.
    """

    __slots__ = ("_changes", "_heard", "_heard_at", "_taken", "_unsent", "since")

    def __init__(self, now: float) -> None:
        self._changes = 0
        self._begin(now, 0)

    def check(self, channel: Channel, now: float) -> None:
        """End what takes too long."""
        request, limits = channel.request, channel.site.limits
        received = request.body.received if request is not None else 0
        if channel.changes + channel.out.moves != self._changes:
            self._changes = channel.changes + channel.out.moves
            self._begin(now, received)
            return
        waited = now - self.since
        if channel.state is State.CLOSED:
            # All is with the client: whoever does not close then need not be waited for.
            patience = limits.response_timeout if unsent(channel.transport) else limits.drain_timeout
            if self._is_stuck(channel.transport, now, patience):
                channel.abort()
        elif channel.state is State.LINGER:
            if waited >= limits.drain_timeout:
                channel.let_go()
        elif channel.out.is_full:
            if self._is_stuck(channel.transport, now, limits.response_timeout):
                channel.abort()
        elif channel.state is State.IDLE:
            if waited >= _idle_time(channel, limits):
                channel.let_go()
        elif channel.state is State.HEAD:
            if waited >= limits.header_timeout:
                channel.refuse(Refusal(408, "the request's head came too slowly"))
        elif channel.state is State.BODY and request is not None:
            if not request.body.is_wanted:
                self._begin(now, received)          # it is our turn
            elif self._body_is_slow(received, now, limits):
                channel.refuse(BodyTooSlow())

    def _begin(self, now: float, received: int) -> None:
        """:param received: bytes of a body that have arrived."""
        self.since = self._heard_at = now
        self._taken = self._heard = received
        self._unsent: int | None = None

    def _body_is_slow(self, received: int, now: float, limits: Limits) -> bool:
        """Whether nothing has come for too long, or too little in the period that ends now."""
        if received != self._heard:
            self._heard, self._heard_at = received, now
        elif now - self._heard_at >= limits.body_timeout:
            return True
        if now - self.since >= limits.body_timeout:
            if received - self._taken < limits.body_floor * limits.body_timeout:
                return True
            self.since, self._taken = now, received
        return False

    def _is_stuck(self, transport: Any, now: float, patience: float) -> bool:
        """Whether the client has taken nothing that it was sent, all the time."""
        left = unsent(transport)
        if left is not None and left != self._unsent:
            self._unsent = left
            self.since = now
        return now - self.since >= patience


def _idle_time(channel: Channel, limits: Limits) -> float:
    if channel.is_greeted:
        return limits.keepalive_timeout
    return min(HANDSHAKE, limits.header_timeout) if channel.is_shaking_hands else limits.header_timeout
