"""How the processes of this daemon are, by what they say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from twisted.internet.task import deferLater

from docker_registry.metrics.families import ASKED, BEAT, CHECKED, MILLISECONDS, PID, STATE, STATES, WORKS
from docker_registry.metrics.pulse import FRESH, PATIENCE
from docker_registry.metrics.table import Table

SILENT = 5.0
"""Seconds without a word after which a process is taken to hang."""

STALE = FRESH + PATIENCE
"""Seconds after which it is not known any more whether a store works."""

LOOK = 0.1
"""Seconds between two looks at an answer that is awaited."""


@dataclass(frozen=True, slots=True)
class Worker:
    """:ivar state: one of `STATES`, or ``"silent"``.
    :ivar store: ``"works"``, ``"fails"`` or ``"unknown"``.
    """

    pid: int
    state: str
    store: str


@dataclass(frozen=True, slots=True)
class Standing:
    """:ivar problem: why the daemon is not ready; empty if it is."""

    workers: tuple[Worker, ...]
    problem: str


class Health:
    """:param clock: a reactor, or what stands for it.
    :param now: see `Pulse`.
    """

    def __init__(self, clock: Any, now: Callable[[], float], table: Table) -> None:
        self._clock = clock
        self._now = now
        self._table = table

    async def standing(self) -> Standing:
        """Whether requests can be answered, which the stores are asked for if they were not lately."""
        self._table.own[ASKED.first] = int(self._now() * MILLISECONDS)
        patience = self._now() + STALE
        while (found := self.at_once()) and any(map(_is_to_come, found.workers)) and self._now() < patience:
            await deferLater(self._clock, LOOK)
        return found

    def at_once(self) -> Standing:
        """How things stood when the stores were tried last."""
        workers = tuple(self._workers())
        return Standing(workers, _problem(workers))

    def _workers(self) -> Iterator[Worker]:
        now = self._now()
        for row in range(self._table.rows):
            numbers = self._table.of(row)
            if not numbers[PID.first]:
                continue
            is_silent = now - numbers[BEAT.first] / MILLISECONDS > SILENT
            is_known = numbers[CHECKED.first] and now - numbers[CHECKED.first] / MILLISECONDS <= STALE
            yield Worker(
                numbers[PID.first],
                "silent" if is_silent else STATES[numbers[STATE.first]],
                ("works" if numbers[WORKS.first] else "fails") if is_known else "unknown",
            )


def _is_to_come(worker: Worker) -> bool:
    """Whether it is about to say whether its store works."""
    return worker.state == "ready" and worker.store == "unknown"


def _problem(workers: tuple[Worker, ...]) -> str:
    """One worker that can serve is enough: the others are restarted meanwhile."""
    if any(worker.state == "ready" and worker.store == "works" for worker in workers):
        return ""
    if any(worker.state == "ready" for worker in workers):
        return "the store does not work" if any(worker.store == "fails" for worker in workers) else "the store is slow"
    for state, problem in [("draining", "stopping"), ("silent", "the reactor hangs"), ("starting", "starting")]:
        if any(worker.state == state for worker in workers):
            return problem
    return "starting"
