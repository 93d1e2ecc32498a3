"""One connection: order, refusals, time, and clients that go away (E1-E6, T20-T22, H1)."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from docker_registry.test.web_case import SiteCase, chunked, get, put
from docker_registry.web.errors import BodyTooSlow, ClientGone, Refusal
from docker_registry.web.limits import Limits
from docker_registry.web.request import Request


class OrderTests(SiteCase):
    def setUp(self) -> None:
        super().setUp()
        self.held: list[Deferred[None]] = []

    async def handler(self, request: Request) -> None:
        if request.path == "/slow":
            self.held.append(Deferred())
            await self.held[-1]
        await self.echo(request)

    def test_a_thousand_in_one_packet(self) -> None:
        self.send(b"".join(get(f"/{number}") for number in range(1000)))
        self.assertLess(len(self.requests), 100)        # others have their turn
        self.turns()
        self.assertEqual([request.path for request in self.requests], [f"/{number}" for number in range(1000)])
        self.assertEqual(self.statuses(self.sent()), [200] * 1000)

    def test_behind_a_slow_one(self) -> None:
        """The next request is not begun before (T21)."""
        self.send(get("/slow") + put(b"abc", path="/fast") + get("/last"))
        self.assertEqual([request.path for request in self.requests], ["/slow"])
        self.assertEqual(self.sent(), b"")
        self.held[0].callback(None)
        answers = self.sent()
        self.assertEqual(self.statuses(answers), [200, 200, 200])
        self.assertLess(answers.index(b"/slow"), answers.index(b"/fast abc"))

    def test_read_ahead_is_bounded(self) -> None:
        self.send(get("/slow"))
        self.send(get("/x") * 4000)
        self.assertTrue(self.wire.held_back)
        self.held[0].callback(None)
        self.turns()
        self.assertFalse(self.wire.held_back)
        self.assertEqual(len(self.requests), 4001)

    def test_http_1_0(self) -> None:
        self.send(b"GET /a HTTP/1.0\r\n\r\n")
        answer = self.sent()
        self.assertIn(b"Connection: close\r\n", answer)
        self.assertTrue(self.wire.disconnecting)

    def test_http_1_0_kept_alive(self) -> None:
        for _ in range(3):
            self.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            self.assertIn(b"Connection: keep-alive\r\n", self.sent())
        self.assertFalse(self.wire.ended)

    def test_connection_tokens(self) -> None:
        for value in ("close", "Close", "TE, close", "close,TE"):
            self.setUp()
            self.send(get("/a", f"Connection: {value}"))
            self.assertIn(b"Connection: close\r\n", self.sent(), value)
            self.assertTrue(self.wire.disconnecting, value)

    def test_head(self) -> None:
        self.send(b"HEAD /a HTTP/1.1\r\nHost: r\r\n\r\n" + get("/b"))
        first, second = self.sent().split(b"HTTP/1.1 200 OK\r\n")[1:]
        self.assertTrue(first.endswith(b"\r\n\r\n"))
        self.assertIn(b"Content-Length: 3\r\n", first)
        self.assertTrue(second.endswith(b"/b "))

    def test_half_close(self) -> None:
        """A request that is whole is answered though the client sends no more."""
        self.send(get("/slow"))
        self.half_close()
        self.held[0].callback(None)
        self.assertEqual(self.statuses(self.sent()), [200])
        self.assertTrue(self.wire.disconnecting)

    def test_half_close_in_a_body(self) -> None:
        self.send(put(b"abc")[:-1])
        self.half_close()
        self.assertTrue(self.wire.ended)

    def test_fault(self) -> None:
        async def broken(request: Request) -> None:
            raise KeyError("x")

        self.handler = broken  # type: ignore[method-assign]
        self.send(get("/a"))
        answer = self.sent()
        self.assertEqual(self.statuses(answer), [500])
        self.assertNotIn(b"KeyError", answer)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_header_that_would_end_early(self) -> None:
        """T25: a net under what the handlers check."""

        async def injected(request: Request) -> None:
            request.answer(200, [(b"Location", b"/a\r\nX: y")])

        self.handler = injected  # type: ignore[method-assign]
        self.send(get("/a"))
        self.assertEqual(self.statuses(self.sent()), [500])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_finished_is_told_once(self) -> None:
        self.send(get("/a") + get("/slow"))
        self.lose()
        self.assertEqual(self.finished, [("/a", 200), ("/slow", 0)])
        self.assertEqual(self.site.in_flight, 0)


class RefusalTests(SiteCase):
    """An answer that comes before the body's end (E3, T20)."""

    async def handler(self, request: Request) -> None:
        raise Refusal(401, "who are you")

    def test_body_is_never_a_request(self) -> None:
        smuggled = get("/smuggled")
        for data in (put(smuggled * 10), chunked(smuggled, smuggled)):
            body = len(data) - data.index(b"\r\n\r\n") - 4
            for rest in (1, len(smuggled) + 7, body - 1, body):
                self.setUp()
                self.send(data[:-rest])
                self.send(data[-rest:])
                self.send(smuggled)
                self.assertEqual(self.statuses(self.sent()), [401])
                self.assertEqual([request.path for request in self.requests], ["/put"])

    def test_before_a_byte_of_it(self) -> None:
        head = b"PUT /x HTTP/1.1\r\nHost: r\r\nContent-Length: 4294967296\r\n%b\r\n"
        for extra in (b"", b"Expect: 100-continue\r\n"):
            self.setUp()
            self.send(head % extra)
            answer = self.sent()
            self.assertEqual(self.statuses(answer), [401])
            self.assertIn(b"Connection: close\r\n", answer)
            self.assertFalse(self.wire.ended)           # so that the client can read it

    def test_what_comes_after_is_drained_for_a_while(self) -> None:
        self.send(b"PUT /x HTTP/1.1\r\nHost: r\r\nContent-Length: 4294967296\r\n\r\n")
        for _ in range(16):
            self.send(b"x" * (1 << 20))
        self.assertFalse(self.wire.ended)
        self.send(b"x")
        self.assertTrue(self.wire.aborted)

    def test_but_not_for_long(self) -> None:
        self.send(b"PUT /x HTTP/1.1\r\nHost: r\r\nContent-Length: 4294967296\r\n\r\n")
        for _ in range(4):
            self.clock.advance(1)
            self.send(b"x")
        self.assertTrue(self.wire.ended)


