"""What a mail says: nothing of a request but what `current.Asked` has, and no variable of the code."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from traceback import StackSummary, TracebackException

from twisted.logger import Logger
from twisted.python.failure import Failure

from docker_registry.alerts.cases import Untold
from docker_registry.alerts.faults import Fault, Finding
from docker_registry.logs.escaping import lines, one_line

_LONGEST_PART = 8000
"""Characters of one frame of a traceback, or of the text of an exception."""

_LONGEST = 40_000
"""Characters of a traceback: with more its middle is left out."""

_LONGEST_VALUE = 512
"""Characters of a name."""

_LISTED = 50
"""Kinds of faults that one mail lists."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where mail comes from."""

    host: str
    flavor: str
    version: str


@dataclass(frozen=True, slots=True)
class Text:
    """:ivar subject: ASCII without line breaks; nothing of it is from a request."""

    subject: str
    body: str


class Texts:
    """:param redact: applied last."""

    log = Logger()

    def __init__(self, origin: Origin, redact: Callable[[str], str]) -> None:
        self._origin = origin
        self._redact = redact

    def finding(self, fault: Fault) -> Finding:
        """What a mail says of ``fault``."""
        try:
            details = self._cut(fault.text) if fault.failure is None else self._traceback(fault.failure)
        except Exception:
            self.log.failure("a traceback could not be written")
            details = "(its traceback could not be written)"
        asked = fault.asked
        request = {} if asked is None else {
            "request": asked.id, "method": asked.method, "route": asked.route, "repository": asked.repository,
            "user": asked.user or "",
        }
        return Finding(fault.kind, fault.time, request, self._redact("\n".join(lines(details))), fault.state)

    def of_finding(self, found: Finding, others: Untold, offset: float, notes: Sequence[str]) -> Text:
        """:param others: of its kind.
        :param offset: what makes wall-clock time of the times in ``others``.
        """
        count = "1"
        if others.count:
            count += f", and {others.count} more since {_moment(others.since + offset)}"
        rows = [
            ("what", found.kind.name), ("where", found.kind.place), ("time", _moment(found.time)), *self._rows(),
            *found.request.items(), ("count", count),
        ]
        return self._text(found.kind.name, [_table(rows), found.details, *notes])

    def of_end(self, ended: Sequence[Untold], offset: float, notes: Sequence[str]) -> Text:
        """What there was more of, and is no longer."""
        often = sorted(ended, key=lambda each: -each.count)
        listed = [
            f"{each.kind}: "
            + (f"{each.count} more since {_moment(each.since + offset)}, the last " if each.count else "none since ")
            + _moment(each.last + offset)
            for each in often[:_LISTED]
        ]
        if len(ended) > _LISTED:
            listed.append(f"and {sum(each.count for each in often[_LISTED:])} of {len(ended) - _LISTED} other kinds")
        name = ended[0].kind.name if len(ended) == 1 else f"{len(ended)} kinds of faults"
        parts = ["No more of this for ten minutes:", "\n".join(map(one_line, listed)), _table(self._rows()), *notes]
        return self._text(f"recovered from {name}", parts)

    def of_over(self, found: Finding, lasted: Untold, offset: float, notes: Sequence[str]) -> Text:
        """What lasted, and is over.

        :param lasted: since when.
        """
        rows = [("what", found.kind.name), ("began", _moment(lasted.since + offset)), ("over", _moment(found.time)),
                *self._rows()]
        return self._text(f"recovered from {found.kind.name}", [_table(rows), found.details, *notes])

    def of_test(self) -> Text:
        """For the operator who asks whether mail arrives."""
        rows = [("time", _moment(time.time())), *self._rows()]
        return self._text("test", ["Mail on exceptions arrives.", _table(rows)])

    def _rows(self) -> list[tuple[str, str]]:
        return [("host", self._origin.host), ("flavor", self._origin.flavor), ("version", self._origin.version)]

    def _traceback(self, failure: Failure) -> str:
        """As Python writes it, cut to size, without variables; also where Twisted has let go of the traceback."""
        error = failure.value
        assert error is not None
        parts: list[str] = []
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None:
            parts += TracebackException.from_exception(cause, compact=True).format()
            parts.append("\nThat led to:\n\n")
        parts.append("Traceback (most recent call last):\n")
        frames = [(file, line, function, None) for function, file, line, *_ in failure.frames]
        parts += StackSummary.from_list(frames).format()
        parts += TracebackException(type(error), error, None, compact=True).format_exception_only()
        whole = "".join(map(self._cut, parts)).rstrip()
        if len(whole) <= _LONGEST:
            return whole
        half = _LONGEST // 2
        return f"{whole[:half]}\n[… {len(whole) - _LONGEST} characters …]\n{whole[-half:]}"

    def _cut(self, part: str) -> str:
        """``part`` without secrets, and without its end where it is long: no secret is cut before it is found."""
        if len(part) <= _LONGEST_PART:
            return self._redact(part)
        shown = self._redact(part[: 2 * _LONGEST_PART])[:_LONGEST_PART]
        return f"{shown} [… of {len(part)} characters]\n"

    def _text(self, about: str, parts: Sequence[str]) -> Text:
        host = re.sub("[^A-Za-z0-9.-]", "", self._origin.host)[:64]
        subject = f"docker-registry on {host}: " + re.sub(r"[^A-Za-z0-9_. ]", "", about)[:100]
        return Text(subject, self._redact("\n".join(lines("\n\n".join(filter(None, parts))))) + "\n")


def _table(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<12}{one_line(value, _LONGEST_VALUE)}" for name, value in rows if value)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
