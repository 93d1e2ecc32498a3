"""What every store on the network is asked through, against a server that says what it is told."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import Clock, deferLater
from twisted.internet.tcp import Client
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web._newclient import WrongBodyLength
from twisted.web.client import ResponseDone

from docker_registry.deferreds import outcomes
from docker_registry.errors import SourceGone, StorageFailed, StoreUnavailable, Transient
from docker_registry.storage.flows import COPIED, LEAST, MOST, SHARED, Flow, Inflow, Outflow, Shares, Watch
from docker_registry.storage.http import Http, Patience
from docker_registry.storage.retries import TRIES, Retries
from docker_registry.test.certificates import make_certificate
from docker_registry.test.reactor_case import ReactorCase
from docker_registry.test.servers.faults import FaultProxy
from docker_registry.test.storage_contract import MIB, content

reactor: Any = _reactor


class HttpCase(ReactorCase):
    def setUp(self) -> None:
        self.server = FaultProxy(reactor).start()
        self.addCleanup(self.server.stop)
        self.url = f"http://127.0.0.1:{self.server.port}/b/k%2Fe%20y?x=%2B+"
        self.time = Clock()

    def http(self, **options: Any) -> Http:
        http = Http(reactor, **options)
        self.addCleanup(self.close, http)
        return http

    def timed(self, **options: Any) -> Http:
        """One whose patience has an end when the test says so."""
        http = self.http(**options)
        http._reactor = self.time
        return http

    async def close(self, http: Http) -> None:
        await deferLater(reactor, 0)            # whoever received the last bytes is still in the middle of it
        await http.close()

    async def fails(self, work: Awaitable[Any], error: type[Exception]) -> str:
        """The text of that error."""
        return str(await super().fails(work, error))

    async def until(self, true: Callable[[], bool]) -> None:
        """Turn after turn; the test's time limit is what ends it otherwise."""
        while not true():
            await deferLater(reactor, 0)