class ExpectTests(SiteCase):
    async def handler(self, request: Request) -> None:
        await self.echo(request)

    def test_invited_by_the_first_read(self) -> None:
        data = put(b"abc", "Expect: 100-continue")
        self.send(data[:-3])
        self.assertEqual(self.sent(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.send(data[-3:])
        self.assertEqual(self.statuses(self.sent()), [200])

    def test_not_if_it_is_there_already(self) -> None:
        self.send(put(b"abc", "Expect: 100-continue"))
        self.assertEqual(self.statuses(self.sent()), [200])

    def test_too_large(self) -> None:
        """Known from the length: refused instead of invited."""
        self.send(b"PUT /x HTTP/1.1\r\nHost: r\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(self.statuses(self.sent()), [413])

    def test_too_large_in_chunks(self) -> None:
        self.send(chunked(*[b"x" * (1 << 20)] * 11)[: 11 << 20])
        self.assertEqual(self.statuses(self.sent()), [413])


class TimeTests(SiteCase):
    """E4."""

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

    def test_next_to_nothing_of_a_body(self) -> None:
        self.drip(put(b"x" * 1000), 1)
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
        data = put(b"x" * (3 << 20))
        self.send(data[: 2 << 20])
        self.assertTrue(self.wire.held_back)
        self.clock.pump([1] * 600)
        self.assertFalse(self.wire.ended)
        waiting.callback(None)
        self.assertFalse(self.wire.held_back)
        self.send(data[2 << 20 :])
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


class GoneTests(SiteCase):
    """E5, E6."""

    def setUp(self) -> None:
        super().setUp()
        self.errors: list[BaseException] = []

    async def handler(self, request: Request) -> None:
        try:
            if request.path == "/wait":
                await Deferred()
            await self.echo(request)
        except BaseException as error:
            self.errors.append(error)
            raise

    def test_at_any_moment(self) -> None:
        for data in (get("/wait"), put(b"abc" * 1000), chunked(b"abc", b"def")):
            for at in {1, 10, len(data) // 2, len(data) - 1}:
                for reason in (None, ConnectionDone()):
                    self.setUp()
                    self.send(data[:at])
                    self.lose(reason)
                    self.assertEqual(self.site.in_flight, 0)
                    for error in self.errors:
                        self.assertIsInstance(error, (CancelledError, ClientGone))
                    self.assertEqual(len(self.errors), len(self.requests))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_who_reads_on_is_told(self) -> None:
        """Work that a vanished client does not cancel learns of it at its next read."""
        self.send(put(b"abc")[:-1])
        body = self.requests[0].body
        self.lose()
        self.failureResultOf(Deferred.fromCoroutine(body.read()), ClientGone)

    def test_an_answer_after_that_goes_nowhere(self) -> None:
        self.send(get("/wait"))
        self.lose()
        self.requests[0].answer(200)
        self.assertEqual(self.sent(), b"")
        self.assertEqual(self.flushLoggedErrors(), [])


class SiteTests(SiteCase):
    limits = Limits(connections=3)

    async def handler(self, request: Request) -> None:
        if request.path == "/wait":
            self.waiting: Deferred[None] = Deferred()
            await self.waiting
        request.answer(204)

    def test_too_many_connections(self) -> None:
        others = [self.connect() for _ in range(3)]
        self.assertEqual(self.statuses(others[2][1].value()), [503])
        self.clock.pump([1] * 5)
        self.assertTrue(others[2][1].disconnecting)
        self.assertFalse(others[1][1].ended)
        others[2][0].dataReceived(get("/a"))
        self.assertEqual(self.requests, [])

    def test_drain(self) -> None:
        """Idle connections close at once, the others with their answer (H1)."""
        _, idle_wire = self.connect()
        self.send(get("/wait") + get("/late"))
        drained = self.site.drain()
        self.assertTrue(idle_wire.ended)
        self.assertNoResult(drained)
        self.waiting.callback(None)
        self.assertIn(b"Connection: close\r\n", self.sent())
        self.assertTrue(self.wire.ended)
        self.successResultOf(drained)
        self.assertEqual([request.path for request in self.requests], ["/wait"])

    def test_drain_of_nothing(self) -> None:
        self.successResultOf(self.site.drain())

    def test_cut(self) -> None:
        self.send(get("/wait"))
        self.site.abort_all()
        self.assertTrue(self.wire.aborted)

    def test_no_content(self) -> None:
        self.send(get("/a"))
        answer = self.sent()
        self.assertNotIn(b"Content-Length", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\n"))


class BudgetTests(SiteCase):
    """Pieces shrink when there are many bodies, so that all together stay in bounds (E1)."""

    limits = Limits(per_address=0)

    async def handler(self, request: Request) -> None:
        await Deferred()

    def test_many_bodies(self) -> None:
        held = 0
        data = put(b"x" * (4 << 20))
        for _ in range(50):
            channel, wire = self.connect()
            for at in range(0, len(data), 256 << 10):
                if wire.producerState == "producing":
                    channel.dataReceived(data[at : at + (256 << 10)])
            held += self.requests[-1].body.received
        self.assertEqual(self.site.budget.bodies, 50)
        self.assertLess(held, 48 << 20)

    def test_alone_again(self) -> None:
        whole = self.site.budget.piece
        others = [self.connect()[0] for _ in range(100)]
        for channel in others:
            channel.dataReceived(put(b"x" * 1000)[:-1])
        self.assertLess(self.site.budget.piece, whole)
        for channel in others:
            channel.connectionLost(Failure(ConnectionLost()))
        self.assertEqual((self.site.budget.bodies, self.site.budget.piece), (0, whole))
