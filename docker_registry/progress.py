"""How far a command is: a bar on a terminal, and a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import click
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

R = TypeVar("R")

LOOK = 0.5
"""Seconds between two looks at how far it is."""

EVERY = 10.0
"""Seconds between two lines that say so, where there is no terminal."""


class Display(Protocol):
    """:param total: of what `show` is told how much of it is done."""

    def show(self, done: int) -> None: ...

    def finish(self) -> None: ...


class Bar:
    """On a terminal: a bar with an estimate."""

    def __init__(self, label: str, total: int) -> None:
        self._bar: Any = click.progressbar(length=total, label=label, file=sys.stderr, show_percent=True, show_eta=True)
        self._bar.render_progress()

    def show(self, done: int) -> None:
        self._bar.update(done - self._bar.pos)

    def finish(self) -> None:
        self._bar.render_finish()


class Lines:
    """Elsewhere: now and then a line, for a log."""

    def __init__(self, label: str, total: int, clock: IReactorTime, say: Callable[[str], None]) -> None:
        self._label = label
        self._total = total
        self._clock = clock
        self._say = say
        self._started = self._last = clock.seconds()

    def show(self, done: int) -> None:
        now = self._clock.seconds()
        if done and now - self._last >= EVERY:
            self._last = now
            left = (now - self._started) * (self._total - done) / done
            self._say(f"{self._label}: {100 * done // self._total} %, {in_words(left)} left")

    def finish(self) -> None:
        """What follows says it."""


def in_words(seconds: float) -> str:
    """As exact as an estimate is."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    hours, rest = divmod(minutes, 60)
    return f"about {hours} h {rest} min" if hours else f"about {rest} min"


class Progress:
    """:param terminal: whether somebody sees a bar.
    :param say: a line for people who watch.
    """

    def __init__(self, clock: IReactorTime, terminal: bool, say: Callable[[str], None]) -> None:
        self._clock = clock
        self._terminal = terminal
        self._say = say

    async def of(self, label: str, total: int, done: Callable[[], int], work: Awaitable[R]) -> R:
        """What ``work`` comes to; meanwhile is shown how much of ``total`` is done."""
        if not total:
            return await work
        display = self._display(label, total)
        looking = LoopingCall(lambda: display.show(done()))
        looking.clock = self._clock
        looking.start(LOOK, now=False)
        try:
            result = await work
            display.show(total)
            return result
        finally:
            looking.stop()
            display.finish()

    def _display(self, label: str, total: int) -> Display:
        return Bar(label, total) if self._terminal else Lines(label, total, self._clock, self._say)