class AnswerTests(HttpCase):
    async def test_request_and_answer(self) -> None:
        self.server.add(status=201, headers={"ETag": '"e"'}, body=b"hello")
        http = self.http()
        answer = await http.request("PUT", self.url, {"X-A": "b"}, [b"some ", b"", b"bytes"])
        self.assertEqual((answer.status, answer.length, answer.header("etag")), (201, 5, '"e"'))
        self.assertEqual(await answer.content(5), b"hello")
        [asked] = self.server.asked
        self.assertEqual((asked.method, asked.target, asked.body), ("PUT", "/b/k%2Fe%20y?x=%2B+", b"some bytes"))
        self.assertEqual((asked.headers["x-a"], asked.headers["content-length"]), ("b", "10"))

    async def test_is_not_unpacked_and_not_redirected(self) -> None:
        headers = {"Location": "http://127.0.0.2/", "Content-Encoding": "gzip"}
        self.server.add(status=307, headers=headers, body=b"no gzip")
        answer = await self.http().request("GET", self.url, {})
        self.assertEqual((answer.status, await answer.content(100)), (307, b"no gzip"))
        self.assertNotIn("accept-encoding", self.server.asked[0].headers)

    async def test_connections_are_used_again(self) -> None:
        self.server.add(status=404, body=b"x" * 1000)
        http = self.http()
        for _ in range(3):
            await (await http.request("HEAD", self.url, {})).discard()
            await (await http.request("GET", self.url, {})).discard()
        self.assertEqual((len(self.server.asked), self.server.open), (6, 1))

    async def test_too_long(self) -> None:
        self.server.add(status=200, body=b"x" * 2000)
        answer = await self.http().request("GET", self.url, {})
        await self.fails(answer.content(1999), StorageFailed)

    async def test_cut_off(self) -> None:
        self.server.add(status=200, body=b"x" * 2000, cut=500)
        answer = await self.http().request("GET", self.url, {})
        self.assertEqual(answer.length, 2000)
        await self.fails(answer.content(2000), Transient)

    async def test_without_length(self) -> None:
        """What ends with the connection may have been more (F4)."""
        self.server.add(status=200, body=b"x" * 2000, framed=False)
        answer = await self.http().request("GET", self.url, {})
        self.assertIsNone(answer.length)
        await self.fails(answer.content(2000), Transient)

    async def test_who_reads_slowly_holds_little(self) -> None:
        """The store waits for the reader; then every byte comes, in its order."""
        whole = content(8 * MIB)
        self.server.add(status=200, body=whole)
        answer = await self.timed().request("GET", self.url, {}, stream=True)
        held = answer._inflow
        first = await answer.read(1)
        await self.until(lambda: held._is_paused)
        self.time.advance(2 * Patience().idle)          # nobody is late who has been told to wait
        self.assertLessEqual(held._size, MOST)
        found = hashlib.sha256(first)
        while part := await answer.read(100_000):
            found.update(part)
        self.assertEqual(found.digest(), hashlib.sha256(whole).digest())

    async def test_given_up(self) -> None:
        """The connection goes at once, though the store has more to send."""
        self.server.add(status=200, body=content(8 * MIB))
        answer = await self.http().request("GET", self.url, {}, stream=True)
        await answer.read(1)
        [conversation] = self.server._conversations
        gone: Deferred[None] = Deferred()
        conversation.connectionLost = lambda reason: gone.callback(None)    # type: ignore[method-assign]
        answer.close()
        answer.close()
        await gone

    async def test_kept_by_who_has_all(self) -> None:
        """Whoever has the last byte does not wait for the end: the connection is used again."""
        self.server.add(status=200, body=content(MIB))
        http, seen = self.http(), set()
        for _ in range(3):
            answer = await http.request("GET", self.url, {}, stream=True)
            left = MIB
            while left:
                left -= len(await answer.read(left))
            answer.close()
            seen.update(self.server._conversations)
            await deferLater(reactor, 0)
        self.assertEqual((len(seen), self.server.open), (1, 1))
        self.assertEqual(http._streams.tokens, http._streams.limit)

    async def test_pushes_do_not_keep_others_from_pulling(self) -> None:
        """Those that are sent as slowly as somebody likes have connections of their own, as those that are read so."""
        self.server.add(status=200, body=content(MIB))
        http = self.http()
        http._streams.limit = http._streams.tokens = http._flows.limit = http._flows.tokens = 1
        came: Deferred[Sequence[bytes]] = Deferred()
        parts: Iterator[Deferred[Sequence[bytes]]] = iter([came, succeed([])])
        pushing = Deferred.fromCoroutine(http.request("PUT", self.url, {}, Flow(lambda: next(parts), 5)))
        await self.until(lambda: http._flows.tokens == 0)
        answer = await http.request("GET", self.url, {}, stream=True)
        self.assertEqual(len(await answer.content(MIB)), MIB)
        came.callback([b"whole"])
        (await pushing).close()


