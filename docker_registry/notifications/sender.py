"""Sends the events of one endpoint, in their order, again and again until it takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger

from docker_registry.errors import StoreUnavailable
from docker_registry.notifications.outbox import Entry, Outbox
from docker_registry.notifications.wire import MEDIA_TYPE, Written, envelope
from docker_registry.registry.database import DatabaseFailed
from docker_registry.storage.http import Answer, Http

BATCH = 50
"""Events in one request."""

BATCH_BYTES = 1 << 20

POLL = 1.0
"""Seconds between two looks for what other processes have written."""

LOOK = 2.0
"""Seconds after which what waits is counted, whatever it waits for."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """:ivar headers: sent along.
    :ivar timeout: seconds until it must have answered.
    :ivar threshold: failures in a row after which each attempt waits for ``backoff`` seconds.
    :ivar ignored: actions and media types that it does not want.
    """

    name: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    timeout: float
    threshold: int
    backoff: float
    ignored: frozenset[str]

    def wants(self, event: Written) -> bool:
        return event.action not in self.ignored and event.media_type not in self.ignored


class Sender:
    """:param counted: told of ``Successes``, events that were taken, and ``Failures``, attempts that failed.
    :ivar waiting: events at the last look.
    """

    log = Logger()

    def __init__(
        self, clock: Any, http: Http, outbox: Outbox, endpoint: Endpoint, counted: Callable[[str, int], None]
    ) -> None:
        self._clock = clock
        self._http = http
        self._outbox = outbox
        self._endpoint = endpoint
        self._counted = counted
        self._failed = 0                            # attempts in a row
        self._rest: Deferred[None] | None = None
        self._alarm: IDelayedCall | None = None
        self._is_idle = False
        self.waiting = 0

    async def run(self) -> None:
        """Goes on until it is cancelled."""
        while True:
            try:
                entries = await self._outbox.first(self._endpoint.name, BATCH, BATCH_BYTES)
                if not entries:
                    await self._wait(POLL, idle=True)
                elif (reason := await self._post(entries)) is None:
                    self.waiting = await self._outbox.remove(entries)
                    self._succeeded(len(entries))
                else:
                    await self._wait(self._fail(reason))
            except DatabaseFailed as error:
                await self._wait(self._fail(str(error)))

    async def look(self) -> None:
        """Goes on until it is cancelled, beside `run`: an attempt and the rest after it may take long."""
        while True:
            try:
                self.waiting = await self._outbox.count(self._endpoint.name)
            except DatabaseFailed as error:
                self.log.debug("webhook {name}: what waits is not known: {error}",
                               name=self._endpoint.name, error=str(error))
            await deferLater(self._clock, LOOK)

    def wake(self) -> None:
        """There is something new; who waits because of failures waits on."""
        if self._is_idle:
            self._go_on()

    async def _post(self, entries: list[Entry]) -> str | None:
        """Why the endpoint has not taken them; ``None`` if it has."""
        headers = {"Content-Type": MEDIA_TYPE, "User-Agent": "docker-registry", **self._endpoint.headers}
        body = [envelope([each.text for each in entries])]
        try:
            answer = await self._http.request(
                "POST", self._endpoint.url, headers, body, seconds=self._endpoint.timeout
            )
        except StoreUnavailable as error:
            return str(error)
        await self._let_go(answer)
        return None if 200 <= answer.status < 300 else f"it answered {answer.status}"

    async def _let_go(self, answer: Answer) -> None:
        """What else it says does not matter, so it has no longer for that than for its answer."""
        try:
            await Deferred.fromCoroutine(answer.discard()).addTimeout(self._endpoint.timeout, self._clock)
        except TimeoutError:
            self.log.debug("webhook {name}: the answer has no end", name=self._endpoint.name)
        finally:
            answer.close()

    def _succeeded(self, count: int) -> None:
        self._counted("Successes", count)
        if self._failed:
            self._failed = 0
            self.log.info("webhook {name}: events are taken again", name=self._endpoint.name)

    def _fail(self, reason: str) -> float:
        """:returns: seconds until the next attempt."""
        self._counted("Failures", 1)
        self._failed += 1
        say = self.log.warn if self._failed == 1 else self.log.debug
        say("webhook {name}: events are not taken: {reason}; they wait", name=self._endpoint.name, reason=reason)
        patience = 2.0 ** min(self._failed - 1, 20) if self._failed < self._endpoint.threshold else float("inf")
        return min(patience, self._endpoint.backoff)

    async def _wait(self, seconds: float, idle: bool = False) -> None:
        self._is_idle = idle
        self._rest = Deferred()
        self._alarm = self._clock.callLater(seconds, self._go_on)
        try:
            await self._rest
        finally:
            self._is_idle = False
            if self._alarm.active():
                self._alarm.cancel()

    def _go_on(self) -> None:
        rest, self._rest = self._rest, None
        if rest is not None and not rest.called:
            rest.callback(None)
