"""Answers: in one write, streamed, cut (C6, E2, T25, T28)."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SkipTest

from docker_registry.test.registry_case import Direct
from docker_registry.test.web_case import SiteCase, Wire, get
from docker_registry.test.web_wire import WireCase
from docker_registry.web.errors import ClientGone
from docker_registry.web.outlet import BURST, SMALL, WRITE
from docker_registry.web.pages import Pages
from docker_registry.web.request import Request
from docker_registry.web.sending import PIECE, send_source

HEAD = b"HEAD /a HTTP/1.1\r\nHost: r\r\n\r\n"


class Bytes:
    """A source of bytes that are at hand, or come when the test says so.

    :param error: what happens after the last of them.
    """

    def __init__(self, content: bytes, error: Exception | None = None, slow: bool = False) -> None:
        self.left = content
        self.error = error
        self.slow = slow
        self.waiting: Deferred[bytes] | None = None
        self.reads = 0
        self.closed = 0

    def read(self, count: int) -> Deferred[bytes]:
        self.reads += 1
        if self.slow:
            self.waiting = Deferred()
            return self.waiting
        if not self.left and self.error is not None:
            raise self.error
        piece, self.left = self.left[:count], self.left[count:]
        return succeed(piece)

    def give(self, piece: bytes) -> None:
        waiting, self.waiting = self.waiting, None
        assert waiting is not None
        waiting.callback(piece)

    def close(self) -> None:
        self.closed += 1


class CountingWire(Wire):
    """Knows in how many writes it was given what it has."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.writes: list[bytes] = []
        self.enough = 0
        """After so many it says stop; 0 is never."""

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        super().write(data)
        if len(self.writes) == self.enough:
            assert self.producer is not None
            self.producer.pauseProducing()


class Case(SiteCase):
    def setUp(self) -> None:
        super().setUp()
        self.errors: list[BaseException] = []

    wires = CountingWire
    wire: CountingWire

    def answers(self, answer: Callable[[Request], Any]) -> None:
        """Let the handler do that."""

        async def handler(request: Request) -> None:
            try:
                result = answer(request)
                if result is not None:
                    await result
            except BaseException as error:
                self.errors.append(error)
                raise

        self.handler = handler

    def source(self, source: Bytes, length: int) -> None:
        self.answers(lambda request: send_source(request, 200, [], source, length, runner=Direct()))

    def content(self) -> bytes:
        return self.sent().partition(b"\r\n\r\n")[2]


