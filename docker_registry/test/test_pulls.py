"""Pulls of what is in a store on the network: from socket to socket, at the pace of the slower one (F4, F10, F11)."""

from __future__ import annotations

import os
from socket import MSG_PEEK, SO_RCVLOWAT, SOL_SOCKET
from typing import Any

from twisted.internet.task import Clock

from docker_registry.errors import StoreUnavailable
from docker_registry.storage.flows import MOST
from docker_registry.storage.http import Answer, Http, Patience
from docker_registry.storage.resuming import RESUMED, ResumingReader
from docker_registry.test.registry_case import Direct
from docker_registry.test.servers.faults import FaultProxy
from docker_registry.test.web_case import get
from docker_registry.test.web_wire import WireCase
from docker_registry.web.errors import ClientGone
from docker_registry.web.outlet import BURST
from docker_registry.web.request import Request
from docker_registry.web.sending import send_source

SIZE = (9 << 20) + 7
LARGE = 64 << 20
"""More than all sockets take when nobody reads."""


class Kept:
    """A reader that can be looked at while it is read."""

    def __init__(self, reader: ResumingReader) -> None:
        self._reader = reader
        self.read_so_far = 0
        self.is_closed = False

    async def read(self, count: int) -> bytes:
        piece: bytes = await self._reader.read(count)
        self.read_so_far += len(piece)
        return piece

    def close(self) -> None:
        self.is_closed = True
        self._reader.close()

    @property
    def inflow(self) -> Any:
        answer = self._reader._answer
        return None if answer is None else answer._inflow


class PullCase(WireCase):
    """A site whose one blob is in a store that does what the test says."""

    patience = Patience(first_byte=5.0, idle=5.0)
    size = SIZE

    async def begin(self) -> None:
        self.blob = os.urandom(self.size)
        self.store = FaultProxy(self.reactor).start()
        self.addCleanup(self.store.stop)
        self.http = Http(self.reactor, patience=self.patience)
        self.addCleanup(self.http.close)
        self.offsets: list[int] = []
        self.readers: list[Kept] = []
        self.errors: list[Exception] = []
        await super().begin()

    async def ask(self, at: int) -> Answer:
        self.offsets.append(at)
        return await self.http.request("GET", f"http://127.0.0.1:{self.store.port}/{at}", {}, stream=True)

    def says(self, at: int = 0, cut: int | None = None) -> None:
        """What the store answers who asks for the blob from ``at`` on.

        :param cut: so many bytes, and it is gone.
        """
        self.store.add(target=f"/{at}$", status=200, body=self.blob[at:], cut=cut)

    async def handler(self, request: Request) -> None:
        reader = Kept(ResumingReader("blob", self.size, 0.0, await self.ask(0), 0, self.ask))
        self.readers.append(reader)
        try:
            await send_source(request, 200, [], reader, self.size, runner=Direct())
        except Exception as error:
            self.errors.append(error)
            raise

    async def pull(self) -> bytes:
        """What a client gets that has a connection of its own."""
        client = await self.connect()
        answer = await client.talk(get("/blob", "Connection: close"))
        return answer.partition(b"\r\n\r\n")[2]


class PullTests(PullCase):
    async def test_whole(self) -> None:
        """One after the other, over one connection to the store, which is told of every byte again at the end."""
        self.says()
        for _ in range(3):
            self.assertTrue(await self.pull() == self.blob)
        self.assertEqual((self.offsets, self.store.open), ([0, 0, 0], 1))
        self.assertEqual([request.sent for request in self.requests], [self.size] * 3)
        self.store.rules.clear()
        self.store.add(status=200, body=b"few")
        self.assertEqual(await (await self.ask(1)).content(10), b"few")
        self.assertEqual(self.store.open, 1)

    async def test_many_at_a_time(self) -> None:
        self.says()
        clients = [await self.connect() for _ in range(12)]
        for each in clients:
            each.transport.write(get("/blob", "Connection: close"))
        for each in clients:
            await each.closed
            self.assertTrue(each.data.partition(b"\r\n\r\n")[2] == self.blob)

    async def test_large_pieces(self) -> None:
        """The reactor is not told of each few bytes that the store has sent."""
        self.says()
        self.client.transport.pauseProducing()
        self.client.transport.write(get("/blob"))
        await self.until(lambda: bool(self.readers) and self.readers[0].inflow is not None)
        connection = self.readers[0].inflow._connection
        self.assertGreater(connection.getHandle().getsockopt(SOL_SOCKET, SO_RCVLOWAT), 1)
        self.client.transport.resumeProducing()
        await self.client.has(self.size)
        self.assertEqual(connection.getHandle().getsockopt(SOL_SOCKET, SO_RCVLOWAT), 1)

    async def test_cut_off(self) -> None:
        """It is gone on with, at the byte where it ended; the client sees nothing of it."""
        first, second = (5 << 20) + 3, (6 << 20) + 1
        self.says(cut=first)
        self.says(first, cut=second - first)
        self.says(second)
        self.assertTrue(await self.pull() == self.blob)
        self.assertEqual(self.offsets, [0, first, second])

    async def test_cut_off_too_often(self) -> None:
        """Then the client is, too."""
        for at in range(RESUMED + 1):
            self.says(at * MOST, cut=MOST)
        found = await self.pull()
        self.assertTrue(len(found) < self.size and self.blob.startswith(found))
        self.assertEqual(self.offsets, [count * MOST for count in range(RESUMED + 1)])
        self.assertEqual(self.readers[0].read_so_far, (RESUMED + 1) * MOST)
        self.assertIsInstance(self.errors[0], StoreUnavailable)


