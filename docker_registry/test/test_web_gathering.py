"""Requests that have ended are told of together, soon, in order, and none is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

from twisted.internet.defer import Deferred

from docker_registry.test.web_case import SiteCase, get, put
from docker_registry.web.gathering import DELAY, KEPT, MOST, Ended, Fields, Gathered
from docker_registry.web.request import Request


class GatheringTests(SiteCase):
    def setUp(self) -> None:
        super().setUp()
        self.batches: list[list[Ended]] = []
        self.gathered = Gathered(self.clock, [self.hear])
        self.site._finished = [self.gathered.finished]

    def hear(self, ended: Sequence[Fields]) -> None:
        self.batches.append([Ended(*each) for each in ended])

    async def handler(self, request: Request) -> None:
        await request.body.read_all(1000)
        request.answer(200, [], b"123")

    def test_together(self) -> None:
        self.send(get("/a") + get("/b"))
        self.assertEqual(self.batches, [])
        self.clock.advance(DELAY)
        (batch,) = self.batches
        self.assertEqual([each.what.target for each in batch], [b"/a", b"/b"])
        self.assertEqual(
            [(each.id, each.what.status, each.what.sent) for each in batch],
            [(each.id, 200, 3) for each in self.requests],
        )

    def test_soon(self) -> None:
        """The first does not wait for those after it."""
        self.send(get("/a"))
        self.clock.advance(DELAY / 2)
        self.send(get("/b"))
        self.clock.advance(DELAY / 2)
        self.assertEqual([len(batch) for batch in self.batches], [2])
        self.assertEqual(self.delayed(), 1)             # of the connections' deadlines

    def test_many(self) -> None:
        for number in range(MOST + 1):
            self.send(get(f"/{number}"))
        self.assertEqual([len(batch) for batch in self.batches], [MOST])
        self.clock.advance(DELAY)
        self.assertEqual([len(batch) for batch in self.batches], [MOST, 1])

    def test_what_was_known(self) -> None:
        """A request that goes on to change has been noted; and no more than a part of what a client fills."""
        self.send(put(b"xy", f"User-Agent: {'a' * 5000}", "Referer: http://r/"))
        self.requests[0].status = 500
        self.gathered.hand_on()
        (each,) = self.batches[0]
        what = each.what
        self.assertEqual((what.status, what.received, what.referrer, len(what.agent)), (200, 2, b"http://r/", KEPT))
        self.assertFalse(any(isinstance(value, Request) for value in (*each, *astuple(what))))

    def test_alike(self) -> None:
        """What requests have in common is there once; what differs in anything is not alike."""
        self.send(get("/a") + get("/a") + get("/b") + get("/a", "User-Agent: a") + get("/a", "Referer: a"))
        self.gathered.hand_on()
        self.assertEqual(len({each.id for each in self.batches[0]}), 5)
        first, same, *others = (each.what for each in self.batches[0])
        self.assertIs(first, same)
        self.assertEqual(
            [(each.target, each.agent, each.referrer) for each in (first, *others)],
            [(b"/a", b"", b""), (b"/b", b"", b""), (b"/a", b"a", b""), (b"/a", b"", b"a")],
        )

    def test_stopping(self) -> None:
        self.send(get("/a"))
        self.successResultOf(Deferred.fromCoroutine(self.gathered.stop()))
        self.assertEqual([len(batch) for batch in self.batches], [1])
        self.gathered.hand_on()
        self.assertEqual(len(self.batches), 1)

    def test_one_that_fails(self) -> None:
        """The others are told all the same."""
        def fail(_: Sequence[Fields]) -> None:
            raise KeyError("x")

        self.gathered = Gathered(self.clock, [fail, self.hear])
        self.site._finished = [self.gathered.finished]
        self.send(get("/a"))
        self.clock.advance(DELAY)
        self.assertEqual(len(self.batches), 1)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def delayed(self) -> int:
        return len(self.clock.getDelayedCalls())