class PatienceTests(HttpCase):
    async def test_no_answer(self) -> None:
        self.server.add(hang=True)
        waiting = Deferred.fromCoroutine(self.timed().request("GET", self.url, {}))
        await self.until(lambda: bool(self.server.asked))
        self.time.advance(Patience().first_byte)
        text = await self.fails(waiting, Transient)
        self.assertIn(f"127.0.0.1:{self.server.port}", text)
        self.assertNotIn("k%2Fe", text)

    async def test_nothing_follows(self) -> None:
        self.server.add(status=200, headers={"Transfer-Encoding": "chunked"}, body=b"3\r\nabc\r\n")
        answer = await self.timed().request("GET", self.url, {})
        self.assertEqual(await answer.read(10), b"abc")
        reading = Deferred.fromCoroutine(answer.read(10))
        self.time.advance(Patience().idle)
        await self.fails(reading, Transient)

    async def test_all_connections_busy(self) -> None:
        """Who waits for one waits no longer than for an answer; streams have their own."""
        self.server.add(target="hang", hang=True)
        self.server.add(status=200)
        http = self.timed(connections=1)
        waiting = [Deferred.fromCoroutine(http.request("GET", f"{self.url}hang", {})) for _ in range(3)]
        streamed = await http.request("GET", self.url, {}, stream=True)
        self.assertEqual(streamed.status, 200)
        self.time.advance(Patience().first_byte)
        for found in await outcomes(*waiting):
            self.assertIsInstance(found, Transient)
        self.assertEqual((await http.request("GET", self.url, {})).status, 200)

    async def test_a_connection_that_is_busy_for_long(self) -> None:
        """With something that may take long: who waits does not wait for that."""
        self.server.add(hang=True)
        http = self.timed(connections=1)
        long = Deferred.fromCoroutine(http.request("PUT", self.url, {}, seconds=900.0))
        short = Deferred.fromCoroutine(http.request("GET", self.url, {}))
        self.time.advance(Patience().first_byte)
        self.assertIn("busy", await self.fails(short, Transient))
        self.assertFalse(long.called)
        long.cancel()
        await self.fails(long, CancelledError)

    async def test_nobody_there(self) -> None:
        await self.server.stop()
        await self.fails(self.http().request("GET", self.url, {}), Transient)

    async def test_went_away(self) -> None:
        self.server.add(refuse=True)
        await self.fails(self.http().request("GET", self.url, {}), Transient)

    async def test_cancelled(self) -> None:
        self.server.add(hang=True)
        waiting = Deferred.fromCoroutine(self.http().request("GET", self.url, {}))
        await self.until(lambda: bool(self.server.asked))
        waiting.cancel()
        await self.fails(waiting, CancelledError)

    async def test_cancelled_before_it_is_sent(self) -> None:
        """While the address is looked up, and while it is connected to: nobody takes that for a failure of the store,
        and tries again."""
        attempts = []

        async def attempt(left: float) -> None:
            attempts.append(left)
            await self.http().request("GET", f"http://127.0.0.1:{full}/", {})

        retries = Retries(reactor, lambda low, high: 0.0)
        full = self.full()
        for is_connecting in (False, True):
            waiting = Deferred.fromCoroutine(retries(attempt))
            if is_connecting:
                await self.until(lambda: any(isinstance(each, Client) for each in reactor.getWriters()))
            waiting.cancel()
            await self.fails(waiting, CancelledError)
        self.assertEqual(len(attempts), 2)

    def full(self) -> int:
        """The port of somebody who takes no more connections, and does not say so."""
        listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(listening.close)
        connected = socket.create_connection(listening.getsockname())
        self.addCleanup(connected.close)
        port: int = listening.getsockname()[1]
        return port


class ClosingTests(HttpCase):
    """Nothing goes on, and nothing is left, when it has been closed."""

    async def test_requests(self) -> None:
        self.server.add(target="hang", hang=True)
        self.server.add(status=200, body=content(8 * MIB))
        http = self.http(connections=2)
        retries = Retries(reactor, lambda low, high: 0.0)
        waiting = [Deferred.fromCoroutine(retries(lambda _: http.request("GET", f"{self.url}hang", {})))]
        await self.until(lambda: bool(self.server.asked))
        answer = await http.request("GET", self.url, {}, stream=True)
        waiting += [Deferred.fromCoroutine(retries(lambda _: http.request("GET", self.url, {}))) for _ in range(3)]
        await http.close()
        for found in await outcomes(*waiting):
            self.assertIsInstance(found, CancelledError)
        await self.fails(answer.content(8 * MIB), Transient)
        self.assertEqual([each for each in reactor.getWriters() if isinstance(each, Client)], [])
        await self.fails(http.request("GET", self.url, {}), CancelledError)
        await self.until(lambda: not self.server.open)
        self.assertEqual(len(self.server.asked), 2)

    async def test_a_body_that_is_still_sent(self) -> None:
        """Though the store has answered, and reads no more of it."""
        self.server.add(hang=True)
        http = self.http()

        async def read() -> Sequence[bytes]:
            return [bytes(MIB)]

        waiting = Deferred.fromCoroutine(http.request("PUT", self.url, {}, Flow(read, 1 << 40)))
        await self.until(lambda: bool(self.server.open))
        await http.close()
        await self.fails(waiting, CancelledError)

    async def test_unused(self) -> None:
        self.server.add(status=200)
        http = self.http()
        await (await http.request("GET", self.url, {})).discard()
        await self.until(lambda: self.server.open == 1)
        await http.close()
        await http.close()
        await self.until(lambda: not self.server.open)