class LargePullTests(PullCase):
    size = LARGE

    async def stuck(self) -> Kept:
        """A pull whose client takes nothing, nor does anybody else."""
        self.says()
        self.client.transport.pauseProducing()
        self.client.transport.write(get("/blob"))
        await self.until(lambda: bool(self.readers) and self.is_stuck(self.readers[0]))
        return self.readers[0]

    def is_stuck(self, reader: Kept) -> bool:
        return bool(reader.inflow is not None and reader.inflow._is_paused and self.requests[0].channel.out.is_full)

    async def test_a_client_that_takes_nothing(self) -> None:
        """A piece for it, a piece behind it, and the store waits. Then every byte comes."""
        reader = await self.stuck()
        request = self.requests[0]
        self.assertLessEqual(reader.read_so_far - request.sent, BURST)
        self.assertLessEqual(reader.inflow._size, MOST)
        for _ in range(50):
            await self.turn()
        self.assertLess(request.sent, self.size)
        self.client.transport.resumeProducing()
        await self.client.has(self.size)
        await self.until(lambda: self.client.data.endswith(self.blob[-64:]) and reader.is_closed)
        self.assertTrue(self.client.data.partition(b"\r\n\r\n")[2] == self.blob)

    async def test_a_client_that_goes_away(self) -> None:
        """With a piece that is its own: the store's connection goes, too, and nothing is logged."""
        reader = await self.stuck()
        self.client.transport.abortConnection()
        await self.until(lambda: bool(self.errors))
        self.assertIsInstance(self.errors[0], ClientGone)
        self.assertTrue(reader.is_closed)
        self.assertLess(self.requests[0].sent, self.size)
        await self.until(lambda: not self.store.open)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(self.http._streams.tokens, self.http._streams.limit)
        self.assertEqual(self.http._shares.bodies, 0)


class ImpatientTests(PullCase):
    """Stores that say little, or nothing. The time that they have passes when a test says so."""

    async def begin(self) -> None:
        await super().begin()
        self.time = Clock()
        self.http._reactor = self.time
        self.store.add(target="/0$", hang=True)
        self.client.transport.write(get("/blob"))

    def pass_by(self) -> None:
        """As much as a store may be silent for."""
        self.time.advance(self.patience.idle)

    async def answered(self, at: int) -> Any:
        """What sends the body that was asked for from ``at`` on; the head is there."""
        await self.until(lambda: bool(self.store.seen(target=f"/{at}$")))
        [conversation] = [each for each in self.store._conversations if each._target == f"/{at}".encode()]
        conversation.transport.write(f"HTTP/1.1 200 OK\r\nContent-Length: {self.size - at}\r\n\r\n".encode())
        await self.until(lambda: bool(self.readers) and self.readers[0].inflow is not None)
        return conversation.transport

    async def unread(self, count: int) -> None:
        """So many bytes are there, and the reactor is not told."""
        socket = self.readers[0].inflow._connection.getHandle()
        await self.until(lambda: readable(socket) == count)
        for _ in range(3):
            await self.turn()
        self.assertEqual(readable(socket), count)

    async def reaches(self, count: int) -> None:
        """The client has as much of the blob."""
        await self.until(lambda: self.client.data.endswith(self.blob[:count][-64:]))
        self.assertTrue(self.client.data.partition(b"\r\n\r\n")[2] == self.blob[:count])

    async def test_few_bytes(self) -> None:
        """They are not kept from the client for ever, and whoever sends few is not silent."""
        store = await self.answered(0)
        store.write(self.blob[:1000])
        await self.unread(1000)
        self.pass_by()
        await self.reaches(1000)
        for count in (1001, 2000, self.size):               # from now on the reactor is told of each
            store.write(self.blob[self.requests[0].sent : count])
            await self.reaches(count)
        self.assertEqual(self.offsets, [0])

    async def test_silence(self) -> None:
        """What has come is not lost: behind that it is gone on with."""
        store = await self.answered(0)
        store.write(self.blob[:1000])
        await self.unread(1000)
        self.says(1000)
        self.pass_by()
        await self.reaches(1000)
        self.pass_by()
        await self.reaches(self.size)
        self.assertEqual(self.offsets, [0, 1000])

    async def test_silence_for_ever(self) -> None:
        self.store.add(hang=True)
        for at in range(0, 100 * (RESUMED + 1), 100):
            store = await self.answered(at)
            store.write(self.blob[at : at + 100])
            await self.unread(100)
            self.pass_by()
            await self.reaches(at + 100)
            self.pass_by()
        await self.client.closed
        self.assertEqual(self.offsets, [100 * count for count in range(RESUMED + 1)])
        self.assertIsInstance(self.errors[0], StoreUnavailable)


def readable(socket: Any) -> int:
    """Bytes that a socket has, if they are few."""
    try:
        return len(socket.recv(10_000, MSG_PEEK))
    except BlockingIOError:
        return 0


class TlsPullTests(PullCase):
    """A client with TLS is sent what others are, in smaller pieces."""

    kind = "ssl"

    async def test_cut_off(self) -> None:
        first = (5 << 20) + 3
        self.says(cut=first)
        self.says(first)
        self.assertTrue(await self.pull() == self.blob)
        self.assertEqual(self.offsets, [0, first])
