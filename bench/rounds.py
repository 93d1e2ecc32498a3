"""In which order things are measured, and what comes out of it.

The machine may have other work, and its speed drifts: so the registries take turns, round by round, and what counts is
the median of the rounds' ratios.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from bench.failures import LoadFailed
from bench.machine import Moment
from bench.registries import Gap, Registry

MIB = 1 << 20


class Unit(Enum):
    """What a row's figures are."""

    REQUESTS = "requests/s"
    RATE = "MB/s"
    SECONDS = "s"
    ADDED = "MiB added"
    LATER = "ms later"

    @property
    def more_is_better(self) -> bool:
        return self in (Unit.REQUESTS, Unit.RATE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one load came to.

    :ivar value: in the row's unit; memory is not the load's to know.
    :ivar operations: what the processor time is divided by.
    """

    value: float
    operations: float


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be reached: a least ratio, a value that is not exceeded, or nothing."""

    ratio: float | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """:ivar load: puts it on a registry; its processor time, memory and heartbeat are watched meanwhile.
    :ivar unsynced: whether ours is also measured with ``sync: false``, for a row of its own.
    :ivar fresh: whether each load has a process without a past.
    :ivar beside: a load on ours that it is compared with, in the other registry's place.
    """

    what: str
    unit: Unit
    load: Callable[[Registry], Outcome]
    target: Target
    unsynced: bool = False
    fresh: bool = False
    beside: Callable[[Registry], Outcome] | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One load on one registry.

    :ivar value: in the row's unit.
    :ivar cpu: seconds of processor time for each operation.
    :ivar peak: largest resident memory in bytes.
    :ivar gap: the largest of the reactor's heartbeat, where there is one.
    :ivar others: processors that were busy with other work.
    """

    value: float
    cpu: float
    peak: int
    gap: Gap | None
    others: float


@dataclass(slots=True)
class Result:
    """A line of the table.

    :ivar theirs: as many samples as ``ours`` and of the same rounds, or none.
    :ivar failure: why there are no figures.
    """

    what: str
    unit: Unit
    target: Target
    ours: list[Sample] = field(default_factory=list)
    theirs: list[Sample] = field(default_factory=list)
    failure: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is; ``None`` where nobody else was measured, or it is not about speed."""
        if not self.theirs or self.unit is Unit.ADDED:
            return None
        pairs = [(ours.value, theirs.value) for ours, theirs in zip(self.ours, self.theirs, strict=True)]
        return statistics.median(ours / theirs if self.unit.more_is_better else theirs / ours for ours, theirs in pairs)

    @property
    def is_reached(self) -> bool | None:
        """``None`` when it cannot be known."""
        if self.target.value is not None:
            return statistics.median(sample.value for sample in self.ours) < self.target.value
        ratio = self.ratio
        return None if ratio is None or self.target.ratio is None else ratio >= self.target.ratio


@dataclass(frozen=True, slots=True)
class Contestants:
    """:ivar other: ``None`` if it is not installed, or not wanted.
    :ivar unsynced: ours with ``sync: false``; ``None`` where no row asks for it.
    """

    ours: Registry
    other: Registry | None
    unsynced: Registry | None

    @property
    def all(self) -> Sequence[Registry]:
        return [each for each in (self.ours, self.other, self.unsynced) if each is not None]


def compare(row: Row, contestants: Contestants, rounds: int) -> list[Result]:
    """Measure ``row`` on all contestants in turn, ``rounds`` times."""
    result = Result(row.what, row.unit, row.target)
    results = [result]
    if row.beside is not None:
        return [_compare_with_itself(row, replace(row, load=row.beside), contestants.ours, result, rounds)]
    turns = [registry for registry in (contestants.ours, contestants.other) if registry is not None]
    if row.unsynced and contestants.unsynced is not None:
        turns.append(contestants.unsynced)
        results.append(Result(f"{row.what}, `sync: false`", row.unit, row.target))
    try:
        for _ in range(rounds):
            samples = {registry.name: _sample(row, registry) for registry in turns}
            _keep(samples, contestants, results)
    except (LoadFailed, OSError) as error:
        for each in results:
            each.failure = str(error)
    return results


def _compare_with_itself(row: Row, beside: Row, ours: Registry, result: Result, rounds: int) -> Result:
    try:
        for _ in range(rounds):
            sample = _sample(row, ours)
            result.theirs.append(_sample(beside, ours))
            result.ours.append(sample)
    except (LoadFailed, OSError) as error:
        result.failure = str(error)
    return result


def _keep(samples: Mapping[str, Sample], contestants: Contestants, results: Sequence[Result]) -> None:
    for result, ours in zip(results, (contestants.ours, contestants.unsynced), strict=False):
        assert ours is not None
        result.ours.append(samples[ours.name])
        if contestants.other is not None:
            result.theirs.append(samples[contestants.other.name])


def _sample(row: Row, registry: Registry) -> Sample:
    """:raises LoadFailed: the load did; the text names the registry."""
    try:
        if row.fresh:
            registry.restart()
        os.sync()                       # what was written before is not this load's to wait for
        registry.reset_peak()
        before = registry.peak()
        registry.take_gap()
        cpu, began = registry.cpu(), Moment.now()
        outcome = row.load(registry)
        cpu = registry.cpu() - cpu
        others = began.others_until(Moment.now(), cpu)
        gap, peak = registry.take_gap(), registry.peak()
    except LoadFailed as error:
        raise LoadFailed(f"{registry.name}: {error}") from error
    value = (peak - before) / MIB if row.unit is Unit.ADDED else outcome.value
    return Sample(value, cpu / outcome.operations, peak, gap, others)