class AnswerTests(Case):
    def test_in_one_write(self) -> None:
        for content in (b"", b"abc", b"x" * SMALL):
            self.setUp()
            self.answers(partial(Request.answer, status=200, content=content))
            self.send(get("/a"))
            self.assertEqual(len(self.wire.writes), 1)
            self.assertEqual(self.content(), content)

    def test_head_of_every_answer(self) -> None:
        """When and by what, and no versions (T28)."""
        self.answers(lambda request: request.answer(200))
        self.send(get("/a"))
        answer = self.sent()
        self.assertIn(b"Date: Fri, 15 Jan 2027 08:00:00 GMT\r\n", answer)
        self.assertIn(b"Server: docker-registry\r\n", answer)
        self.clock.advance(61)
        self.send(get("/a"))
        self.assertIn(b"Date: Fri, 15 Jan 2027 08:01:01 GMT\r\n", self.sent())

    def test_lengths(self) -> None:
        for data, status, length, expected in [
            (get("/a"), 200, None, b"Content-Length: 3"),
            (HEAD, 200, None, b"Content-Length: 3"),
            (HEAD, 200, 5000, b"Content-Length: 5000"),
            (get("/a"), 204, None, None),
            (get("/a"), 304, None, None),
            (HEAD, 304, 5000, None),
        ]:
            self.setUp()
            self.answers(partial(Request.answer, status=status, content=b"abc", length=length))
            self.send(data)
            answer = self.sent()
            lengths = [line for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length")]
            self.assertEqual(lengths, [expected] if expected else [])
            self.assertEqual(answer.endswith(b"\r\n\r\nabc"), data != HEAD and status == 200)

    def test_headers_that_would_end_early(self) -> None:
        for header in [(b"A", b"b\r\nC: d"), (b"A", b"b\nC"), (b"A\r", b"b"), (b"A", b"\0"), (b"A", b"b\r")]:
            self.setUp()
            self.answers(partial(Request.answer, status=200, headers=[header]))
            self.send(get("/a"))
            self.assertEqual(self.statuses(self.sent()), [500])
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_twice(self) -> None:
        """The second is a fault of the handler, and never seen."""

        def twice(request: Request) -> None:
            request.answer(200, [], b"first")
            request.answer(200, [], b"second")

        self.answers(twice)
        self.send(get("/a"))
        self.assertEqual(self.content(), b"first")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_never(self) -> None:
        self.answers(lambda request: None)
        self.send(get("/a"))
        self.assertEqual(self.statuses(self.sent()), [500])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_large_and_in_memory(self) -> None:
        """A client that reads nothing holds little more than the content that it shares with others (E2)."""
        content = bytes(4 << 20)
        self.answers(lambda request: request.answer(200, [], content))
        self.send(get("/a") + get("/b"))
        self.assertEqual(len(self.requests), 2)
        self.assertEqual(self.sent().count(content), 2)
        self.wire.writes.clear()
        self.wire.enough = 4
        self.send(get("/c"))
        self.assertEqual(len(self.content()), 3 * WRITE)
        self.assertEqual(self.finished[-1], ("/b", 200))
        self.channel.out.resumeProducing()
        self.assertEqual(len(self.sent()), len(content) - 3 * WRITE)
        self.assertEqual(self.finished[-1], ("/c", 200))


class StreamTests(Case):
    def test_small(self) -> None:
        """Head and content in one write, when the content is known to be there."""
        for size in (0, 1, SMALL):
            self.setUp()
            source = Bytes(bytes(size))
            self.source(source, size)
            self.send(get("/a"))
            self.assertEqual(len(self.wire.writes), 1)
            self.assertEqual(self.content(), bytes(size))
            self.assertEqual((source.closed, self.requests[0].sent), (1, size))

    def test_sizes(self) -> None:
        for size in (SMALL + 1, PIECE, PIECE + 1, BURST + 1, 3 * BURST):
            self.setUp()
            content = os.urandom(size)
            source = Bytes(content)
            self.source(source, size)
            self.send(get("/a"))
            self.assertEqual(self.content(), content)
            self.assertEqual(self.requests[0].sent, size)

    def test_part(self) -> None:
        """Not a byte more than announced, whatever the source has."""
        self.source(Bytes(bytes(BURST)), PIECE + 7)
        self.send(get("/a"))
        self.assertEqual(len(self.content()), PIECE + 7)

    def test_head(self) -> None:
        source = Bytes(bytes(BURST))
        self.source(source, BURST)
        self.send(HEAD)
        answer = self.sent()
        self.assertIn(b"Content-Length: 1048576\r\n", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\n"))
        self.assertEqual((source.reads, source.closed), (0, 1))

    def test_drained_meanwhile(self) -> None:
        """It comes to its end, and then its connection does, though its head has promised another request (H1)."""
        source = Bytes(b"", slow=True)
        self.source(source, 2 * PIECE)
        self.send(get("/a") + get("/late"))
        source.give(bytes(PIECE))
        drained = self.site.drain()
        self.assertNoResult(drained)
        source.give(bytes(PIECE))
        answer = self.sent()
        self.assertNotIn(b"Connection: close", answer)
        self.assertEqual(len(answer.partition(b"\r\n\r\n")[2]), 2 * PIECE)
        self.assertTrue(self.wire.ended)
        self.successResultOf(drained)
        self.assertEqual([request.path for request in self.requests], ["/a"])

    def test_nothing_is_read_for_a_client_that_reads_nothing(self) -> None:
        source = Bytes(bytes(4 * PIECE), slow=True)
        self.source(source, 4 * PIECE)
        self.send(get("/a"))
        self.channel.out.pauseProducing()
        source.give(bytes(PIECE))
        self.assertEqual(source.reads, 1)
        self.channel.out.resumeProducing()
        self.assertEqual(source.reads, 2)
        for _ in range(3):
            source.give(bytes(PIECE))
        self.assertEqual(len(self.content()), 4 * PIECE)
        self.assertEqual(source.closed, 1)

    def test_ends_early(self) -> None:
        """Before the head it is a 500, after it the connection is cut: never a clean end of less."""
        source = Bytes(b"x" * 10)
        self.source(source, 11)
        self.send(get("/a"))
        self.assertEqual(self.statuses(self.sent()), [500])
        self.assertEqual((source.closed, len(self.flushLoggedErrors(OSError))), (1, 1))
        self.setUp()
        source = Bytes(b"x" * SMALL)
        self.source(source, SMALL + 1)
        self.send(get("/a"))
        self.assertEqual(len(self.content()), SMALL)
        self.assertTrue(self.wire.aborted)
        self.assertEqual((source.closed, len(self.flushLoggedErrors(OSError))), (1, 1))

    def test_fails(self) -> None:
        for size, status, is_cut in ((10, 500, False), (SMALL, 200, True)):
            self.setUp()
            source = Bytes(b"x" * size, error=ZeroDivisionError())
            self.source(source, SMALL + 1 if is_cut else size + 1)
            self.send(get("/a"))
            self.assertEqual(self.statuses(self.sent()), [status])
            self.assertEqual(self.wire.aborted, is_cut)
            self.assertEqual((source.closed, len(self.flushLoggedErrors(ZeroDivisionError))), (1, 1))

    def test_client_goes_away(self) -> None:
        """While the source works, and while the client reads nothing."""
        for is_stopped in (False, True):
            self.setUp()
            source = Bytes(b"", slow=True)
            self.source(source, BURST)
            self.send(get("/a"))
            if is_stopped:
                self.channel.out.pauseProducing()
                source.give(bytes(PIECE))
            self.lose()
            self.assertEqual(source.closed, 1)
            self.assertEqual(len(self.errors), 1)
            if is_stopped:
                self.assertIsInstance(self.errors[0], ClientGone)
        self.assertEqual(self.flushLoggedErrors(), [])


class Recorded(Direct):
    """Where calls are made, and which."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def quick(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(f"quick {function.__name__}")
        return super().quick(function, *args, **kwargs)

    def slow(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(f"slow {function.__name__}")
        return super().quick(function, *args, **kwargs)


class FileTests(WireCase):
    """Over a socket that takes files."""

    size = (20 << 20) + 13
    offset = 0
    length = size

    async def begin(self) -> None:
        self.runner = Recorded()
        self.path = self.file(self.size)
        self.fd: int | None = None
        await super().begin()

    async def handler(self, request: Request) -> None:
        source = Bytes(self.path.read_bytes()[self.offset :])
        fd = os.open(self.path, os.O_RDONLY) if self.fd is None else self.fd
        self.addCleanup(os.close, fd)
        await send_source(request, 206, [], source, self.length, fd=fd, offset=self.offset, runner=self.runner)
        self.read = source.reads

    async def fetch(self) -> bytes:
        answer = await self.client.talk(get("/a", "Connection: close"))
        return answer.partition(b"\r\n\r\n")[2]

    async def test_parts(self) -> None:
        last = self.size - SMALL - 1
        for offset, length in ((0, self.size), (1, SMALL + 1), (4095, BURST), (7, BURST + 1), (last, SMALL + 1)):
            self.offset, self.length = offset, length
            self.client = await self.connect()
            self.assertTrue(await self.fetch() == self.path.read_bytes()[offset : offset + length])
            self.assertEqual(self.read, 0)

    async def test_in_memory(self) -> None:
        """Nothing leaves the reactor for what the kernel has."""
        self.path.read_bytes()
        await self.fetch()
        self.assertEqual(self.runner.calls, [])

    async def test_not_in_memory(self) -> None:
        """What must come from a disk is read off the reactor."""
        content = self.path.read_bytes()
        fd = os.open(self.path, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        if not forgotten(fd):
            raise SkipTest("this file system keeps its files in memory")
        pages = Pages(fd, 0, self.size, self.runner)
        for at in range(0, self.size, BURST):
            await pages.fetch(at, min(BURST, self.size - at))
        self.assertIn("slow _read_through", self.runner.calls)
        self.assertTrue(await self.fetch() == content)

    async def test_no_such_file(self) -> None:
        """What the kernel does not send is read and sent."""
        self.fd, writer = os.pipe()
        self.addCleanup(os.close, writer)
        self.assertTrue(await self.fetch() == self.path.read_bytes())
        self.assertGreater(self.read, 0)

    async def test_cut_short_while_it_is_sent(self) -> None:
        self.client.transport.pauseProducing()
        self.client.transport.write(get("/a"))
        await self.until(lambda: bool(self.requests) and self.requests[0].channel.out.is_full)
        os.truncate(self.path, self.size - 1)
        self.client.transport.resumeProducing()
        await self.client.closed
        self.assertLess(len(self.client.data.partition(b"\r\n\r\n")[2]), self.size)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


def forgotten(fd: int) -> bool:
    """Whether the kernel could be made to forget the file."""
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return True
    return False
