"""The report, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from bench.rounds import MIB, Result, Sample, Target

AIM = 0.05
"""Seconds between two heartbeats that are no reason to look for something that blocks."""

NOTES = """\
Figures are medians over the rounds; a ratio is the median of the rounds' ratios, and above 1 ours is better. Processor
time is the server's, for each request, push of 10 kB, reader, or GiB. Peak memory is the largest resident set of the
process over all rounds. The gap is the largest between two heartbeats of our reactor that are due every 10 ms, without
what the kernel let it wait for a processor (in brackets: with that)."""


def render(results: Sequence[Result], other: str | None) -> str:
    """The table, and what it says as a whole.

    :param other: the other registry's name and version, ``None`` if it was not measured.
    """
    return "\n".join([*_lines(results, other), "", NOTES, "", *_summary(results)])


def _lines(results: Sequence[Result], other: str | None) -> Iterator[str]:
    columns = ["what", "unit", "ours", "CPU", "peak MiB", "gap ms"]
    if other is not None:
        columns[3:3] = [other, "ratio", "to reach"]
        columns[-2:-1] = ["its CPU", "peak MiB", "its peak"]
    else:
        columns[3:3] = ["to reach"]
    yield _line(columns)
    yield _line(["---", "---", *["---:"] * (len(columns) - 2)])
    for result in results:
        yield _line(_cells(result, other is not None, len(columns)))


def _cells(result: Result, compared: bool, columns: int) -> list[str]:
    cells = [result.what, result.unit.value]
    if result.failure:
        return [*cells, f"**failed**: {result.failure.replace('|', '/')}", *[""] * (columns - 3)]
    cells.append(_value(result.ours))
    if compared:
        ratio = result.ratio
        cells += [_beside(_value, result), "" if ratio is None else f"{number(ratio)}x"]
    cells += [_reach(result), _cpu(result.ours)]
    if compared:
        cells.append(_beside(_cpu, result))
    cells.append(_peak(result.ours))
    if compared:
        cells.append(_beside(_peak, result))
    return [*cells, _gap(result.ours)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _beside(cell: Callable[[Sequence[Sample]], str], result: Result) -> str:
    """Empty where nothing stands beside ours."""
    return cell(result.theirs) if result.theirs else ""


def _value(samples: Sequence[Sample]) -> str:
    return number(statistics.median(sample.value for sample in samples))


def _reach(result: Result) -> str:
    reached = result.is_reached
    return _aim(result.target) + ("" if reached is None else " yes" if reached else " **no**")


def _aim(target: Target) -> str:
    if target.ratio is not None:
        return f"≥ {target.ratio:g}x"
    return "" if target.value is None else f"< {target.value:g}"


def _cpu(samples: Sequence[Sample]) -> str:
    seconds = statistics.median(sample.cpu for sample in samples)
    if seconds >= 0.1:
        return f"{number(seconds)} s"
    return f"{number(seconds * 1e3)} ms" if seconds >= 0.0005 else f"{number(seconds * 1e6)} µs"


def _peak(samples: Sequence[Sample]) -> str:
    return number(max(sample.peak for sample in samples) / MIB)


def _gap(samples: Sequence[Sample]) -> str:
    gaps = [sample.gap for sample in samples if sample.gap is not None]
    if not gaps:
        return ""
    return f"{max(gap.own for gap in gaps) * 1e3:.0f} ({max(gap.whole for gap in gaps) * 1e3:.0f})"


def _summary(results: Sequence[Result]) -> Iterator[str]:
    measured = [result for result in results if not result.failure]
    missed = [result.what for result in measured if result.is_reached is False]
    judged = sum(result.is_reached is not None for result in measured)
    yield f"Reached: {judged - len(missed)} of {judged}." + (f" Not: {'; '.join(missed)}." if missed else "")
    slow = [result.what for result in measured if any(each.gap and each.gap.own > AIM for each in result.ours)]
    yield f"Heartbeat gaps above {AIM * 1e3:.0f} ms: {'; '.join(slow) if slow else 'none'}."
    others = [sample.others for result in measured for sample in (*result.ours, *result.theirs)]
    if others:
        middle, most = number(statistics.median(others)), number(max(others))
        yield f"Other work kept {middle} processors busy (median of all loads), {most} at most."
    failed = [result.what for result in results if result.failure]
    if failed:
        yield f"Failed: {'; '.join(failed)}."


def number(value: float) -> str:
    """Three digits that count, and thousands apart."""
    if value >= 1000:
        return f"{round(value, 2 - len(str(int(value))) + 1):,.0f}".replace(",", " ")
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
