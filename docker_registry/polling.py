"""Turns of the reactor, without waking anybody more often than need be.

A process that sleeps has to be woken, and so has the processor under it: in a virtual machine that takes as long as a
request.

Where client and registry take turns, as a client on the same machine does, or a proxy, that is half of all time. So a
wait that will be short is spent looking (busy polling, as the kernel does for sockets; epoll_wait(2) with a timeout of
0). Which one will be is told by those before it. Not while threads of ours work: they would have to snatch the
interpreter's lock from whoever looks.

Where several requests are answered in a turn, their answers leave together at its end: a client that has many
connections is woken once, not by each.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

MOST = 50_000
"""Nanoseconds of looking, after which it sleeps: about what it takes to be woken."""

PROVED = 4
"""Waits in a row which have to be that short before one is spent looking."""

DOUBT = 32
"""As many more when one was longer: what is lost by looking in vain is not worth mentioning then."""

TOGETHER = 16
"""Calls that wait for the end of a turn: some 500 µs of answers."""

Events = list[tuple[int, int]]


class Turn:
    """A turn of the reactor, in which one thing after the other is dealt with that has happened.

    :ivar is_shared: whether that is more than one.
    """

    def __init__(self) -> None:
        self.is_shared = False
        self._last: deque[Callable[[], None]] = deque()

    def begin(self, count: int) -> None:
        """So many things have happened."""
        self.is_shared = count > 1

    def at_end(self, call: Callable[[], None]) -> None:
        """Make a call when all is dealt with, or enough of it."""
        self._last.append(call)
        if len(self._last) >= TOGETHER:
            self.end()

    def end(self) -> None:
        """Also for what is about to take long: nobody has to wait for that."""
        while self._last:
            self._last.popleft()()


class Poller:
    """A poller that stands in for another one.

    :param poller: as `select.epoll`.
    :param is_alone: whether nobody needs a processor meanwhile of whom we know, such as threads of ours.
    :param turn: begins with what has happened, and ends when the next is waited for.
    :param now: nanoseconds, to measure with.
    """

    def __init__(
        self, poller: Any, is_alone: Callable[[], bool], turn: Turn, now: Callable[[], int] = perf_counter_ns
    ) -> None:
        self.register, self.modify, self.unregister = poller.register, poller.modify, poller.unregister
        self.fileno, self.close = poller.fileno, poller.close
        self._poll: Callable[[float, int], Events] = poller.poll
        self._is_alone = is_alone
        self._turn = turn
        self._now = now
        self._short = 0                         # waits in a row; below zero after one that was not

    def poll(self, timeout: float = -1, maxevents: int = -1) -> Events:
        """What has happened, as `select.epoll.poll` says it."""
        self._turn.end()
        found = self._wait(timeout, maxevents)
        self._turn.begin(len(found))
        return found

    def _wait(self, timeout: float, maxevents: int) -> Events:
        if not self._is_alone():
            return self._poll(timeout, maxevents)
        if self._short >= PROVED and not 0 <= timeout * 1e9 <= MOST:
            return self._look(maxevents) or self._poll(timeout, maxevents)
        began = self._now()
        found = self._poll(timeout, maxevents)
        if not found:
            return found
        if self._now() - began <= MOST:
            self._short += 1
        else:
            self._short = min(self._short, 0)
        return found

    def _look(self, maxevents: int) -> Events:
        poll, now = self._poll, self._now
        found = poll(0, maxevents)
        if found:
            return found
        end = now() + MOST
        while not (found := poll(0, maxevents)):
            if now() >= end:
                self._short = -DOUBT
                break
        return found


def take_turns(reactor: Any, are_idle: Callable[[], bool], turn: Turn) -> None:
    """Have a reactor do so, if it is one of epoll. With one processor it never looks: nobody else could do anything
    meanwhile.

    :param are_idle: whether no thread of ours does anything.
    """
    poller = getattr(reactor, "_poller", None)          # Twisted has no other way in
    if isinstance(poller, select.epoll):
        reactor._poller = Poller(poller, are_idle if len(os.sched_getaffinity(0)) > 1 else lambda: False, turn)
