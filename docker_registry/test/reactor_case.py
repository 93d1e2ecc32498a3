"""Tests with the real reactor: each is over when what it has set going is."""

from __future__ import annotations

from collections.abc import Awaitable
from itertools import count
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

reactor: Any = _reactor

PATIENCE = 10.0
"""Seconds that what has been closed may take to be gone."""


class ReactorCase(TestCase):
    """After its last cleanup a test waits until its sockets are gone.

    What is closed is gone some turns of the reactor later, and nobody knows how many: each end hears of the other's. A
    socket that stays fails the test, and so does a call that is still to come: nothing waits for that.

    :cvar timeout: seconds that each step has, where the machine is as slow as it gets.
    """

    timeout = 180

    def run(self, result: Any = None) -> Any:
        self.addCleanup(self._all_gone)             # the first to be added is the last to be done
        return super().run(result)

    async def fails(self, work: Awaitable[Any], error: type[Exception]) -> Any:
        """The error that ``work`` ends with."""
        try:
            await work
        except error as raised:
            return raised
        raise AssertionError(f"no {error.__name__}")

    async def _all_gone(self) -> None:
        end = reactor.seconds() + PATIENCE
        for turn in count():
            left = _on_their_way()
            if not left:
                return
            if reactor.seconds() > end:
                self.fail(f"still there after the test: {', '.join(left)}")
            await deferLater(reactor, 0 if turn < 10 else 0.01)


def _on_their_way() -> list[str]:
    """Sockets, pipes and processes, and what is about to be called."""
    selectables = {*reactor.getReaders(), *reactor.getWriters()} - reactor._internalReaders
    now = reactor.seconds()
    calls = [each for each in reactor.getDelayedCalls() if each.getTime() <= now]
    return [*map(repr, selectables), *map(str, calls)]
