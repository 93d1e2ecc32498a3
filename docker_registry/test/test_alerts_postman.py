"""Mails wait in a bounded queue, go one at a time, and again later (G1, G4); all by a clock that is moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogPublisher, formatEvent, globalLogPublisher
from twisted.python import threadable
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.alerts.alerts import LAST_POST, SWEEP, Alerts
from docker_registry.alerts.cases import WINDOW, Untold
from docker_registry.alerts.faults import Kind
from docker_registry.alerts.postman import MOST, OLDEST, PAUSES, Mail, Postman
from docker_registry.alerts.smtp import NotSent
from docker_registry.alerts.texts import Origin, Text, Texts

KIND = Kind("OSError", "x.py:1 f", "")


class Server:
    """Stands for one: takes mails, or is broken, or leaves one waiting.

    :ivar taken: what arrived.
    """

    def __init__(self) -> None:
        self.taken: list[Text] = []
        self.attempts = self.at_once = self.most_at_once = 0
        self.error: Exception | None = None
        self.pending: Deferred[None] | None = None

    async def deliver(self, text: Text) -> None:
        self.attempts += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await (self.pending or succeed(None))
            if self.error is not None:
                raise self.error
            self.taken.append(text)
        finally:
            self.at_once -= 1


def mail(name: str = "x", at: float = 0.0) -> Mail:
    return Mail(Text(name, ""), [Untold(KIND, 1, 0.0, 0.0)], at)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.server = Server()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def said(self, level: str) -> list[str]:
        return [formatEvent(event) for event in self.events
                if event["log_level"].name == level and event["log_namespace"].startswith("docker_registry.alerts")]

    def now(self, work: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(work)


class PostmanTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.lost: list[Mail] = []
        self.counted: Counter[str] = Counter()
        self.postman = Postman(self.clock, self.server.deliver, self.lost.append, self.count)

    def count(self, outcome: str) -> None:
        self.counted[outcome] += 1

    def test_sent_at_once(self) -> None:
        self.postman.post(mail("a"))
        self.postman.post(mail("b"))
        self.assertEqual([text.subject for text in self.server.taken], ["a", "b"])
        self.assertEqual((self.counted, self.postman.waiting), ({"sent": 2}, 0))

    def test_one_at_a_time(self) -> None:
        self.server.pending = Deferred()
        for _ in range(5):
            self.postman.post(mail())
        self.assertEqual(self.server.attempts, 1)
        self.server.pending.callback(None)
        self.assertEqual((len(self.server.taken), self.server.most_at_once), (5, 1))

    def test_again_later(self) -> None:
        """Less and less often, said once, and once when it is over."""
        self.server.error = NotSent("the server answered 421")
        self.postman.post(mail())
        for count, pause in enumerate([*PAUSES, PAUSES[-1]], 1):
            self.assertEqual(self.server.attempts, count)
            self.clock.advance(pause - 1)
            self.assertEqual(self.server.attempts, count)
            self.clock.advance(1)
        self.server.error = None
        self.clock.advance(PAUSES[-1])
        self.assertEqual(len(self.server.taken), 1)
        self.assertEqual(self.said("error"), [
            "mail on exceptions cannot be sent: the server answered 421 (1 waiting); "
            "docker-registry mail-test tells more",
        ])
        self.assertEqual(self.said("info"), ["mail on exceptions is sent again"])
        self.assertEqual(self.counted, {"failed": len(PAUSES) + 2, "sent": 1})

    def test_never_taken(self) -> None:
        """A server that will not have this mail has the next."""
        self.server.error = NotSent("550", final=True)
        self.postman.post(mail("a"))
        self.assertEqual([each.text.subject for each in self.lost], ["a"])
        self.server.error = None
        self.postman.post(mail("b"))
        self.assertEqual([text.subject for text in self.server.taken], ["b"])

    def test_no_news(self) -> None:
        self.server.error = NotSent("refused")
        self.postman.post(mail())
        for _ in range(int(OLDEST / PAUSES[-1]) + 3):
            self.clock.advance(PAUSES[-1])
        self.assertEqual((len(self.lost), self.postman.waiting), (1, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_full(self) -> None:
        self.server.error = NotSent("refused")
        for number in range(MOST + 3):
            self.postman.post(mail(str(number)))
        self.assertEqual([each.text.subject for each in self.lost], ["100", "101", "102"])
        self.assertEqual((self.postman.waiting, self.server.attempts), (MOST, 1))
        self.assertEqual(self.counted, {"dropped": 3, "failed": 1})
        self.server.error = None
        self.clock.advance(PAUSES[0])
        self.assertEqual(len(self.server.taken), MOST)

    def test_broken_mail(self) -> None:
        """One that cannot even be written does not hold up the others, nor is it reported each time."""
        self.server.error = ZeroDivisionError()
        self.postman.post(mail())
        self.postman.post(mail())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.server.error = None
        self.postman.post(mail())
        self.assertEqual((len(self.server.taken), len(self.lost)), (1, 2))

    def test_close_when_idle(self) -> None:
        self.successResultOf(self.now(self.postman.close(5)))

    def test_close_tries_once_more(self) -> None:
        """At once, whatever pause there is."""
        self.server.error = NotSent("refused")
        self.postman.post(mail())
        self.server.error = None
        self.successResultOf(self.now(self.postman.close(5)))
        self.assertEqual(len(self.server.taken), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_drops_what_fails(self) -> None:
        self.server.error = NotSent("refused")
        self.postman.post(mail())
        self.postman.post(mail())
        self.successResultOf(self.now(self.postman.close(5)))
        self.assertEqual(self.said("warn"), ["the registry stops: 2 mails on exceptions were not sent"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close_waits_no_longer(self) -> None:
        cancelled: list[object] = []
        self.server.pending = Deferred(cancelled.append)
        self.postman.post(mail())
        closing = self.now(self.postman.close(5))
        self.clock.advance(4.9)
        self.assertNoResult(closing)
        self.clock.advance(0.1)
        self.successResultOf(closing)
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.said("warn"), ["the registry stops: 1 mails on exceptions were not sent"])


class AlertsTests(Case):
    """The observer with everything behind it but a real server."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(threadable, "ioThread", threadable.getThreadID())
        texts = Texts(Origin("r1", "prod", "1.0"), lambda text: text)
        self.alerts = Alerts(self.clock, texts, self.postman, lambda: 1e9 + self.clock.seconds())
        self.publisher = LogPublisher()
        self.alerts.start(self.publisher)
        self.log = Logger("docker_registry.x", observer=self.publisher)

    def postman(self, lost: Callable[[Mail], None]) -> Postman:
        return Postman(self.clock, self.server.deliver, lost)

    def broke(self, error: Exception | None = None, times: int = 1) -> None:
        for _ in range(times):
            try:
                raise error or KeyError("x")
            except Exception:
                self.log.failure("failed")

    def subjects(self) -> list[str]:
        return [text.subject.partition(": ")[2] for text in self.server.taken]

    def test_storm(self) -> None:
        """Two hundred in a second: one mail; more of them with the next."""
        self.broke(times=200)
        self.clock.advance(WINDOW / 2)
        self.broke()
        self.clock.advance(WINDOW / 2)
        self.broke()
        self.assertEqual(self.subjects(), ["KeyError", "KeyError"])
        self.assertIn("count       1, and 200 more since 2001-09-09 01:46:40 UTC\n", self.server.taken[1].body)

    def test_recovered(self) -> None:
        self.broke(times=3)
        self.clock.pump([SWEEP] * 11)
        self.assertEqual(self.subjects(), ["KeyError", "recovered from KeyError"])
        self.assertRegex(self.server.taken[1].body, r"KeyError at test/test_alerts_postman.py:\d+ broke: 2 more since")

    def test_last_mail_says_so(self) -> None:
        for number in range(20):
            self.broke(type(f"E{number}", (Exception,), {})())
        self.assertEqual(len(self.server.taken), 10)
        self.assertNotIn("This is the last mail", self.server.taken[8].body)
        self.assertIn("This is the last mail", self.server.taken[9].body)

    def test_counts_survive_a_full_queue(self) -> None:
        """What a mail told that never left is told by the next one."""
        self.server.error = NotSent("550", final=True)
        self.broke()
        self.server.error = None
        self.clock.advance(1)
        self.broke()
        self.assertIn("count       1, and 1 more since 2001-09-09 01:46:40 UTC\n", self.server.taken[0].body)
        self.assertIn("1 mails before this one could not be sent.", self.server.taken[0].body)

    def test_limit_survives_a_full_queue(self) -> None:
        self.server.error = NotSent("550", final=True)
        self.broke(times=50)
        self.assertEqual(self.server.attempts, 10)

    def test_failing_mail_is_not_mailed(self) -> None:
        globalLogPublisher.addObserver(self.alerts)
        self.addCleanup(globalLogPublisher.removeObserver, self.alerts)
        self.server.error = NotSent("refused")
        self.broke()
        self.server.error = ZeroDivisionError()
        self.clock.advance(PAUSES[0])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((self.server.attempts, self.alerts.postman.waiting), (2, 0))

    def test_observer_that_fails(self) -> None:
        """Is reported once, and never to whoever logs."""

        class Bad(Failure):
            frames = property(lambda self: 1 // 0)

        for _ in range(3):
            self.log.failure("failed", Bad(KeyError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_other_threads(self) -> None:
        """Hand over to the reactor's."""
        handed: list[Any] = []
        self.clock.callFromThread = lambda *call: handed.append(call)       # type: ignore[attr-defined]
        self.patch(threadable, "ioThread", -1)
        self.broke()
        self.assertEqual(self.server.attempts, 0)
        [(call, fault)] = handed
        call(fault)
        self.assertEqual(self.subjects(), ["KeyError"])

    def test_stop(self) -> None:
        """Nothing is observed any more; what waits has five seconds."""
        self.server.pending = Deferred()
        self.broke()
        stopping = self.now(self.alerts.stop())
        self.broke(OSError())
        self.clock.advance(LAST_POST)
        self.successResultOf(stopping)
        self.assertEqual(self.server.attempts, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
