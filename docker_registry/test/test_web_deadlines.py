"""Who is waited for, and how long (E4, T22)."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import ISSLTransport

from docker_registry.test.web_case import SiteCase, get, put
from docker_registry.web.body import PIECE
from docker_registry.web.errors import BodyTooSlow
from docker_registry.web.request import Request


class TimeTests(SiteCase):
    def setUp(self) -> None:
        super().setUp()
        self.errors: list[type[BaseException]] = []

    async def handler(self, request: Request) -> None:
        try:
            await self.echo(request)
        except BaseException as error:
            self.errors.append(type(error))
            raise

    def drip(self, data: bytes, seconds: float) -> None:
        for at in range(len(data)):
            if self.wire.ended or self.wire.value():
                return
            self.send(data[at : at + 1])
            for _ in range(int(seconds)):
                self.clock.advance(1)

    def test_head_byte_by_byte(self) -> None:
        """The clock runs from the first byte, not from each."""
        self.drip(get("/a"), 5)
        self.assertEqual(self.statuses(self.sent()), [408])
        self.assertEqual(self.requests, [])

    def test_each_head_has_its_own_time(self) -> None:
        for _ in range(3):
            self.send(get("/a")[:10])
            self.clock.pump([1] * 15)
            self.send(get("/a")[10:])
            self.assertEqual(self.statuses(self.sent()), [200])

    def test_idle(self) -> None:
        self.send(get("/a"))
        self.clock.pump([1] * 74)
        self.assertFalse(self.wire.ended)
        self.clock.pump([1] * 3)
        self.assertTrue(self.wire.ended)

    def test_nothing_of_a_body(self) -> None:
        self.send(put(b"abc")[:-2])
        self.clock.pump([1] * 62)
        self.assertEqual(self.statuses(self.sent()), [408])
        self.assertEqual(len(self.errors), 1)
        self.assertTrue(issubclass(self.errors[0], (CancelledError, BodyTooSlow)))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_nothing_after_a_good_beginning(self) -> None:
        """What came before does not count for long."""
        data = put(bytes(1 << 20))
        self.send(data[: 100_000])
        self.clock.pump([1] * 3)
        self.send(data[100_000 : 500_000])
        self.clock.pump([1] * 59)
        self.assertEqual(self.sent(), b"")
        self.clock.pump([1] * 4)
        self.assertEqual(self.statuses(self.sent()), [408])

    def test_who_was_not_invited_is_not_late(self) -> None:
        waiting: Deferred[None] = Deferred()

        async def busy(request: Request) -> None:
            await waiting
            await self.echo(request)

        self.handler = busy  # type: ignore[method-assign]
        data = put(b"abc", "Expect: 100-continue")
        self.send(data[:-3])
        self.clock.pump([1] * 600)
        waiting.callback(None)
        self.assertEqual(self.sent(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.clock.pump([1] * 63)
        self.assertEqual(self.statuses(self.sent()), [408])

    def test_next_to_nothing_of_a_body(self) -> None:
        """There is always something, and it is less than the floor."""
        data = put(b"x" * 100_000)
        self.send(data[:-100_000])
        self.drip(data[-100_000:], 1)
        self.assertEqual(self.statuses(self.sent()), [408])

    def test_slow_but_honest(self) -> None:
        data = put(b"x" * 400_000)
        for at in range(0, len(data), 2000):
            self.send(data[at : at + 2000])
            self.clock.advance(1)
        self.assertEqual(self.statuses(self.sent()), [200])

    def test_while_we_hold_it_back(self) -> None:
        """No clock runs against a client that is not let."""
        waiting: Deferred[None] = Deferred()

        async def busy(request: Request) -> None:
            await waiting
            await self.echo(request)

        self.handler = busy  # type: ignore[method-assign]
        data = put(b"x" * (3 * PIECE))
        self.send(data[: 2 * PIECE])
        self.assertTrue(self.wire.held_back)
        self.clock.pump([1] * 600)
        self.assertFalse(self.wire.ended)
        waiting.callback(None)
        self.assertFalse(self.wire.held_back)
        self.send(data[2 * PIECE :])
        self.assertEqual(self.statuses(self.sent()), [200])

    def test_a_reader_that_stops(self) -> None:
        self.send(get("/a"))
        self.channel.out.pauseProducing()
        self.send(get("/b"))
        self.assertEqual([request.path for request in self.requests], ["/a"])
        self.clock.pump([1] * 122)
        self.assertTrue(self.wire.ended)

    def test_a_reader_that_goes_on(self) -> None:
        self.channel.out.pauseProducing()
        self.send(get("/b"))
        self.channel.out.resumeProducing()
        self.assertEqual(self.statuses(self.sent()), [200])

    def test_no_clock_runs_without_connections(self) -> None:
        self.lose()
        self.clock.pump([1] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_timer_for_each_request(self) -> None:
        for _ in range(100):
            self.send(get("/a"))
            self.connect()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_silence_from_the_beginning(self) -> None:
        self.clock.pump([1] * 19)
        self.assertFalse(self.wire.ended)
        self.clock.pump([1] * 3)
        self.assertTrue(self.wire.ended)
        self.assertEqual(self.sent(), b"")

    def test_handshake(self) -> None:
        """T22."""
        self.channel, self.wire = self.connect(ISSLTransport)
        self.clock.pump([1] * 12)
        self.assertTrue(self.wire.ended)

    def test_silence_after_the_handshake(self) -> None:
        self.channel, self.wire = self.connect(ISSLTransport)
        self.clock.pump([1] * 8)
        self.channel.handshakeCompleted()
        self.clock.pump([1] * 19)
        self.assertFalse(self.wire.ended)
        self.clock.pump([1] * 4)
        self.assertTrue(self.wire.ended)

    def test_who_does_not_let_go(self) -> None:
        """A client that neither reads the last answer nor closes is cut."""
        self.send(get("/a", "Connection: close"))
        self.assertTrue(self.wire.disconnecting)
        self.assertFalse(self.wire.aborted)
        self.clock.pump([1] * 5)
        self.assertTrue(self.wire.aborted)

    def test_an_answer_that_takes_long(self) -> None:
        """Is nobody's fault but ours."""
        waiting: Deferred[None] = Deferred()

        async def slow(request: Request) -> None:
            await waiting
            request.answer(200)

        self.handler = slow  # type: ignore[method-assign]
        self.send(get("/a"))
        self.clock.pump([1] * 1000)
        waiting.callback(None)
        self.assertEqual(self.statuses(self.sent()), [200])
