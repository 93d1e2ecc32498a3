"""What is wrong with a configuration, one line for each problem."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

EXIT_STATUS = 78
"""EX_CONFIG of sysexits.h: nothing that a restart would mend."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands in a file; both count from 1, as editors do."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """:ivar file: as the operator named it, or ``--listen``.
    :ivar place: ``None`` on the command line.
    :ivar option: ``FLAVOR.KEY``, or empty when the file as a whole is meant.
    :ivar text: never holds the value of a secret.
    :ivar allowed: what may stand there instead; may be empty.
    """

    file: str
    place: Place | None
    option: str
    text: str
    allowed: str = ""

    def __str__(self) -> str:
        place = f":{self.place.line}:{self.place.column}" if self.place else ""
        option = f"{self.option}: " if self.option else ""
        allowed = f" (allowed: {self.allowed})" if self.allowed else ""
        return f"{self.file}{place}: {option}{self.text}{allowed}"


class ConfigError(Exception):
    """The configuration cannot be used.

    :ivar problems: all that was found, in the order of the file.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))
