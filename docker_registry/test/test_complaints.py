"""What the log says of a store that complains, and what of anything else."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from docker_registry import errors
from docker_registry.complaints import log_failed
from docker_registry.deferreds import Shield
from docker_registry.storage.glance.errors import Conflict, Deactivated
from docker_registry.storage.objects.store import Refused
from docker_registry.storage.s3.errors import NoKeys
from docker_registry.storage.swift.errors import NoRights
from docker_registry.storage.tokens import LoginRefused


class ComplaintTests(SynchronousTestCase):
    log = Logger()

    def test_lines(self) -> None:
        """One each, of a kind that mail knows; of an outage that is known there is no more mail."""
        for error, alert, level in (
            (errors.StorageFull("full"), "storage full", LogLevel.warn),
            (errors.StoreUnavailable("away"), "store unavailable", LogLevel.warn),
            (errors.Transient("busy"), "store unavailable", LogLevel.warn),
            (LoginRefused("no"), "store unavailable", LogLevel.warn),
            (NoKeys("no"), "store unavailable", LogLevel.warn),
            (NoRights("no"), "store unavailable", LogLevel.warn),
            (errors.OutageKnown("fails"), None, LogLevel.warn),
            (Deactivated("x"), "content out of service", LogLevel.warn),
            (Refused("400", "no"), "store refused", LogLevel.error),
            (Conflict(409, "no"), "store refused", LogLevel.error),
        ):
            with capturedLogs() as events:
                try:
                    raise error
                except errors.StorageError:
                    log_failed(self.log, "{what} failed", what="it")
            (told,) = events
            self.assertEqual((told["alert"], told["log_level"]), (alert, level), error)
            self.assertEqual(formatEvent(told), f"it failed: {error}")
            self.assertNotIn("log_failure", told)

    def test_tracebacks(self) -> None:
        """Of what nobody has explained."""
        for error in (errors.StorageFailed("odd"), errors.Damaged("rotten"), KeyError("x")):
            with capturedLogs() as events:
                try:
                    raise error
                except Exception:
                    log_failed(self.log, "{what} failed", what="it")
            self.assertEqual([formatEvent(each) for each in events], ["it failed"])
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 1)

    def test_when_the_client_has_gone(self) -> None:
        work: Deferred[None] = Deferred()

        async def wait() -> None:
            await work

        waiting = Shield()(wait())
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        with capturedLogs() as events:
            work.errback(errors.StoreUnavailable("the store is busy"))
        self.assertEqual([formatEvent(each) for each in events],
                         ["work failed after its client had gone: the store is busy"])
