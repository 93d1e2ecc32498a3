"""Mails that wait to be sent: a bounded number, one at a time, again later when a server does not take one (G1, G4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from docker_registry.alerts.cases import Untold
from docker_registry.alerts.smtp import NotSent
from docker_registry.alerts.texts import Text

MOST = 100
"""Mails that wait."""

PAUSES = (30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Seconds before another attempt, by the number of failures in a row; the last holds for all that follow."""

OLDEST = 86400.0
"""Seconds after which a mail is no news."""


@dataclass(frozen=True, slots=True)
class Mail:
    """:ivar tells: the faults that it is about, to be told again if it is lost."""

    text: Text
    tells: Sequence[Untold]
    written: float


class Postman:
    """:param deliver: fails with `NotSent`.
    :param lost: told of each mail that will never arrive.
    :param counted: told ``sent`` of each mail that a server took, ``failed`` of each attempt that failed, and
        ``dropped`` of each mail that is lost.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        deliver: Callable[[Text], Coroutine[Deferred[Any], Any, None]],
        lost: Callable[[Mail], None],
        counted: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self._clock = clock
        self._deliver = deliver
        self._lost = lost
        self._counted = counted
        self._queue: deque[Mail] = deque()
        self._failed = 0                            # attempts in a row
        self._working: Deferred[None] | None = None
        self._pause: Deferred[None] | None = None
        self._alarm: IDelayedCall | None = None
        self._closing = self._is_broken = False

    @property
    def waiting(self) -> int:
        """Mails that are not sent yet."""
        return len(self._queue)

    def post(self, mail: Mail) -> None:
        """Send it as soon as possible; when too many wait already it is lost."""
        if len(self._queue) >= MOST:
            self._drop(mail)
            return
        self._queue.append(mail)
        if self._working is None or self._working.called:
            self._working = Deferred.fromCoroutine(self._work())
            self._working.addErrback(lambda reason: reason.trap(CancelledError) and None)

    async def close(self, patience: float) -> None:
        """Try what waits once more, for so many seconds; the rest is dropped."""
        self._closing = True
        self._wake()
        if self._working is not None:
            with suppress(TimeoutError, CancelledError):
                await self._working.addTimeout(patience, self._clock)
        if self._queue:
            self.log.warn("the registry stops: {count} mails on exceptions were not sent", count=len(self._queue))
            self._queue.clear()

    async def _work(self) -> None:
        while self._queue:
            mail = self._queue[0]
            try:
                await self._deliver(mail.text)
            except NotSent as error:
                self._complain(error)
                if error.final or self._clock.seconds() - mail.written > OLDEST:
                    self._drop(self._queue.popleft())
                elif self._closing:
                    break
                else:
                    await self._rest()
            except CancelledError:
                raise
            except Exception:
                if not self._is_broken:
                    self._is_broken = True
                    self.log.failure("a mail on an exception could not be written")
                self._counted("failed")
                self._drop(self._queue.popleft())
            else:
                self._queue.popleft()
                self._rejoice()

    def _complain(self, error: NotSent) -> None:
        """Once, until mail works again."""
        self._counted("failed")
        self._failed += 1
        say = self.log.error if self._failed == 1 else self.log.debug
        say("mail on exceptions cannot be sent: {reason} ({count} waiting); docker-registry mail-test tells more",
            reason=str(error), count=len(self._queue))

    def _rejoice(self) -> None:
        self._counted("sent")
        if self._failed:
            self._failed = 0
            self.log.info("mail on exceptions is sent again")

    async def _rest(self) -> None:
        self._pause = Deferred()
        self._alarm = self._clock.callLater(PAUSES[min(self._failed, len(PAUSES)) - 1], self._wake)
        await self._pause

    def _wake(self) -> None:
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        pause, self._pause = self._pause, None
        if pause is not None:
            pause.callback(None)

    def _drop(self, mail: Mail) -> None:
        self._counted("dropped")
        self._lost(mail)