class Hasty(Factory):
    """Answers before it has the body.

    :ivar open: connections.
    """

    def __init__(self) -> None:
        self.open = 0

    def buildProtocol(self, address: Any) -> Protocol:
        return Answering(self)


class Answering(Protocol):
    transport: Any

    def __init__(self, server: Hasty) -> None:
        self._server = server
        self._is_answered = False

    def connectionMade(self) -> None:
        self._server.open += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._server.open -= 1

    def dataReceived(self, data: bytes) -> None:
        if not self._is_answered:
            self._is_answered = True
            self.transport.write(b"HTTP/1.1 413 Said\r\nContent-Length: 0\r\n\r\n")


class FlowTests(HttpCase):
    """A body that comes from somebody else."""

    async def test_with_and_without_length(self) -> None:
        self.server.add(status=200)
        for length in (None, 6):
            parts = [[b"ab", b"c"], [b"def"], []]

            async def read(parts: list[list[bytes]] = parts) -> Sequence[bytes]:
                return parts.pop(0)

            await self.http().request("PUT", self.url, {}, Flow(read, length))
        self.assertEqual([each.body for each in self.server.asked], [b"abcdef"] * 2)

    async def test_large_and_small_parts(self) -> None:
        """Large ones go into the socket as they are, behind what was given to the connection, and before it."""
        whole = content(3 * MIB)
        cuts = [0, 1, 10, LEAST + 10, 2 * MIB, 2 * MIB + 1, len(whole)]
        for octets in (bytes, memoryview):
            parts = [octets(whole[start:end]) for start, end in pairwise(cuts)]
            self.server.add(status=200)
            answer = await self.http().request("PUT", self.url, {}, parts)
            self.assertEqual((answer.status, self.server.asked.pop().body == whole), (200, True))

    async def test_more_than_it_said(self) -> None:
        """What is behind the end would be the beginning of another request."""
        self.server.add(status=200)
        for size in (1, LEAST, 4 * LEAST):
            parts = [[b"x" * LEAST], [b"GET / HTTP/1.1\r\n".ljust(size)], []]

            async def read(parts: list[list[bytes]] = parts) -> Sequence[bytes]:
                return parts.pop(0)

            await self.fails(self.http().request("PUT", self.url, {}, Flow(read, LEAST + size - 1)), WrongBodyLength)
        await self.until(lambda: not self.server.open)
        self.assertEqual(self.server.asked, [])

    async def test_fewer_than_it_said(self) -> None:
        parts = [[b"x" * 4 * LEAST], []]

        async def read() -> Sequence[bytes]:
            return parts.pop(0)

        await self.fails(self.http().request("PUT", self.url, {}, Flow(read, 5 * LEAST)), WrongBodyLength)

    async def test_answered_in_the_middle(self) -> None:
        """By somebody who wants no more of it: the connection is given up, with what was not sent."""
        server = Hasty()
        port = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}/"
        answer = await self.http().request("PUT", url, {}, Flow(self.endless, 1 << 40))
        self.assertEqual(answer.status, 413)
        await answer.discard()
        await self.until(lambda: not server.open)

    async def endless(self) -> Sequence[bytes]:
        return [bytes(MIB)]

    async def test_its_source_goes_away(self) -> None:
        async def read() -> Sequence[bytes]:
            raise SourceGone()

        await self.fails(self.http().request("PUT", self.url, {}, Flow(read, 6)), SourceGone)

    async def test_a_slow_source_is_no_slow_store(self) -> None:
        self.server.add(status=200)
        waiting: list[Deferred[None]] = []

        async def read() -> Sequence[bytes]:
            if len(waiting) == 1:
                return []
            waiting.append(Deferred())
            await waiting[0]
            return [b"x"]

        asking = Deferred.fromCoroutine(self.timed().request("PUT", self.url, {}, Flow(read, 1)))
        await self.until(lambda: bool(waiting))
        self.time.advance(2 * Patience().idle)
        waiting[0].callback(None)
        answer = await asking
        self.assertEqual((answer.status, self.server.asked[0].body), (200, b"x"))


