"""What the processes of one daemon must know of each other, as the registry asks for it.

With one process nothing is shared. `docker_registry.workers.board` is what several have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from docker_registry.storage.making import Making


class Exclusion(Protocol):
    """Keeps the other processes away from a number. It never waits, and never goes to the disk."""

    def take(self, number: int) -> bool:
        """Whether no other process has it; then this one does, until it gives it back or ends.

        :param number: from 0, below 2 ** 62.
        """

    def give(self, number: int) -> None:
        """Let others have it."""


class Count(Protocol):
    """A number that all processes count together."""

    def total(self) -> int:
        """What it stands at."""

    def add(self, number: int) -> None:
        """Count up, or down."""

    def correct(self, total: int) -> None:
        """Let it stand at ``total``. For the process that has counted anew, one at a time."""


class Alone:
    """A `Count` where there is one process."""

    def __init__(self) -> None:
        self._total = 0

    def total(self) -> int:
        return self._total

    def add(self, number: int) -> None:
        self._total += number

    def correct(self, total: int) -> None:
        self._total = total


@dataclass(frozen=True, slots=True)
class Shared:
    """:ivar exclusion: ``None`` where there is one process.
    :ivar uploads: open upload sessions.
    :ivar making: directories that are being made; ``None`` where there is one process.
    """

    exclusion: Exclusion | None = None
    uploads: Count = field(default_factory=Alone)
    making: Making | None = None
