"""The registry as a whole."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from docker_registry.errors import StorageFailed, Transient
from docker_registry.registry.registry import PATIENCE
from docker_registry.storage import layout
from docker_registry.test.registry_case import RegistryCase


class CheckTests(RegistryCase):
    """Of the store: what ``/_status`` says of it."""

    def setUp(self) -> None:
        super().setUp()
        self.puts: list[Deferred[None]] = []
        self.patch(self.storage, "put", self.put)

    def put(self, key: str, content: bytes) -> Deferred[None]:
        self.assertTrue(key.startswith(layout.IMAGES))
        self.puts.append(Deferred())
        return self.puts[-1]

    def check(self) -> Deferred[dict[str, str]]:
        return Deferred.fromCoroutine(self.registry.check())

    def test_once_for_all_who_ask(self) -> None:
        checks = [self.check() for _ in range(3)]
        self.assertEqual(len(self.puts), 1)
        self.puts[0].errback(StorageFailed())
        for each in checks:
            self.assertEqual(self.successResultOf(each), {"storage": "StorageFailed"})
        self.assertEqual(len(self.flushLoggedErrors(StorageFailed)), 3)
        self.check()
        self.assertEqual(len(self.puts), 2)

    def test_unavailable(self) -> None:
        """A line for each who asks, without a traceback."""
        with capturedLogs() as events:
            check = self.check()
            self.puts[0].errback(Transient("bucket b: the store is busy"))
        self.assertEqual(self.successResultOf(check), {"storage": "Transient"})
        (told,) = [each for each in events if "alert" in each]
        self.assertEqual(formatEvent(told), "the store does not work: bucket b: the store is busy")
        self.assertNotIn("log_failure", told)

    def test_hangs(self) -> None:
        """Then nobody waits for long, and it is not asked again while it hangs."""
        check = self.check()
        self.clock.advance(PATIENCE - 0.1)
        self.assertNoResult(check)
        self.clock.advance(0.2)
        self.assertEqual(self.successResultOf(check), {"storage": "TimeoutError"})
        self.check()
        self.assertEqual(len(self.puts), 1)
        self.assertEqual(len(self.flushLoggedErrors()), 1)
