"""In which order the daemon starts and stops, by a clock that stands still."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from docker_registry.daemon import LAST_STEPS, Companion
from docker_registry.deferreds import deferred
from docker_registry.errors import StorageFailed
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.service import RegistryService
from docker_registry.storage.memory import MemoryStorage
from docker_registry.systemd import Notifier
from docker_registry.test.daemon_case import DaemonCase, RecordedProcess
from docker_registry.test.registry_case import Direct
from docker_registry.web.limits import Limits
from docker_registry.web.request import Request
from docker_registry.web.site import Site

HERE = IPv4Address("TCP", "127.0.0.1", 5000)
GET = b"GET /v2/ HTTP/1.1\r\nHost: r\r\n\r\n"


class Storage(MemoryStorage):
    """A store in memory that takes as long to start as the test wants."""

    def __init__(self, clock: Any, events: list[str]) -> None:
        super().__init__(clock)
        self.starting: Deferred[None] = succeed(None)
        self._events = events

    def start(self) -> Deferred[None]:
        self._events.append("store starts")
        return self.starting

    def close(self) -> Deferred[None]:
        self._events.append("store closed")
        return super().close()


@implementer(IStreamServerEndpoint, IListeningPort)
class Endpoint:
    """An endpoint and its port.

    :ivar error: what hinders it to listen.
    """

    def __init__(self, events: list[str], host: object = HERE) -> None:
        self._events = events
        self._host = host
        self.error: Exception | None = None

    def listen(self, factory: object) -> Deferred[Any]:
        if self.error is not None:
            return fail(self.error)
        self._events.append("port open")
        return succeed(self)

    def startListening(self) -> None: ...

    def getHost(self) -> Any:
        return self._host

    def stopListening(self) -> Deferred[None]:
        self._events.append("port closed")
        return succeed(None)


class Transport(StringTransport):
    """A connection that is lost at once when it is cut."""

    aborted = False
    protocol: Any

    def abortConnection(self) -> None:
        self.aborted = True
        self.protocol.connectionLost(None)


class Case(DaemonCase):
    modules = "docker_registry.service"

    def setUp(self) -> None:
        super().setUp()
        self.events: list[str] = []
        self.storage = Storage(self.reactor, self.events)
        self.registry = Registry(self.storage, Direct(), self.reactor, Settings(), self.reactor.seconds)
        self.answer: Deferred[None] = Deferred()
        self.site = Site(self.reactor, self.handle, refusal=lambda *_: ([], b""), limits=Limits())
        self.endpoint = Endpoint(self.events)
        self.process = RecordedProcess(self.reactor, self.events)
        self.pool = ThreadPool(0, 1)

    @deferred
    async def handle(self, request: Request) -> None:
        await self.answer
        request.answer(200, [], b"done")

    def service(self, *companions: Companion, **environ: str) -> RegistryService:
        return RegistryService(
            self.reactor,
            storage=self.storage,
            registry=self.registry,
            site=self.site,
            endpoints=[("tcp:5000", self.endpoint)],
            pool=self.pool,
            process=self.process,
            notifier=Notifier({"NOTIFY_SOCKET": self.systemd.getsockname(), **environ}),
            grace=30.0,
            place="below /images",
            warnings=["mend this"],
            companions=companions,
        )

    def started(self, **environ: str) -> RegistryService:
        service = self.service(**environ)
        service.startService()
        self.told()
        self.events.clear()
        return service

    def connect(self) -> Transport:
        channel = self.site.buildProtocol(HERE)
        transport = Transport(peerAddress=HERE)
        transport.protocol = channel
        channel.makeConnection(transport)
        return transport

    def lines(self, level: Any = LogLevel.info) -> list[str]:
        return super().lines(level)

    def finish(self, service: RegistryService) -> None:
        stopped = service.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)


class StartTests(Case):
    def test_store_then_ports_then_ready(self) -> None:
        self.storage.starting = Deferred()
        service = self.service()
        service.startService()
        self.assertEqual((self.events, self.told()), (["store starts"], []))
        self.storage.starting.callback(None)
        self.assertEqual(self.events, ["store starts", "port open", "settled"])
        self.assertEqual(self.told(), ["READY=1"])
        self.finish(service)

    def test_says_where(self) -> None:
        service = self.started()
        self.assertEqual(
            self.lines(),
            [
                "mend this",
                "listening on 127.0.0.1:5000, storing below /images; try: docker push 127.0.0.1:5000/NAME:TAG",
            ],
        )
        self.finish(service)

    def test_says_where_for_other_addresses(self) -> None:
        for host, line in [
            (IPv4Address("TCP", "0.0.0.0", 80), "0.0.0.0:80, storing below /images; try: docker push 127.0.0.1:80/"),
            (IPv6Address("TCP", "::", 80), "[::]:80, storing below /images; try: docker push 127.0.0.1:80/"),
            (IPv6Address("TCP", "::1", 80), "[::1]:80, storing below /images; try: docker push [::1]:80/"),
            (UNIXAddress("/run/registry"), "unix:/run/registry, storing below /images"),
        ]:
            with self.subTest(str(host)):
                self.endpoint = Endpoint(self.events, host)
                self.pool = ThreadPool(0, 1)
                service = self.started()
                self.assertTrue(self.lines()[-1].startswith(f"listening on {line}"), self.lines()[-1])
                self.finish(service)

    def assert_gave_up(self, status: int, *lines: str) -> None:
        service = self.service()
        service.startService()
        self.assertEqual(self.process.status, status)
        self.assertEqual(self.lines(LogLevel.error), list(lines))
        self.assertEqual(self.told(), [])
        self.finish(service)
        self.assertEqual(self.events.count("port open"), self.events.count("port closed"))
        self.assertIn("store closed", self.events)

    def test_store_unusable(self) -> None:
        self.storage.starting = fail(StorageFailed("storage_path /images is used by another registry, process 7"))
        self.assert_gave_up(78, "cannot start: storage_path /images is used by another registry, process 7")

    def test_store_not_permitted(self) -> None:
        error = StorageFailed("storage_path /images cannot be used: Permission denied")
        error.__cause__ = PermissionError(errno.EACCES, "Permission denied")
        self.storage.starting = fail(error)
        self.assert_gave_up(78, "cannot start: storage_path /images cannot be used: Permission denied")

    def test_store_unusable_for_now(self) -> None:
        """A restart may mend it, and systemd tries."""
        error = StorageFailed("storage_path /images cannot be used: No space left on device")
        error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
        self.storage.starting = fail(error)
        self.assert_gave_up(1, "cannot start: storage_path /images cannot be used: No space left on device")

    def test_fault(self) -> None:
        """What nobody expected has a traceback."""
        self.storage.starting = fail(ZeroDivisionError())
        self.assert_gave_up(1, "the registry cannot start")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_port_in_use(self) -> None:
        cause = OSError(errno.EADDRINUSE, "Address already in use")
        self.endpoint.error = CannotListenError("127.0.0.1", 5000, cause)
        self.assert_gave_up(78, "cannot start: cannot listen on tcp:5000: Address already in use")

    def test_socket_unusable(self) -> None:
        self.endpoint.error = OSError(errno.EBADF, "Bad file descriptor")
        self.assert_gave_up(78, "cannot start: cannot listen on tcp:5000: Bad file descriptor")


class Recorded:
    """A companion."""

    def __init__(self, name: str, events: list[str], error: Exception | None = None) -> None:
        self._name = name
        self._events = events
        self._error = error

    def start(self) -> None:
        self._events.append(f"{self._name} starts")

    async def stop(self) -> None:
        self._events.append(f"{self._name} stops")
        if self._error is not None:
            raise self._error


class StopTests(Case):
    def test_companion_that_hangs(self) -> None:
        """On a disk, say: it holds up the end for a while."""

        class Hanging(Recorded):
            async def stop(self) -> None:
                await Deferred()

        service = self.service(Recorded("a", self.events), Hanging("b", self.events))
        service.startService()
        self.told()
        stopped = service.stopService()
        self.reactor.advance(0)
        self.assertNoResult(stopped)
        self.reactor.advance(LAST_STEPS)
        self.successResultOf(stopped)
        self.assertEqual(self.events[-1], "a stops")

    def test_companions(self) -> None:
        """There before anything can fail, and until nothing can; one that fails does not hold up the others."""
        service = self.service(Recorded("a", self.events), Recorded("b", self.events, ZeroDivisionError()))
        service.startService()
        self.finish(service)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.events, [
            "a starts", "b starts", "store starts", "port open", "settled", "port closed", "store closed", "b stops",
            "a stops",
        ])

    def test_idle(self) -> None:
        service = self.started()
        idle = self.connect()
        stopped = service.stopService()
        self.assertEqual(self.told(), ["STOPPING=1"])
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.events, ["port closed", "store closed"])
        self.assertTrue(idle.disconnecting)
        self.assertEqual(self.lines()[-1], "stopped")

    def test_waits_for_requests(self) -> None:
        service = self.started()
        transport = self.connect()
        transport.protocol.dataReceived(GET)
        stopped = service.stopService()
        self.assertEqual(self.events, ["port closed"])
        self.assertIn("requests in flight: 1; they have 30 s", self.lines())
        self.reactor.advance(29)
        self.assertNoResult(stopped)
        self.answer.callback(None)
        self.assertEqual(self.events, ["port closed"], "the store stays open while the request is being ended")
        self.assertIn(b"Connection: close", transport.value())
        self.assertTrue(transport.value().endswith(b"done"))
        self.assertFalse(transport.aborted)
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.events, ["port closed", "store closed"])

    def test_cuts_what_takes_too_long(self) -> None:
        service = self.started()
        transport = self.connect()
        transport.protocol.dataReceived(GET)
        stopped = service.stopService()
        self.reactor.advance(30)
        self.assertTrue(transport.aborted)
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.events, ["port closed", "store closed"])

    def test_signal(self) -> None:
        self.started()
        self.process.signal()
        self.assertEqual(self.process.status, 0)

    def test_second_signal(self) -> None:
        service = self.started()
        transport = self.connect()
        transport.protocol.dataReceived(GET)
        self.process.signal()
        stopped = service.stopService()
        self.reactor.advance(1)
        self.assertFalse(transport.aborted)
        self.process.signal()
        self.assertTrue(transport.aborted)
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual((self.process.status, self.events[-1]), (0, "store closed"))

    def test_waits_for_what_must_not_be_torn(self) -> None:
        """A commit that goes on although its client has gone."""
        put: Deferred[None] = Deferred()
        service = self.started()
        self.registry._shield(_wait(put))
        stopped = service.stopService()
        self.reactor.advance(0)
        self.assertNoResult(stopped)
        self.assertNotIn("store closed", self.events)
        put.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.events[-1], "store closed")

    def test_does_not_wait_for_ever(self) -> None:
        service = self.started()
        self.registry._shield(_wait(Deferred()))
        stopped = service.stopService()
        self.reactor.advance(0)
        self.reactor.advance(10)
        self.successResultOf(stopped)

    def test_while_the_store_starts(self) -> None:
        self.storage.starting = Deferred()
        service = self.service()
        service.startService()
        stopped = service.stopService()
        self.assertNoResult(stopped)
        self.storage.starting.callback(None)
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.events, ["store starts", "store closed"])
        self.assertEqual(self.told(), ["STOPPING=1"])

    def test_periodic_work_ends(self) -> None:
        service = self.started()
        self.finish(service)
        self.assertEqual(
            [call for call in self.reactor.getDelayedCalls() if "UploadPurge" in str(call)], []
        )


async def _wait(for_what: Deferred[None]) -> None:
    await for_what


class WatchdogTests(Case):
    def test_pings_from_start_to_stop(self) -> None:
        service = self.started(WATCHDOG_USEC="4000000", WATCHDOG_PID=str(os.getpid()))
        self.reactor.pump([2.0, 2.0])
        self.assertEqual(self.told(), ["WATCHDOG=1", "WATCHDOG=1"])
        self.finish(service)
        self.told()
        self.reactor.pump([2.0, 2.0])
        self.assertEqual(self.told(), [])