class TlsTests(HttpCase):
    """The store's certificate is verified, against the system's authorities or one's own (T42)."""

    def setUp(self) -> None:
        super().setUp()
        directory = Path(self.mktemp())
        directory.mkdir()
        make_certificate(directory)
        self.certificate = directory / "cert.pem"
        context = DefaultOpenSSLContextFactory(str(directory / "key.pem"), str(self.certificate))
        self.tls = FaultProxy(reactor).start(context)
        self.tls.add(status=200, body=b"ok")
        self.addCleanup(self.tls.stop)

    async def test_own_authority(self) -> None:
        answer = await self.http(ca=self.certificate).request("GET", f"https://localhost:{self.tls.port}/", {})
        self.assertEqual(await answer.content(10), b"ok")

    async def test_unknown_authority(self) -> None:
        text = await self.fails(self.http().request("GET", f"https://localhost:{self.tls.port}/", {}), StoreUnavailable)
        self.assertIn("not trusted", text)

    async def test_another_host(self) -> None:
        where = f"https://127.0.0.1:{self.tls.port}/"
        await self.fails(self.http(ca=self.certificate).request("GET", where, {}), StoreUnavailable)
        self.assertEqual(self.tls.asked, [])

    async def test_insecure(self) -> None:
        """Everybody is believed, by name and by address; an operator is told loudly."""
        logged: list[str] = []

        def note(event: Any) -> None:
            logged.append(str(event.get("log_format")))

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        http = self.http(insecure=True)
        self.assertIn("CERTIFICATES ARE NOT VERIFIED", "".join(logged))
        for host in ("localhost", "127.0.0.1"):
            answer = await http.request("GET", f"https://{host}:{self.tls.port}/", {})
            self.assertEqual(await answer.content(10), b"ok")

    def test_no_authority(self) -> None:
        empty = Path(self.mktemp())
        empty.write_text("nothing")
        for path in (empty, empty.with_name("absent")):
            with self.assertRaises(StorageFailed):
                Http(reactor, ca=path)


class RetriesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.left: list[float] = []
        self.lots: list[tuple[float, float]] = []
        self.retries = Retries(self.clock, self.draw)

    def draw(self, low: float, high: float) -> float:
        self.lots.append((low, high))
        return high

    async def _fail(self, left: float) -> None:
        self.left.append(left)
        raise Transient("busy")

    def test_gives_up(self) -> None:
        """After so many tries, with longer and longer pauses."""
        done = Deferred.fromCoroutine(self.retries(self._fail))
        self.clock.pump([0.1] * 74)
        self.assertNoResult(done)
        self.clock.pump([0.1] * 2)
        self.failureResultOf(done, Transient)
        self.assertEqual(len(self.left), TRIES)
        self.assertEqual(self.lots[:4], [(0.0, 0.5), (0.0, 1.0), (0.0, 2.0), (0.0, 4.0)])

    def test_inside_of_others(self) -> None:
        """As when a request needs a login first: the login is tried five times, not twenty-five."""

        async def login(left: float) -> None:
            await self.retries(self._fail)

        done = Deferred.fromCoroutine(self.retries(login))
        self.clock.pump([0.1] * 76)
        self.failureResultOf(done, Transient)
        self.assertEqual(len(self.left), TRIES)

    def test_has_a_limit_of_time(self) -> None:
        async def hang(left: float) -> None:
            self.left.append(left)
            waiting: Deferred[None] = Deferred()
            self.clock.callLater(left, waiting.callback, None)
            await waiting
            raise Transient("no answer")

        done = Deferred.fromCoroutine(self.retries(hang))
        self.clock.advance(30)
        self.failureResultOf(done, Transient)
        self.assertEqual(self.left, [30.0])

    def test_goes_on(self) -> None:
        async def second(left: float) -> str:
            if not self.left:
                await self._fail(left)
            return "done"

        done = Deferred.fromCoroutine(self.retries(second))
        self.clock.advance(0.5)
        self.assertEqual(self.successResultOf(done), "done")

    def test_what_is_no_accident_is_not_repeated(self) -> None:
        async def fail(left: float) -> None:
            self.left.append(left)
            raise StoreUnavailable("wrong key")

        self.failureResultOf(Deferred.fromCoroutine(self.retries(fail)), StoreUnavailable)
        self.failureResultOf(Deferred.fromCoroutine(self.retries(self._fail, once=True)), Transient)
        self.assertEqual(len(self.left), 2)


