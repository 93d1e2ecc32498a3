"""One connection: order, refusals, and clients that go away (E3, E5, E6, T20, T21)."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone

from docker_registry.deferreds import Shield
from docker_registry.test.web_case import SiteCase, chunked, get, put
from docker_registry.web.channel import READ_AHEAD
from docker_registry.web.chunks import AT_ONCE
from docker_registry.web.errors import ClientGone, Refusal
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

    def test_small_chunks(self) -> None:
        """What has been read is decoded in turns, though the client has sent its last."""
        for count, ends in ((4 * AT_ONCE, False), (3 * AT_ONCE, True)):
            self.setUp()
            self.send(chunked(*[b"x"] * count) + get("/a") * 2)
            if ends:
                self.half_close()
            self.assertEqual((self.requests[0].body.received, self.wire.held_back), (AT_ONCE, not ends))
            self.turns()
            answers = self.sent()
            self.assertEqual(self.statuses(answers), [200, 200, 200])
            self.assertIn(b"/put " + b"x" * count + b"HTTP/1.1", answers)
            self.assertEqual((self.wire.held_back, self.wire.ended), (False, ends))

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

    def test_half_close_after_several(self) -> None:
        self.send(get("/slow") + put(b"abc") + get("/b"))
        self.half_close()
        self.held[0].callback(None)
        self.assertEqual(self.statuses(self.sent()), [200, 200, 200])
        self.assertTrue(self.wire.disconnecting)

    def test_half_close_of_something_unfinished(self) -> None:
        for data in (b"", get("/a")[:-1], put(b"abc")[:-1], chunked(b"abc")[:-2], get("/a") + get("/b")[:5]):
            self.setUp()
            self.send(data)
            self.half_close()
            self.assertTrue(self.wire.ended, data)

    def test_who_does_not_read_is_not_answered(self) -> None:
        """Neither are requests taken up, nor does what he sends grow without bounds."""
        self.send(get("/a"))
        self.channel.out.pauseProducing()
        self.send(put(bytes(1 << 20))[:1000])
        self.assertFalse(self.wire.held_back)
        self.send(bytes(READ_AHEAD))
        self.assertTrue(self.wire.held_back)
        self.assertEqual([request.path for request in self.requests], ["/a"])
        self.channel.out.resumeProducing()
        self.assertFalse(self.wire.held_back)
        self.assertEqual(self.requests[1].body.received, READ_AHEAD + 1000 - put(b"").index(b"\r\n\r\n") - 4 - 6)

    def test_trailers_are_no_headers(self) -> None:
        """What comes after a body cannot change what its head said."""
        self.send(chunked(b"abc")[:-2] + b"Host: evil\r\nContent-Range: 0-1\r\nX: y\r\n\r\n")
        self.assertEqual(self.statuses(self.sent()), [200])
        self.assertEqual(self.requests[0].headers, {b"host": [b"registry"], b"transfer-encoding": [b"chunked"]})

    def test_repeated_headers(self) -> None:
        self.send(get("/a", "Accept: a", "accept: b, c", "X:  y  "))
        request = self.requests[0]
        self.assertEqual(request.values(b"accept"), [b"a", b"b, c"])
        self.assertEqual((request.header(b"accept"), request.header(b"x")), (b"a, b, c", b"y"))
        self.assertEqual((request.header(b"none"), request.values(b"none")), (None, []))

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


    def test_with_the_body_there_the_connection_goes_on(self) -> None:
        for data in (put(b"abc"), chunked(b"abc", b"def"), get("/a")):
            self.send(data)
            answer = self.sent()
            self.assertEqual(self.statuses(answer), [401])
            self.assertNotIn(b"Connection: close", answer)
        self.assertFalse(self.wire.ended)

    def test_nothing_stays_in_memory(self) -> None:
        for data in (put(bytes(3 << 20)), chunked(*[bytes(1 << 20)] * 3)):
            self.setUp()
            self.send(data[: 1 << 20])
            self.send(data[1 << 20 :])
            self.assertEqual((self.site.budget.held, self.site.budget.bodies), (0, 0))


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
        for data in (chunked(*[b"x" * (1 << 20)] * 11), chunked(*[b"x" * (1 << 20)] * 11) + get("/smuggled")):
            self.setUp()
            self.send(data[: len(data) - 100])
            self.send(data[len(data) - 100 :])
            self.assertEqual(self.statuses(self.sent()), [413])
            self.assertEqual((self.site.budget.held, self.site.budget.bodies), (0, 0))
            self.assertEqual(len(self.requests), 1)

    def test_not_in_http_1_0(self) -> None:
        self.send(b"PUT /a HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(self.sent(), b"")
        self.send(b"abc")
        self.assertEqual(self.statuses(self.sent()), [200])


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

    def test_who_is_reading_is_told_why(self) -> None:
        self.send(put(b"abc")[:-1])
        self.lose()
        self.assertEqual([type(error) for error in self.errors], [ClientGone])

    def test_who_waits_for_something_else_is_cancelled(self) -> None:
        self.send(get("/wait"))
        self.lose()
        self.assertEqual([type(error) for error in self.errors], [CancelledError])

    def test_shielded_work_ends_by_itself(self) -> None:
        """It reads what had come, and then that no more will (E6)."""
        shield = Shield()
        came: list[bytes] = []

        async def work(request: Request) -> None:
            while parts := await request.body.read():
                came.extend(parts)

        async def shielded(request: Request) -> None:
            await shield(work(request))

        self.handler = shielded  # type: ignore[method-assign]
        self.send(put(b"abc")[:-1])
        self.lose()
        self.successResultOf(shield.idle())
        self.assertEqual(came, [b"ab"])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_an_answer_after_that_goes_nowhere(self) -> None:
        self.send(get("/wait"))
        self.lose()
        self.requests[0].answer(200)
        self.assertEqual(self.sent(), b"")
        self.assertEqual(self.flushLoggedErrors(), [])
