"""What a test leaves behind fails it, and what is only on its way out does not."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.reporter import TestResult
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.test import reactor_case
from docker_registry.test.reactor_case import ReactorCase, reactor


class Late(Protocol):
    """Hangs up a while after the other end did."""

    factory: Any
    transport: Any

    def connectionMade(self) -> None:
        self.factory.made.callback(None)

    def readConnectionLost(self) -> None:
        reactor.callLater(0, lambda: reactor.callLater(0, self.transport.loseConnection))


class Cases(ReactorCase):
    """Run by the tests below."""

    async def port(self, wanted: type[Protocol] = Protocol) -> Any:
        factory = Factory.forProtocol(wanted)
        factory.made = Deferred()               # type: ignore[attr-defined]
        return reactor.listenTCP(0, factory, interface="127.0.0.1")

    async def connected(self, port: Any) -> Any:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        return (await connectProtocol(endpoint, Protocol())).transport

    async def closed(self) -> None:
        """Both ends are still there when it ends."""
        port = await self.port(Late)
        self.addCleanup(port.stopListening)
        (await self.connected(port)).loseConnection()
        await port.factory.made

    async def aborted(self) -> None:
        port = await self.port()
        (await self.connected(port)).abortConnection()
        port.stopListening()

    async def listens(self) -> None:
        await self.port()

    async def stays_connected(self) -> None:
        port = await self.port()
        await self.connected(port)
        await port.stopListening()

    async def wants_to_be_called(self) -> None:
        reactor.callLater(0.2, len, "soon")

    async def calls_for_ever(self) -> None:
        def again() -> None:
            reactor.callLater(0, again)

        again()


class Tests(SynchronousTestCase):
    def errors(self, name: str) -> str:
        result = TestResult()
        Cases(name).run(result)
        self.assertEqual(result.testsRun, 1)
        return "\n".join(str(each) for _, each in [*result.errors, *result.failures])

    def test_on_its_way(self) -> None:
        for name in ("closed", "aborted"):
            self.assertEqual(self.errors(name), "", name)

    def test_left(self) -> None:
        self.patch(reactor_case, "PATIENCE", 0.05)
        for name, what in (
            ("listens", "still there after the test: <<class 'twisted.internet.tcp.Port'"),
            ("stays_connected", "tcp.Client"),
            ("wants_to_be_called", "len('soon')"),
            ("calls_for_ever", "again"),
        ):
            self.assertIn(what, self.errors(name))
