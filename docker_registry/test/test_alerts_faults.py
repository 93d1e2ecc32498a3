"""What becomes mail and what does not (G3, T48)."""

from __future__ import annotations

from typing import Any

from klein import Klein
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, Logger, LogLevel, globalLogPublisher
from twisted.python import log
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site

from docker_registry import current
from docker_registry.alerts.faults import Fault, Kind, fault
from docker_registry.deferreds import Shield
from docker_registry.errors import (
    DigestMismatch,
    ManifestBlobUnknown,
    ManifestUnknown,
    SourceGone,
    StorageFailed,
    TooManyUploads,
)
from docker_registry.names import Tag
from docker_registry.storage import layout
from docker_registry.test.registry_case import LATEST, REPOSITORY, RegistryCase


class Asked:
    id, method, route, repository, user = "00ff", "GET", "/v2/<name:name>/tags/list", "library/busybox", None


class Broken:
    log = Logger("docker_registry.registry.blobs")

    def fail(self, error: Exception, **fields: Any) -> None:
        try:
            raise error
        except Exception:
            self.log.failure("{what} failed", what="it", **fields)


def failure(error: BaseException) -> Failure:
    """With a frame of ours."""
    try:
        raise error
    except BaseException:
        return Failure()


class FaultCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.addCleanup(self.flushLoggedErrors)

    def faults(self) -> list[Fault]:
        events, self.events[:] = list(self.events), []
        return [found for event in events if (found := fault(event)) is not None]


class OursTests(FaultCase):
    def test_logged_by_us(self) -> None:
        Broken().fail(ZeroDivisionError("x"), request=Asked())
        [found] = self.faults()
        self.assertEqual(found.kind.name, "ZeroDivisionError")
        self.assertRegex(found.kind.place, r"^test/test_alerts_faults.py:\d+ fail$")
        self.assertEqual(found.kind.route, "/v2/<name:name>/tags/list")
        assert found.asked is not None
        self.assertEqual(found.asked.id, "00ff")

    def test_without_a_frame_of_ours(self) -> None:
        """What we log is ours, wherever it comes from."""
        Broken.log.failure("it failed", Failure(KeyError("from elsewhere")))
        [found] = self.faults()
        self.assertEqual((found.kind.name, found.kind.place), ("KeyError", ""))

    def test_same_kind(self) -> None:
        """Class, innermost frame of ours, route; nothing else of it."""
        for error, asked in ((KeyError("a"), None), (KeyError("b"), None), (KeyError("a"), Asked()), (OSError(), None)):
            Broken().fail(error, request=asked)
        kinds = [found.kind for found in self.faults()]
        self.assertEqual(kinds[0], kinds[1])
        self.assertEqual(len(set(kinds)), 3)

    def test_class_of_a_module(self) -> None:
        Broken().fail(StorageFailed("x"))
        self.assertEqual(self.faults()[0].kind.name, "docker_registry.errors.StorageFailed")

    def test_request_of_the_context(self) -> None:
        token = current.request.set(Asked())
        self.addCleanup(current.request.reset, token)
        Broken().fail(KeyError())
        self.assertEqual(self.faults()[0].kind.route, Asked.route)

    def test_unhandled_in_a_deferred(self) -> None:
        """Twisted logs it when the Deferred is collected: by then another request may be at work."""
        token = current.request.set(Asked())
        self.addCleanup(current.request.reset, token)
        fail(failure(KeyError("lost")))
        [found] = self.faults()
        self.assertEqual((found.kind.name, found.kind.route, found.asked), ("KeyError", "", None))
        self.assertIn(" failure", found.kind.place)

    def test_caught_by_the_reactor(self) -> None:
        Logger("twisted.internet.base").failure("while handling timed call", failure(KeyError()))
        log.err(failure(KeyError()))
        self.assertEqual([found.kind.name for found in self.faults()], ["KeyError", "KeyError"])

    def test_shielded_work(self) -> None:
        """Fails after its client has gone: still a fault, unless it is what the client did."""
        for error, expected in (
            (KeyError(), 1), (StorageFailed(), 1), (SourceGone(), 0), (ManifestBlobUnknown([]), 0),
            (DigestMismatch(), 0), (ManifestUnknown(), 0), (TooManyUploads(), 0),
        ):
            gate: Deferred[None] = Deferred()

            async def work(gate: Deferred[None] = gate) -> None:
                await gate

            waiting = Shield()(work())
            waiting.addErrback(lambda _: None)
            waiting.cancel()
            gate.errback(failure(error))
            self.assertEqual(len([event for event in self.events if "log_failure" in event]), expected)
            self.assertEqual(len(self.faults()), expected)

    def test_alert(self) -> None:
        """What is no exception and says that it is mail's business; one kind, whatever it is about."""
        logger = Logger("docker_registry.web.application")
        logger.warn("{key}: no space left", key="a", alert="storage full")
        logger.info("{key}: no space left", key="b", alert="storage full")
        first, second = self.faults()
        self.assertEqual(first.kind, second.kind)
        self.assertEqual(first.kind, Kind("storage full", "", ""))
        self.assertEqual((first.text, first.failure), ("a: no space left", None))


