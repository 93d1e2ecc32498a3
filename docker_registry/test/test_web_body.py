"""The bytes of a body, on their way through little memory (E1)."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.web.body import LEAST, PIECE, READ, Body, Budget
from docker_registry.web.errors import BodyTooLarge, BodyTooSlow, ClientGone, Refusal

MEMORY = 48 << 20


class Client:
    """What a body asks of its connection."""

    def __init__(self) -> None:
        self.invited = 0
        self.held = False

    def invite(self) -> None:
        self.invited += 1

    def hold_body(self, held: bool) -> None:
        self.held = held


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.budget = Budget(MEMORY)
        self.client = Client()

    def body(self, length: int | None = None, expects: bool = False) -> Body:
        return Body(self.budget, length, expects, self.client)

    def read(self, body: Body) -> Deferred[list[bytes]]:
        return Deferred.fromCoroutine(body.read())

    def piece(self, body: Body) -> bytes:
        parts: list[bytes] = self.successResultOf(self.read(body))
        return b"".join(parts)


class BodyTests(Case):
    def test_pieces(self) -> None:
        """At least a piece at a time, what is left at the end, then nothing, as often as one asks."""
        body = self.body()
        reading = self.read(body)
        for _ in range(PIECE // READ):
            self.assertNoResult(reading)
            body.feed(b"x" * READ, False)
        parts: list[bytes] = self.successResultOf(reading)
        self.assertEqual(sum(map(len, parts)), PIECE)
        body.feed(b"rest", False)
        reading = self.read(body)
        self.assertNoResult(reading)
        body.feed(b"", True)
        self.assertEqual(self.successResultOf(reading), [b"rest"])
        self.assertEqual([self.piece(body), self.piece(body)], [b"", b""])

    def test_two_pieces_and_no_more(self) -> None:
        """While its reader works on one, the client may send another, and is then held back."""
        body = self.body()
        reading = self.read(body)
        body.feed(b"x" * PIECE, False)
        self.successResultOf(reading)
        self.assertFalse(self.client.held)
        body.feed(b"x" * (PIECE - 1), False)
        self.assertFalse(self.client.held)
        body.feed(b"x", False)
        self.assertTrue(self.client.held)
        self.assertFalse(body.is_wanted)
        self.assertEqual(len(self.piece(body)), PIECE)
        self.assertFalse(self.client.held)
        self.assertTrue(body.is_wanted)

    def test_invited_once(self) -> None:
        body = self.body(3, expects=True)
        self.assertEqual((self.client.invited, body.is_wanted), (0, False))
        reading = self.read(body)
        self.assertEqual((self.client.invited, body.is_wanted), (1, True))
        body.feed(b"abc", False)
        body.feed(b"", True)
        self.assertEqual(self.successResultOf(reading), [b"abc"])
        self.read(body)
        self.assertEqual(self.client.invited, 1)

    def test_small_parts_are_put_together(self) -> None:
        """Chunks of two bytes do not take the memory of fifty each."""
        body = self.body()
        for _ in range(10_000):
            body.feed(b"ab", False)
        body.feed(b"x" * 5000, False)
        body.feed(b"cd", False)
        body.feed(b"", True)
        parts = self.successResultOf(self.read(body))
        self.assertLess(len(parts), 10)
        self.assertEqual(b"".join(parts), b"ab" * 10_000 + b"x" * 5000 + b"cd")
        self.assertEqual({type(part) for part in parts}, {bytes})

    def test_what_came_before_the_cut_is_read(self) -> None:
        body = self.body(10)
        body.feed(b"abc", False)
        body.fail(ClientGone())
        self.assertEqual(self.piece(body), b"abc")
        self.failureResultOf(self.read(body), ClientGone)
        self.failureResultOf(self.read(body), ClientGone)

    def test_a_reader_that_waits_is_told(self) -> None:
        for error in (ClientGone(), BodyTooSlow()):
            body = self.body(10)
            reading = self.read(body)
            body.fail(error)
            self.failureResultOf(reading, type(error))

    def test_a_cancelled_reader(self) -> None:
        """It is told why, if there is a reason; the body can be read afterwards."""
        body = self.body(3)
        reading = self.read(body)
        reading.cancel()
        self.failureResultOf(reading, CancelledError)
        body.feed(b"abc", False)
        body.feed(b"", True)
        self.assertEqual(self.piece(body), b"abc")

    def test_failing_after_the_end(self) -> None:
        body = self.body(3)
        body.feed(b"abc", False)
        body.feed(b"", True)
        body.fail(ClientGone())
        self.assertEqual(self.piece(body), b"abc")
        self.assertEqual(self.piece(body), b"")

    def test_closed(self) -> None:
        """Once the request is answered nobody gets the rest."""
        body = self.body(10)
        body.feed(b"abc", False)
        body.close()
        self.failureResultOf(self.read(body), ClientGone)
        self.assertEqual((self.budget.held, self.budget.bodies), (0, 0))


class WholeTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.kept: list[tuple[Body, Deferred[bytes]]] = []

    def read_all(self, body: Body, limit: int) -> Deferred[bytes]:
        return Deferred.fromCoroutine(body.read_all(limit))

    def test_to_the_limit(self) -> None:
        for parts in ([b""], [b"abc"], [b"a" * 5000, b"b" * 5000], [b"a" * PIECE] * 4):
            size = sum(map(len, parts))
            body = self.body()
            whole = self.read_all(body, size)
            for part in parts[:-1]:
                body.feed(part, False)
            body.feed(parts[-1], True)
            self.assertEqual(self.successResultOf(whole), b"".join(parts))

    def test_beyond_it(self) -> None:
        body = self.body()
        whole = self.read_all(body, PIECE)
        body.feed(b"x" * (PIECE + 1), False)
        self.failureResultOf(whole, BodyTooLarge)

    def test_known_before(self) -> None:
        """Not a byte is taken, and nobody is invited to send it."""
        body = self.body(PIECE + 1, expects=True)
        self.failureResultOf(self.read_all(body, PIECE), BodyTooLarge)
        self.assertEqual(self.client.invited, 0)


    def gather(self, size: int) -> tuple[Body, Deferred[bytes]]:
        """A body that is to be read whole, and of which so many bytes have come."""
        body = self.body()
        whole = self.read_all(body, 4 * PIECE)
        for _ in range(size // PIECE):
            body.feed(b"x" * PIECE, False)
        self.kept.append((body, whole))     # whose reader is collected gives up
        return body, whole

    def test_too_many_at_once(self) -> None:
        """What is read whole is held until its request is over; beyond the memory for it nobody else is taken."""
        fit = [self.gather(4 * PIECE) for _ in range(MEMORY // PIECE // 4)]
        refusal = self.failureResultOf(self.gather(PIECE)[1], Refusal).value
        self.assertEqual(refusal.status, 503)
        answered, gone, cut = fit[:3]
        answered[0].feed(b"", True)
        self.assertEqual(len(self.successResultOf(answered[1])), 4 * PIECE)
        self.failureResultOf(self.gather(PIECE)[1], Refusal)
        answered[0].close()
        self.assertNoResult(self.gather(4 * PIECE)[1])
        gone[0].feed(b"", True)
        gone[0].fail(ClientGone())
        self.assertNoResult(self.gather(4 * PIECE)[1])
        cut[0].fail(ClientGone())
        self.failureResultOf(cut[1], ClientGone)
        self.assertNoResult(self.gather(4 * PIECE)[1])
        self.failureResultOf(self.gather(PIECE)[1], Refusal)
        self.assertEqual(self.budget.gathered, MEMORY)

    def test_alone(self) -> None:
        """However little memory there is."""
        self.budget = Budget(PIECE)
        body, whole = self.gather(4 * PIECE)
        body.feed(b"", True)
        self.assertEqual(len(self.successResultOf(whole)), 4 * PIECE)


class BudgetTests(Case):
    def test_shares(self) -> None:
        """Few have large pieces, many small ones; together they do not exceed the memory."""
        self.assertEqual((self.budget.piece, self.budget.read), (PIECE, READ))
        for bodies in range(1, 400):
            self.body().feed(b"x", False)
            self.assertEqual(self.budget.bodies, bodies)
            each = 3 * self.budget.piece + 2 * self.budget.read
            self.assertLessEqual(bodies * each, max(MEMORY, bodies * 5 * LEAST))
        self.assertGreaterEqual(self.budget.piece, LEAST)

    def test_what_is_held_is_counted(self) -> None:
        body = self.body()
        reading = self.read(body)
        body.feed(b"x" * PIECE, False)
        self.successResultOf(reading)
        self.assertEqual(self.budget.held, PIECE)           # the reader still has it
        body.feed(b"x" * READ, False)
        self.assertEqual(self.budget.held, PIECE + READ)
        body.feed(b"", True)
        self.piece(body)
        self.assertEqual(self.budget.held, READ)
        self.piece(body)
        self.assertEqual((self.budget.held, self.budget.bodies), (0, 0))

    def test_nothing_is_counted_of_those_who_have_gone(self) -> None:
        for end in (Body.close, lambda body: body.fail(ClientGone())):
            for last in (False, True):                      # who sent all of it before may be gone, too
                body = self.body()
                body.feed(b"x" * PIECE, False)
                self.piece(body)
                body.feed(b"x" * 100, last)
                end(body)
                self.assertEqual((self.budget.held, self.budget.bodies), (0, 0))

    def test_spent(self) -> None:
        """With the memory used up every body is held back with what it has, and its reader gets that."""
        hoarder = self.body()
        hoarder.feed(b"x" * MEMORY, False)
        client, self.client = self.client, Client()
        body = self.body()
        reading = self.read(body)
        body.feed(b"abc", False)
        self.assertEqual(self.successResultOf(reading), [b"abc"])
        body.feed(b"def", False)
        self.assertTrue(self.client.held)
        self.assertEqual(self.piece(body), b"def")
        self.assertTrue(client.held)

    def test_fifty_uploads(self) -> None:
        """Each fills its piece while its reader works on another; all together stay below the memory."""
        bodies = [self.body() for _ in range(50)]
        clients = []
        for body in bodies:
            self.client = Client()
            clients.append(self.client)
            body._sender = self.client
        most = 0
        for _ in range(40):
            for body, client in zip(bodies, clients, strict=True):
                if not client.held:
                    body.feed(b"x" * self.budget.read, False)
                elif body.received % 3 == 0:
                    self.piece(body)
                most = max(most, self.budget.held)
        self.assertGreater(most, MEMORY // 4)
        self.assertLess(most, MEMORY)
