"""The log observer that mails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, LogEvent, Logger, LogPublisher, globalLogPublisher
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from docker_registry.alerts.cases import HOURLY, Cases, Untold
from docker_registry.alerts.faults import Fault, Finding, Kind, State, fault
from docker_registry.alerts.message import Envelope, message
from docker_registry.alerts.postman import Mail, Postman
from docker_registry.alerts.smtp import Server, deliver
from docker_registry.alerts.texts import Text, Texts

SWEEP = 60.0
"""Seconds between two looks for what is over."""

LAST_POST = 5.0
"""Seconds that mails have when the registry stops."""


@implementer(ILogObserver)
class Observer:
    """Looks at every event, in whatever thread it is logged, and never holds up the code that logs it.

    :param clock: a reactor, for its clock and to come back to from other threads.
    """

    log = Logger()

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._publishers: list[LogPublisher] = []
        self._is_broken = False

    def start(self, publisher: LogPublisher = globalLogPublisher) -> None:
        """Begin to observe."""
        publisher.addObserver(self)
        self._publishers.append(publisher)

    async def stop(self) -> None:
        """Take no more events."""
        while self._publishers:
            self._publishers.pop().removeObserver(self)

    def __call__(self, event: LogEvent) -> None:
        try:
            found = fault(event)
            if found is None:
                return
            if isInIOThread():
                self._take(found)
            else:
                self._clock.callFromThread(self._take, found)
        except Exception:
            self._broke()

    def _take(self, found: Fault) -> None:
        """In the reactor's thread."""
        try:
            self.took(found)
        except Exception:
            self._broke()

    def took(self, found: Fault) -> None:
        """What is to be done about a fault."""
        raise NotImplementedError

    def _broke(self) -> None:
        """Said once: it would be said at every exception."""
        if not self._is_broken:
            self._is_broken = True
            self.log.failure("mail on exceptions is broken")


class Alerts(Observer):
    """Mails what it observes, and what other processes of the daemon have found.

    :param postman: makes the one that has the mails; it is given what to do with those that are lost.
    :param now: seconds since the epoch, by the wall clock.
    :param hourly: see `Cases`.
    """

    def __init__(
        self,
        clock: Any,
        texts: Texts,
        postman: Callable[[Callable[[Mail], None]], Postman],
        now: Callable[[], float],
        hourly: int = HOURLY,
    ) -> None:
        super().__init__(clock)
        self._texts = texts
        self._now = now
        self._cases = Cases(hourly)
        self._lost = 0
        self._sweep = LoopingCall(self._look)
        self._sweep.clock = clock
        self.postman = postman(self._was_lost)

    def start(self, publisher: LogPublisher = globalLogPublisher) -> None:
        super().start(publisher)
        self._sweep.start(SWEEP, now=False)

    async def stop(self) -> None:
        """Take no more events, and let what waits go out."""
        await super().stop()
        if self._sweep.running:
            self._sweep.stop()
        await self.postman.close(LAST_POST)

    def took(self, found: Fault) -> None:
        self._tell(found.kind, found.state, lambda: self._texts.finding(found), 1)

    def receive(self, found: Finding, count: int) -> None:
        """Another process has seen so many of a kind, of which this is one."""
        self._tell(found.kind, found.state, lambda: found, count)

    def _tell(self, kind: Kind, state: State, find: Callable[[], Finding], count: int) -> None:
        now = self._clock.seconds()
        if state is State.OVER:
            lasted = self._cases.over(kind, now)
            if lasted is not None:
                text = self._texts.of_over(find(), lasted, self._now() - now, self._notes(now))
                self.postman.post(Mail(text, [lasted], now))
            return
        others = (self._cases.saw if state is State.NONE else self._cases.begun)(kind, now, count)
        if others is not None:
            text = self._texts.of_finding(find(), others, self._now() - now, self._notes(now))
            told = Untold(kind, others.count + 1, others.since if others.count else now, now)
            self.postman.post(Mail(text, [told], now))

    def _look(self) -> None:
        """Tell what there is no more of."""
        try:
            now = self._clock.seconds()
            if ended := self._cases.ended(now):
                self.postman.post(Mail(self._texts.of_end(ended, self._now() - now, self._notes(now)), ended, now))
        except Exception:
            self._broke()

    def _notes(self, now: float) -> list[str]:
        """What else an operator has to know to read a mail rightly."""
        notes = []
        lost, self._lost = self._lost, 0
        if lost:
            notes.append(f"{lost} mails before this one could not be sent.")
        if count := self._cases.forgotten():
            notes.append(f"{count} faults of other kinds were not mailed: there were too many kinds.")
        if self._cases.is_last_mail(now):
            notes.append("This is the last mail for a while: there were as many as may be sent in an hour. "
                         "More faults are counted, and told later; the log has them all.")
        return notes

    def _was_lost(self, mail: Mail) -> None:
        self._lost += 1
        for each in mail.tells:
            self._cases.untell(each)


def mailed(
    reactor: Any, server: Server, envelope: Envelope, texts: Texts, now: Callable[[], float],
    counted: Callable[[str], None] = lambda outcome: None,
) -> Alerts:
    """Alerts that really go out.

    :param counted: see `Postman`.
    """

    async def send(text: Text) -> None:
        await deliver(reactor, server, envelope, message(text, envelope))

    return Alerts(reactor, texts, lambda lost: Postman(reactor, send, lost, counted), now)