class DamageTests(FaultCase, RegistryCase):
    def setUp(self) -> None:
        FaultCase.setUp(self)
        RegistryCase.setUp(self)

    def test_damaged_content(self) -> None:
        """What was stored and cannot be read is mailed, as one kind; that a client asks for what never was is not."""
        content = self.image(b"layer")
        digest = self.push(content, LATEST)
        self.fails(self.registry.manifests.get(REPOSITORY, Tag("none")), ManifestUnknown)
        self.assertEqual(self.faults(), [])
        self.now(self.put(layout.blob(digest), b"{}"))
        self.fails(self.open().manifests.get(REPOSITORY, LATEST), ManifestUnknown)
        self.now(self.put(layout.tag_link(REPOSITORY, LATEST), b"no digest"))
        self.fails(self.open().manifests.get(REPOSITORY, LATEST), ManifestUnknown)
        self.assertEqual([found.kind for found in self.faults()], [Kind("damaged content", "", "")] * 2)

    async def put(self, key: str, content: bytes) -> None:
        await self.storage.put(key, content)


class NobodysTests(FaultCase):
    def test_clients_that_go(self) -> None:
        errors = CancelledError(), ConnectionDone(), ConnectionLost(), SourceGone(), SSL.Error(), DigestMismatch()
        for error in errors:
            Broken().fail(error)
        self.assertEqual(len(self.events), len(errors))
        self.assertEqual(self.faults(), [])

    def test_less_than_an_error(self) -> None:
        logger = Logger("docker_registry.registry.blobs")
        logger.error("{key} is damaged", key="x")
        logger.failure("expected", failure(KeyError()), level=LogLevel.warn)
        self.assertEqual(self.faults(), [])

    def test_what_others_log(self) -> None:
        """Without a frame of ours; and what others call an alert."""
        Logger("twisted.web.http").failure("odd", Failure(ValueError("from a stranger")))
        Logger("twisted.web.http").warn("odd", alert="storage full")
        self.assertEqual(len(self.events), 2)
        self.assertEqual(self.faults(), [])

    def test_mail(self) -> None:
        Logger("docker_registry.alerts.postman").failure("not sent", failure(KeyError()))
        Logger("docker_registry.alerts.postman").error("not sent", alert="mail")
        self.assertEqual(len(self.events), 2)
        self.assertEqual(self.faults(), [])

    def test_requests_of_scanners_to_stock_servers(self) -> None:
        """Klein logs an error for paths and hosts that are not UTF-8."""
        site = Site(Klein().resource(), reactor=Clock())
        for request in (
            b"GET /%ff HTTP/1.1\r\nHost: r\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
        ):
            protocol = site.buildProtocol(None)
            protocol.makeConnection(StringTransport())
            protocol.dataReceived(request)
            protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual([event["log_level"] for event in self.events], [LogLevel.critical] * 2)
        self.assertEqual(self.faults(), [])
