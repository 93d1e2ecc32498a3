"""From a worker to the process that mails for all of them, so that what all see is one kind, and ten mails are ten.

A line for each kind and second, in JSON, ASCII. What it holds has no secrets any more.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater

from docker_registry.alerts.alerts import Observer
from docker_registry.alerts.faults import Fault, Finding, Kind, State
from docker_registry.alerts.texts import Texts

GATHERED = 0.5
"""Seconds in which faults of a kind are counted before they are told."""

LAST_WORDS = 0.05
"""Seconds that a pipe has to take what a worker says that stops."""

MOST = 20
"""Kinds that are told at a time; more of them make one together."""

OTHERS = Kind("faults of many kinds", "", "")


@dataclass(slots=True)
class _Seen:
    fault: Fault
    count: int = 1


class Forwarder(Observer):
    """:param say: takes a line, without its end, to the process that mails."""

    def __init__(self, clock: Any, texts: Texts, say: Callable[[bytes], None]) -> None:
        super().__init__(clock)
        self._texts = texts
        self._say = say
        self._seen: dict[tuple[Kind, State], _Seen] = {}
        self._others = 0
        self._soon: IDelayedCall | None = None

    async def stop(self) -> None:
        """Take no more events, and tell of what there was."""
        await super().stop()
        if self._soon is not None:
            self._soon.cancel()
            self._tell()
            await deferLater(self._clock, LAST_WORDS)

    def took(self, found: Fault) -> None:
        seen = self._seen.get((found.kind, found.state))
        if seen is not None:
            seen.count += 1
        elif len(self._seen) < MOST:
            self._seen[found.kind, found.state] = _Seen(found)
        else:
            self._others += 1
        if self._soon is None:
            self._soon = self._clock.callLater(GATHERED, self._tell)

    def _tell(self) -> None:
        self._soon = None
        seen, self._seen = self._seen, {}
        others, self._others = self._others, 0
        for each in seen.values():
            self._say(write(self._texts.finding(each.fault), each.count))
        if others:
            last = next(reversed(seen.values())).fault.time
            self._say(write(Finding(OTHERS, last, {}, "The log has them all."), others))


def write(found: Finding, count: int) -> bytes:
    """A line."""
    kind = found.kind
    fields = [kind.name, kind.place, kind.route, found.time, dict(found.request), found.details, found.state, count]
    return json.dumps(fields).encode("ascii")


def read(line: bytes) -> tuple[Finding, int]:
    """What `write` wrote."""
    name, place, route, time, request, details, state, count = json.loads(line)
    return Finding(Kind(name, place, route), time, request, details, State(state)), count
