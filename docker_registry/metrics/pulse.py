"""What a process says of itself every second, in its row of the table."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from docker_registry.metrics.families import (
    ASKED,
    BEAT,
    CHECKED,
    MILLISECONDS,
    NANOSECONDS,
    PID,
    REACTOR_LAG,
    STATE,
    STATES,
    WORKS,
)
from docker_registry.metrics.table import Table, observe

BEATS = 1.0
"""Seconds between two of them."""

FRESH = 5.0
"""Seconds for which it is known whether the store works."""

INTEREST = 60.0
"""Seconds for which the store is tried again and again, since somebody asked."""

PATIENCE = 4.0
"""Seconds in which a store that works has written, read and deleted something small."""


class Pulse:
    """:param clock: a reactor, or what stands for it.
    :param now: seconds of a clock that all processes of this machine have and nobody sets.
    :param works: tries the store; returns what is wrong with it, or nothing.
    :param samples: each notes in the table what can be counted at any time.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        now: Callable[[], float],
        table: Table,
        *,
        works: Callable[[], Deferred[str]],
        samples: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._clock = clock
        self._now = now
        self._table = table
        self._state = "starting"
        self._works = works
        self._samples = samples
        self._checking: Deferred[None] | None = None
        self._due = 0.0
        self._problem = ""
        self._beats = LoopingCall(self.beat)
        self._beats.clock = clock

    def start(self) -> None:
        """In the process that has the row: its predecessor may have left something there."""
        own = self._table.own
        own[WORKS.first], own[CHECKED.first] = 0, 0
        self.became(self._state)
        own[PID.first] = os.getpid()
        self._due = self._now()
        self._beats.start(BEATS)

    async def stop(self) -> None:
        if self._beats.running:
            self._beats.stop()
        if self._checking is not None:
            self._checking.cancel()
        self._table.settle()
        self._table.own[PID.first] = 0

    def became(self, state: str) -> None:
        """:param state: one of `STATES`, from now on."""
        self._state = state
        self._table.own[STATE.first] = STATES.index(state)

    def beat(self) -> None:
        """Say how things stand."""
        own, now = self._table.own, self._now()
        observe(own, REACTOR_LAG.first, REACTOR_LAG.bounds, max(now - self._due, 0.0), NANOSECONDS)
        self._due = now + BEATS
        own[BEAT.first] = int(now * MILLISECONDS)
        for sample in self._samples:
            sample()
        self._table.settle()
        if self._is_asked(now) and self._state != "starting" and self._checking is None:
            self._checking = Deferred.fromCoroutine(self._check())
            self._checking.addBoth(self._checked)

    def _is_asked(self, now: float) -> bool:
        """Whether somebody wants to know of the store what is not known well enough."""
        asked = max(self._table.of(row)[ASKED.first] for row in range(self._table.rows)) / MILLISECONDS
        checked = self._table.own[CHECKED.first] / MILLISECONDS
        return bool(asked) and now - asked < INTEREST and now - checked >= FRESH - BEATS

    def _checked(self, _: object) -> None:
        self._checking = None

    async def _check(self) -> None:
        trying = self._works()
        try:
            problem = await trying.addTimeout(PATIENCE, self._clock, lambda *_: "it does not answer")
        except CancelledError:
            return
        except Exception:
            self.log.failure("the store could not be tried")
            problem = "see above"
        own = self._table.own
        own[WORKS.first], own[CHECKED.first] = not problem, int(self._now() * MILLISECONDS)
        if problem and not self._problem:
            self.log.error("the store does not work: {problem}", problem=problem)
        elif self._problem and not problem:
            self.log.info("the store works again")
        self._problem = problem
