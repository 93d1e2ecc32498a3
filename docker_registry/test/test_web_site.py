"""All connections together: how many, how much memory, and how they end (E1, H1, T22)."""

from __future__ import annotations

import sys
from dataclasses import replace

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from docker_registry.test.web_case import SiteCase, get, put, refusal
from docker_registry.web.limits import Limits
from docker_registry.web.request import Request
from docker_registry.web.site import Site


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

    def test_nobody_is_told_when_there_are_far_too_many(self) -> None:
        for _ in range(5):
            self.connect()
        _, wire = self.connect()
        self.assertTrue(wire.aborted)
        self.assertEqual(wire.value(), b"")

    def test_no_more_connections_than_files(self) -> None:
        """E7."""
        for files, connections in ((sys.maxsize, 1000), (4096, 1000), (1024, 320), (128, 21), (64, 1), (0, 1)):
            limits = Limits().within(files)
            self.assertEqual(limits, replace(Limits(), connections=connections), files)

    def test_room_again(self) -> None:
        others = [self.connect() for _ in range(2)]
        others[0][0].connectionLost(Failure(ConnectionLost()))
        channel, wire = self.connect()
        channel.dataReceived(get("/a"))
        self.assertEqual(self.statuses(wire.value()), [204])

    def test_late(self) -> None:
        """Who comes while the site is closing is told so."""
        self.site.drain()
        _, wire = self.connect()
        self.assertEqual(self.statuses(wire.value()), [503])

    def test_drained_at_last(self) -> None:
        """A half-read head and a streamed answer that promised another request do not keep the site open."""
        self.send(get("/wait"))
        head, head_wire = self.connect()
        head.dataReceived(get("/a")[:-1])
        drained = self.site.drain()
        self.waiting.callback(None)
        self.assertNoResult(drained)
        head.dataReceived(get("/a")[-1:])
        self.assertIn(b"Connection: close\r\n", head_wire.value())
        self.successResultOf(drained)

    def test_nobody_can_break_it_by_listening(self) -> None:
        def broken(request: Request, seconds: float) -> None:
            raise ZeroDivisionError()

        site = Site(self.clock, self.handle, refusal=refusal, limits=Limits(), finished=[broken])
        self.channel, self.wire = self.connect_to(site)
        self.send(get("/a") + get("/b"))
        self.assertEqual(self.statuses(self.sent()), [204, 204])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

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


class AddressTests(SiteCase):
    limits = Limits(per_address=2)

    async def handler(self, request: Request) -> None:
        request.answer(204, [(b"X-Client", request.client.encode())])

    def come(self, host: str) -> list[int]:
        channel, wire = self.connect(peer=IPv4Address("TCP", host, 4711))
        channel.dataReceived(get("/a"))
        return self.statuses(wire.value())

    def test_so_many_from_one(self) -> None:
        self.assertEqual([self.come("192.0.2.1") for _ in range(3)], [[204], [204], [503]])
        self.assertEqual(self.come("192.0.2.2"), [204])

    def test_none_have_none(self) -> None:
        """Those of a UNIX socket are not told apart."""
        for _ in range(4):
            channel, wire = self.connect(peer=UNIXAddress("/socket"))
            channel.dataReceived(get("/a"))
            self.assertEqual(self.statuses(wire.value()), [204])


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
