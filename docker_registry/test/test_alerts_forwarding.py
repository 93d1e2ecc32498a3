"""Several processes and one that mails: what they see together is one kind, one mail, one limit (G2)."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher
from twisted.python import threadable
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.alerts.alerts import Alerts
from docker_registry.alerts.cases import WINDOW
from docker_registry.alerts.forwarding import GATHERED, MOST, Forwarder, read
from docker_registry.alerts.postman import Postman
from docker_registry.alerts.texts import Origin, Text, Texts
from docker_registry.current import Asked as Facts
from docker_registry.logs.redaction import Redactor


class Asked:
    id, method, route, repository, user = "00ff", "GET", "/v2/<name:name>/tags/list", "b\n\ud800", None


class Worker:
    """What one process has of it."""

    def __init__(self, clock: Clock, alerts: Alerts) -> None:
        self.lines: list[bytes] = []
        self._alerts = alerts
        publisher = LogPublisher()
        self.log = Logger("docker_registry.x", observer=publisher)
        texts = Texts(Origin("", "", ""), Redactor(["hunter2"]))
        self.forwarder = Forwarder(clock, texts, self.say)
        self.forwarder.start(publisher)

    def say(self, line: bytes) -> None:
        self.lines.append(line)
        self._alerts.receive(*read(line))

    def broke(self, error: Exception | None = None, asked: Facts | None = None) -> None:
        try:
            raise error or KeyError("hunter2")
        except Exception:
            self.log.failure("failed", request=asked)


class ForwardingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(threadable, "ioThread", threadable.getThreadID())
        self.clock = Clock()
        self.mails: list[Text] = []
        texts = Texts(Origin("r1", "prod", "1.0"), lambda text: text)
        self.alerts = Alerts(
            self.clock, texts, lambda lost: Postman(self.clock, self.deliver, lost), lambda: 1e9 + self.clock.seconds()
        )
        self.alerts.start(LogPublisher())
        self.workers = [Worker(self.clock, self.alerts) for _ in range(4)]

    async def deliver(self, text: Text) -> None:
        self.mails.append(text)

    def test_one_mail_for_all(self) -> None:
        for worker in self.workers:
            for _ in range(50):
                worker.broke()
        self.clock.advance(GATHERED)
        self.assertEqual([len(worker.lines) for worker in self.workers], [1, 1, 1, 1])
        self.assertEqual(len(self.mails), 1)
        self.assertIn("count       1, and 49 more since", self.mails[0].body)
        self.clock.advance(WINDOW - 100)
        self.workers[3].broke()
        self.clock.advance(100 - GATHERED)
        self.workers[2].broke()
        self.clock.advance(GATHERED)
        self.assertIn("count       1, and 151 more since", self.mails[1].body)

    def test_what_lasts(self) -> None:
        """A mail when the first of them says that it has begun, and one when the first says that it is over."""
        for state, says in (("begun", "no answer"), ("over", "it answers")):
            for worker in self.workers:
                worker.log.warn(says, alert="Glance fails", alert_state=state)
                self.clock.advance(GATHERED)
            self.clock.advance(20 * WINDOW)
        begun, over = self.mails
        self.assertEqual(begun.subject, "docker-registry on r1: Glance fails")
        self.assertIn("no answer", begun.body)
        self.assertEqual(over.subject, "docker-registry on r1: recovered from Glance fails")
        self.assertRegex(over.body, r"began +2001-09-09 01:46:40 UTC\nover .*")
        self.assertIn("it answers", over.body)

    def test_ten_mails_are_ten(self) -> None:
        for number in range(20):
            self.workers[number % 4].broke(type(f"E{number}", (Exception,), {})())
        self.clock.advance(GATHERED)
        self.assertEqual(len(self.mails), 10)

    def test_what_is_told(self) -> None:
        """All that a mail says, without a secret, and whatever strangers have put into it."""
        worker = self.workers[0]
        worker.broke(asked=Asked())
        self.clock.advance(GATHERED)
        [line] = worker.lines
        self.assertNotIn(b"\n", line)
        self.assertNotIn(b"hunter2", line)
        [mail] = self.mails
        self.assertIn("request     00ff\nmethod      GET\nroute       /v2/<name:name>/tags/list\n"
                      "repository  b\\n\\ud800\n", mail.body)
        self.assertIn("KeyError: '[redacted]'", mail.body)

    def test_many_kinds(self) -> None:
        """Cost no more than some: the rest is one."""
        worker = self.workers[0]
        for number in range(1000):
            worker.broke(type(f"E{number}", (Exception,), {})("x" * 100_000))
        self.clock.advance(GATHERED)
        self.assertEqual(len(worker.lines), MOST + 1)
        self.assertLess(max(map(len, worker.lines)), 60_000)
        self.assertEqual(read(worker.lines[-1])[1], 1000 - MOST)

    def test_stop(self) -> None:
        """Tells what there was, and no more."""
        worker = self.workers[0]
        worker.broke()
        stopping = Deferred.fromCoroutine(worker.forwarder.stop())
        worker.broke()
        self.assertEqual(len(worker.lines), 1)
        self.clock.advance(GATHERED)
        self.successResultOf(stopping)
        self.assertEqual(len(worker.lines), 1)
