"""Numbers that are counted by each process of a daemon and told by one.

Each process has a row of whole numbers, which nobody else writes; what all have counted is the sum of the rows. The
table may lie in memory that the processes share: then nothing is torn when one is killed, and a process that takes its
place goes on with its row, so that no counter ever falls. Counting is adding to one number: no lock, and no label to
look up.

Which columns there are is known when the program starts: labels have no values but those that are written down, so
that no client can make the table grow (T51).
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

Numbers = memoryview  # of "q": whole numbers of 8 bytes


@dataclass(frozen=True, slots=True)
class Axis:
    """Labels that vary together, and the values that they take."""

    labels: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, label: str, values: Sequence[str]) -> Axis:
        return cls((label,), tuple((each,) for each in values))


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its labels.

    :ivar bounds: of a histogram's buckets, in its unit.
    :ivar scale: how many of what is counted make one of that unit; 10**9 for nanoseconds and seconds.
    :ivar first: its first column.
    :ivar is_common: whether each process that knows it knows the whole of it.
    """

    name: str
    says: str
    kind: Literal["counter", "gauge", "histogram"]
    axes: tuple[Axis, ...]
    bounds: tuple[float, ...]
    scale: int
    first: int
    is_common: bool = False

    @property
    def cells(self) -> int:
        """Columns of one combination of labels: of a histogram the buckets, the one without bound, and the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1

    @property
    def size(self) -> int:
        """Columns."""
        count = self.cells
        for axis in self.axes:
            count *= len(axis.values)
        return count

    def at(self, *indices: int) -> int:
        """The column of the combination that takes these values of the axes."""
        column = 0
        for axis, index in zip(self.axes, indices, strict=True):
            column = column * len(axis.values) + index
        return self.first + column * self.cells

    def combinations(self) -> Iterator[tuple[int, list[str]]]:
        """The first column and the values of all labels, of each."""
        for number, values in enumerate(product(*(axis.values for axis in self.axes))):
            yield self.first + number * self.cells, [each for group in values for each in group]

    @property
    def labels(self) -> list[str]:
        return [label for axis in self.axes for label in axis.labels]


class Columns:
    """The families of a table, in the order in which they are declared."""

    def __init__(self) -> None:
        self.families: list[Family] = []
        self.width = 0

    def counter(self, name: str, says: str, *axes: Axis) -> Family:
        """:param name: with ``_total`` at its end."""
        return self._add(name, says, "counter", axes)

    def gauge(self, name: str, says: str, *axes: Axis) -> Family:
        return self._add(name, says, "gauge", axes)

    def common(self, name: str, says: str) -> Family:
        """A gauge of which processes note the whole, not a part each."""
        return self._add(name, says, "gauge", (), is_common=True)

    def histogram(
        self, name: str, says: str, *axes: Axis, bounds: tuple[float, ...], scale: int = 1
    ) -> Family:
        return self._add(name, says, "histogram", axes, bounds, scale)

    def _add(
        self, name: str, says: str, kind: Literal["counter", "gauge", "histogram"], axes: tuple[Axis, ...],
        bounds: tuple[float, ...] = (), scale: int = 1, is_common: bool = False,
    ) -> Family:
        family = Family(name, says, kind, axes, bounds, scale, self.width, is_common)
        self.families.append(family)
        self.width += family.size
        return family


class Table:
    """:param numbers: of all rows; without any it is one row in memory of this process.
    :param row: of this process.
    :ivar own: the numbers of this process, by column.
    :ivar settling: what is called to have counted what is not counted yet.
    """

    def __init__(self, width: int, numbers: Numbers | None = None, row: int = 0) -> None:
        self._numbers = memoryview(bytearray(width * 8)).cast("q") if numbers is None else numbers
        self._width = width
        self.row = row
        self.own = self.of(row)
        self.settling: list[Callable[[], None]] = []

    @classmethod
    def shared(cls, width: int, fd: int, row: int) -> Table:
        """:param fd: what `memory` returned, in this process or in the one that made it."""
        return cls(width, memoryview(mmap.mmap(fd, 0)).cast("q"), row)

    @property
    def rows(self) -> int:
        return len(self._numbers) // self._width

    def of(self, row: int) -> Numbers:
        """The numbers of one process."""
        return self._numbers[row * self._width : (row + 1) * self._width]

    def vacate(self, row: int, families: Sequence[Family]) -> None:
        """The process that had it has ended: what it was in the middle of is over, and what it has counted stays."""
        numbers = self.of(row)
        for family in families:
            if family.kind == "gauge":
                for column in range(family.first, family.first + family.size):
                    numbers[column] = 0

    def settle(self) -> None:
        """Have this process count what it has not counted yet: it does so every second, and before sums are made."""
        for each in self.settling:
            each()

    def sums(self) -> list[int]:
        """What all processes have counted, by column."""
        self.settle()
        if self.rows == 1:
            return list(self.own)
        return list(map(sum, zip(*(self.of(row) for row in range(self.rows)), strict=True)))


def memory(width: int, rows: int) -> int:
    """A descriptor of memory for so many rows, to be handed to other processes (memfd_create(2)).

    :raises OSError: the kernel has none to give.
    """
    fd = os.memfd_create("docker-registry-metrics", os.MFD_CLOEXEC)
    os.ftruncate(fd, width * rows * 8)
    return fd


def observe(own: Numbers, column: int, bounds: tuple[float, ...], value: float, scale: int) -> None:
    """Count ``value``, in the unit of ``bounds``, in the histogram that begins at ``column``."""
    own[column + bisect_left(bounds, value)] += 1
    own[column + len(bounds) + 1] += int(value * scale)
