"""Which connections are accepted when, by a clock that stands still."""

from __future__ import annotations

import resource
import socket

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.acceptor import BREATH, MOMENT, TURN, Acceptor


class AcceptorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.addCleanup(self.listener.close)
        self.accepted: list[Protocol] = []
        self.busier = False

    def begin(self, is_shared: bool) -> Acceptor:
        factory = Factory.forProtocol(Protocol)
        factory.buildProtocol = self.build  # type: ignore[method-assign]
        is_busier = (lambda: self.busier) if is_shared else None
        acceptor = Acceptor(self.reactor, self.listener.fileno(), factory, is_busier=is_busier)
        acceptor.startListening()
        self.addCleanup(acceptor.stopListening)
        return acceptor

    def build(self, addr: IAddress | None) -> Protocol:
        self.accepted.append(Protocol())
        return self.accepted[-1]

    def connect(self, count: int) -> None:
        for _ in range(count):
            self.addCleanup(socket.create_connection(self.listener.getsockname()).close)

    def waits(self, acceptor: Acceptor) -> bool:
        """Whether it lets the reactor tell it of connections."""
        return acceptor not in self.reactor.getReaders()

    def test_alone(self) -> None:
        acceptor = self.begin(False)
        self.connect(TURN + 1)
        acceptor.doRead()
        self.assertEqual(len(self.accepted), TURN)
        acceptor.doRead()
        acceptor.doRead()
        self.assertEqual(len(self.accepted), TURN + 1)

    def test_shared(self) -> None:
        """One at a time."""
        acceptor = self.begin(True)
        self.connect(2)
        acceptor.doRead()
        self.assertEqual(len(self.accepted), 1)

    def test_others_have_fewer(self) -> None:
        """They get a moment, and no more: they may be busy otherwise, or hang."""
        acceptor = self.begin(True)
        self.busier = True
        self.connect(1)
        acceptor.doRead()
        self.assertEqual((len(self.accepted), self.waits(acceptor)), (0, True))
        self.reactor.advance(MOMENT)
        self.assertFalse(self.waits(acceptor))
        acceptor.doRead()
        self.assertEqual(len(self.accepted), 1)

    def test_no_descriptors(self) -> None:
        """Nobody is dropped, and nothing spins (E7)."""
        acceptor = self.begin(False)
        self.connect(1)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        probe = socket.socket()
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe.fileno(), hard))
        probe.close()
        filler = []
        try:
            while True:
                filler.append(socket.socket())
        except OSError:
            acceptor.doRead()
        finally:
            for each in filler:
                each.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual((len(self.accepted), self.waits(acceptor)), (0, True))
        self.reactor.advance(BREATH)
        self.assertFalse(self.waits(acceptor))
        acceptor.doRead()
        self.assertEqual(len(self.accepted), 1)

    def test_stopped(self) -> None:
        acceptor = self.begin(False)
        self.successResultOf(acceptor.stopListening())
        self.assertTrue(self.waits(acceptor))
        self.assertGreaterEqual(self.listener.fileno(), 0, "whoever opened it has it still")
