"""What is in Glance before anybody has said what it is.

A client that names the digest last sends the bytes in one request, and says in the next one that they were all. They
are in Glance by then, if that was the same process: here they wait to be told their key.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from docker_registry.storage.glance.sending import Sending
from docker_registry.storage.glance.shelf import Sum
from docker_registry.storage.interface import Stat

PATIENCE = 600.0
"""Seconds that one waits: after that it is sent again when it is committed."""

MOST = 256


@dataclass(frozen=True, slots=True)
class Spare:
    """:ivar stat: of what lies in the alternate store: when that is another one, this is not it any more.
    :ivar sum: of all of it.
    """

    stat: Stat
    sending: Sending
    sum: Sum | None
    end: IDelayedCall


class Spares:
    """By the key in the alternate store at which the same bytes lie."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._spares: OrderedDict[str, Spare] = OrderedDict()

    def keep(self, key: str, stat: Stat, sending: Sending, sum: Sum | None) -> None:
        self.drop(key)
        while len(self._spares) >= MOST:
            self.drop(next(iter(self._spares)))
        sending.end()
        self._spares[key] = Spare(stat, sending, sum, self._clock.callLater(PATIENCE, self.drop, key))

    def take(self, key: str, stat: Stat) -> Spare | None:
        """The one of exactly these bytes."""
        if key in self._spares and self._spares[key].stat != stat:
            self.drop(key)
        spare = self._spares.pop(key, None)
        if spare is not None:
            spare.end.cancel()
        return spare

    def drop(self, key: str) -> None:
        """If there is one."""
        spare = self._spares.pop(key, None)
        if spare is not None:
            if spare.end.active():
                spare.end.cancel()
            spare.sending.give_up()

    def drop_below(self, prefix: str) -> None:
        for key in [key for key in self._spares if key == prefix or key.startswith(f"{prefix}/")]:
            self.drop(key)

    def stop(self) -> None:
        for key in list(self._spares):
            self.drop(key)