class SharesTests(SynchronousTestCase):
    def test_many_have_small_pieces(self) -> None:
        shares = Shares()
        pieces = []
        for shares.bodies in (0, 1, SHARED // MOST, SHARED // MOST + 1, SHARED // LEAST, 10_000):
            pieces.append(shares.piece)
        self.assertEqual(pieces[:3], [MOST] * 3)
        self.assertTrue(LEAST < pieces[3] < MOST)
        self.assertEqual(pieces[4:], [LEAST] * 2)

    def test_who_takes_part(self) -> None:
        """A body does as long as bytes of it are to come, or to go."""
        shares = Shares()
        inflow = Inflow(None, shares, Watch(Clock(), lambda: None), 60.0, lambda: None)
        inflow.makeConnection(StringTransport())
        outflows = [Outflow([b"x" * 10], shares, Watch(Clock(), lambda: None), 60.0, 30.0) for _ in range(2)]
        wire = StringTransport()
        for each in outflows:
            each.pauseProducing()
            each.startProducing(wire)
        self.assertEqual(shares.bodies, 3)
        outflows[0].resumeProducing()
        outflows[1].stopProducing()
        self.assertEqual(shares.bodies, 1)
        inflow.close()
        inflow.connectionLost()
        self.assertEqual(shares.bodies, 0)


class OutflowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.expired: list[float] = []
        self.watch = Watch(self.clock, lambda: self.expired.append(self.clock.seconds()))
        self.flow = Outflow([b"x" * (3 * COPIED)], Shares(), self.watch, 60.0, 30.0)
        self.taken = 0
        self.watch.begin(30.0)
        self.flow.startProducing(self)

    def write(self, data: bytes) -> None:
        """Take a piece, and no other before `resumeProducing`."""
        self.taken += len(data)
        self.flow.pauseProducing()

    def test_a_slow_store_is_waited_for(self) -> None:
        """For each piece anew, and then for its answer."""
        for count in (1, 2, 3):
            self.assertEqual(self.taken, count * COPIED)
            self.clock.advance(59)
            self.flow.resumeProducing()
        self.clock.advance(29)
        self.assertEqual(self.expired, [])
        self.clock.advance(1)
        self.assertEqual(len(self.expired), 1)

    def test_a_store_that_takes_no_more(self) -> None:
        self.clock.advance(59)
        self.flow.resumeProducing()
        self.clock.advance(60)
        self.assertEqual((self.taken, self.expired), (2 * COPIED, [119.0]))


class InflowTests(SynchronousTestCase):
    def test_ends_while_it_is_held_up(self) -> None:
        """All has come: nobody is watched any more, though it is read later."""
        clock = Clock()
        inflow = Inflow(None, Shares(), Watch(clock, lambda: None), 60.0, lambda: None)
        inflow.makeConnection(StringTransport())
        inflow.dataReceived(b"x" * MOST)
        inflow.connectionLost(Failure(ResponseDone()))
        self.successResultOf(Deferred.fromCoroutine(inflow.read(MOST)))
        self.assertEqual(clock.getDelayedCalls(), [])


class AnsweredEarlyTests(SynchronousTestCase):
    """The store has answered before it knew that nothing more comes."""

    def test_nobody_is_watched(self) -> None:
        clock = Clock()
        watch = Watch(clock, lambda: self.fail("nobody waits"))
        more: list[Deferred[Sequence[bytes]]] = []

        def read() -> Deferred[Sequence[bytes]]:
            more.append(Deferred())
            return more[-1]

        outflow = Outflow(Flow(read, None), Shares(), watch, 5.0, 5.0)
        done = outflow.startProducing(StringTransport())
        more[0].callback([b"piece"])
        outflow.answered()
        watch.begin(5.0)                        # of the answer's body
        more[1].callback([b"last"])
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        watch.end()
        more[2].callback([])
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(clock.getDelayedCalls(), [])
