"""Hears what happens in the registry, and has it told to the endpoints."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from docker_registry.deferreds import outcomes
from docker_registry.notifications.outbox import Entry, Outbox
from docker_registry.notifications.sender import Endpoint, Sender
from docker_registry.notifications.wire import Facts, Source, facts, write
from docker_registry.registry.database import DatabaseFailed
from docker_registry.registry.events import Event
from docker_registry.storage.http import Http
from docker_registry.threads import Runner

GATHERED = 0.1
"""Seconds in which events are gathered before they are written. What a ``kill -9`` loses is what is younger."""

MOST = 10_000
"""Events in memory, when they cannot be written; the oldest go."""

TURN = 5.0
"""Seconds between two attempts to become the process that sends, and after a disk that failed."""


class Notifications:
    """:param clock: a reactor.
    :param now: seconds since the epoch, by the wall clock.
    :param references: see `write`.
    :param counted: told how many ``Events`` were written for endpoints, what the senders say of them, and how many were
        ``Dropped``.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        runner: Runner,
        http: Http,
        outbox: Outbox,
        endpoints: Sequence[Endpoint],
        source: Source,
        now: Callable[[], float],
        references: bool = False,
        counted: Callable[[str, int], None] = lambda what, count: None,
    ) -> None:
        self._clock = clock
        self._runner = runner
        self._http = http
        self._outbox = outbox
        self._endpoints = endpoints
        self._source = source
        self._now = now
        self._references = references
        self._heard: deque[tuple[Event, Facts]] = deque()
        self._soon: IDelayedCall | None = None
        self._writing: Deferred[None] | None = None
        self._serving: Deferred[None] | None = None
        self._is_full = self._is_stuck = self._stopping = False
        self._counted = counted
        self._senders = [Sender(clock, http, outbox, endpoint, counted) for endpoint in endpoints]

    @property
    def hears_pulls(self) -> bool:
        """Whether any endpoint wants to know of pulls."""
        return any("pull" not in endpoint.ignored for endpoint in self._endpoints)

    @property
    def waiting(self) -> int:
        """Events that are still to be sent, if it is this process that sends."""
        return sum(sender.waiting for sender in self._senders)

    def start(self) -> None:
        """Begin to send what is left from the last time."""
        self._serving = Deferred.fromCoroutine(self._serve())
        self._serving.addErrback(self._ended)

    def _ended(self, reason: Any) -> None:
        if reason.check(CancelledError) is None:
            self.log.failure("webhooks are broken", reason)

    async def hear(self, event: Event) -> None:
        """Note what happened; it is written in a moment, and the request does not wait for that."""
        self._heard.append((event, facts(self._now())))
        self._trim()
        if self._soon is None and self._writing is None:
            self._soon = self._clock.callLater(GATHERED, self._write)

    async def stop(self) -> None:
        """Write what was heard. What is not sent is sent after the next start."""
        self._stopping = True
        if self._soon is not None:
            self._soon.cancel()
            self._write()
        if self._writing is not None:
            await outcomes(self._writing)
        if self._serving is not None:
            self._serving.cancel()
            await outcomes(self._serving)
        if self._heard:
            self.log.error("webhooks: {count} events could not be written, and are lost", count=len(self._heard))
        await self._outbox.close()
        await self._http.close()

    # Writing

    def _write(self) -> None:
        self._soon = None
        writing = self._writing = Deferred.fromCoroutine(self._write_all())
        writing.addErrback(lambda reason: self.log.failure("webhooks: events are lost", reason))
        writing.addBoth(self._written)

    def _written(self, _: object) -> None:
        self._writing = None
        if self._heard and not self._stopping:          # the disk failed
            self._soon = self._clock.callLater(TURN, self._write)

    async def _write_all(self) -> None:
        while self._heard:
            heard, self._heard = self._heard, deque()
            entries = await self._runner.slow(self._entries, heard)
            try:
                gone = await self._outbox.add(entries) if entries else {}
            except DatabaseFailed as error:
                say = self.log.debug if self._is_stuck else self.log.warn
                say("webhooks: events cannot be written: {error}; they wait in memory", error=str(error))
                self._is_stuck = True
                self._heard.extendleft(reversed(heard))
                self._trim()
                return
            if self._is_stuck:
                self.log.info("webhooks: events are written again")
            self._is_stuck = False
            self._counted("Events", len(entries))
            self._drop(sum(gone.values()), ", ".join(gone))
            for sender in self._senders:
                sender.wake()

    def _entries(self, heard: Iterable[tuple[Event, Facts]]) -> list[Entry]:
        """In a thread: JSON takes its time."""
        return [
            Entry(endpoint.name, written.text)
            for event, known in heard
            for written in write(event, known, self._source, self._references)
            for endpoint in self._endpoints if endpoint.wants(written)
        ]

    def _trim(self) -> None:
        excess = len(self._heard) - MOST
        for _ in range(excess):
            self._heard.popleft()
        if excess > 0:
            self._drop(excess)

    def _drop(self, count: int, names: str = "") -> None:
        """Said once, until there is room again."""
        self._counted("Dropped", count)
        if count and not self._is_full:
            self.log.warn("webhooks {names}: the oldest events are dropped, more wait than may", names=names)
        self._is_full = count > 0

    # Sending

    async def _serve(self) -> None:
        lock = await self._turn()
        works = [work for sender in self._senders for work in (sender.run, sender.look)]
        sending = [Deferred.fromCoroutine(work()).addErrback(self._ended) for work in works]
        try:
            await outcomes(*sending)
        finally:
            for each in sending:
                each.cancel()
            _release(lock)

    async def _turn(self) -> int:
        """Wait until no other process of the daemon sends."""
        is_stuck = False
        while True:
            try:
                lock = await self._take()
            except DatabaseFailed as error:
                say = self.log.debug if is_stuck else self.log.warn
                say("webhooks: nothing can be sent: {error}", error=str(error))
                is_stuck = True
            else:
                if is_stuck:
                    self.log.info("webhooks: events can be sent again")
                is_stuck = False
                if lock is not None:
                    return lock
            waiting: Deferred[None] = Deferred()
            alarm = self._clock.callLater(TURN, waiting.callback, None)
            try:
                await waiting
            finally:
                if alarm.active():
                    alarm.cancel()

    async def _take(self) -> int | None:
        """:returns: as `Outbox.take`.
        :raises DatabaseFailed: this process does not send.
        """
        lock = await self._outbox.take()
        if lock is not None:
            try:
                await self._outbox.keep_only([endpoint.name for endpoint in self._endpoints])
            except BaseException:
                _release(lock)
                raise
        return lock


def _release(lock: int) -> None:
    if lock >= 0:
        os.close(lock)
