"""Streamed answers: files by ``sendfile`` where the socket is plain, everything else piece by piece."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.tcp import Connection

from docker_registry.threads import Runner
from docker_registry.web.channel import Channel
from docker_registry.web.errors import ClientGone
from docker_registry.web.request import Headers, Request

SMALL = 128 << 10
"""Bytes up to which head and content go out in one write."""

PIECE = 256 << 10
"""Bytes read at a time; a client that takes nothing holds so many in memory."""

BURST = 1 << 20
"""Bytes handed to the kernel in one call: a page that is not in memory makes it wait for the disk."""

AHEAD = 8 << 20
"""Bytes that the kernel is asked to read ahead."""


class Source(Protocol):
    """Where an answer's bytes come from."""

    def read(self, count: int, /) -> Awaitable[bytes]: ...

    def close(self) -> None: ...


async def send_source(
    request: Request,
    status: int,
    headers: Headers,
    source: Source,
    length: int,
    *,
    runner: Runner,
    fd: int | None = None,
    offset: int = 0,
) -> None:
    """Answer with ``length`` bytes of ``source``, and close it.

    :param fd: where the same bytes lie in a file, from ``offset`` on.
    :raises ClientGone: the client went away.
    :raises Exception: what the source raised; or it ended early. The connection is not to be used any more.
    """
    try:
        if request.method == "HEAD":
            return request.answer(status, headers, length=length)
        if length <= SMALL and (content := await _whole(source, length)) is not None:
            return request.answer(status, headers, content)
        head = request.begin(status, headers, length)
        channel = request.channel
        if fd is not None and isinstance(channel.transport, Connection) and not channel.transport.TLS:
            await _FileSender(channel, request, head, fd, offset, length, runner).sent
        else:
            await _send_pieces(channel, request, head, source, length)
        return channel.send_last(request, b"")
    finally:
        source.close()


async def _whole(source: Source, length: int) -> bytes | None:
    """All of a small source: nothing is sent before it is known to be there."""
    content = await source.read(length)
    while len(content) < length:
        piece = await source.read(length - len(content))
        if not piece:
            raise OSError(f"{len(content)} bytes instead of {length}")
        content += piece
    return content


async def _send_pieces(channel: Channel, request: Request, head: bytes, source: Source, length: int) -> None:
    with _Gate(channel) as gate:
        await gate.write(head)
        while request.sent < length:
            piece = await source.read(min(PIECE, length - request.sent))
            if not piece:
                raise OSError(f"{request.sent} bytes instead of {length}")
            await gate.write(piece)
            request.sent += len(piece)


class _Gate:
    """``await gate.write(piece)`` returns when the client wants more."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._open = True
        self._gone = False
        self._waiting: Deferred[None] | None = None

    def __enter__(self) -> _Gate:
        self._channel.sender = self
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.sender = None

    async def write(self, piece: bytes) -> None:
        """:raises ClientGone: nobody is listening any more."""
        if not self._gone:
            self._channel.write(piece)
        if not self._open and not self._gone:
            self._waiting = Deferred()
            try:
                await self._waiting
            finally:
                self._waiting = None
        if self._gone:
            raise ClientGone()

    def pause(self) -> None:
        self._open = False

    def resume(self) -> None:
        self._open = True
        self._wake()

    def stop(self) -> None:
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)


class _FileSender:
    """Bytes go from the page cache to the socket without passing through this process.

    The transport calls its producer whenever its buffer is empty and the socket takes more; each call hands one burst
    to the kernel.

    :ivar sent: fires when all bytes are with the kernel.
    """

    def __init__(
        self, channel: Channel, request: Request, head: bytes, fd: int, offset: int, length: int, runner: Runner
    ) -> None:
        self._channel = channel
        self._request = request
        self._fd = fd
        self._at = offset
        self._end = offset + length
        self._runner = runner
        self._ahead = offset
        self.sent: Deferred[None] = Deferred(lambda _: self._leave())
        channel.sender = self
        self._read_ahead()
        channel.write(head)
        channel.wait_for_room()

    def pause(self) -> None:
        """The head did not fit: `resume` follows."""

    def resume(self) -> None:
        try:
            count = os.sendfile(self._channel.transport.fileno(), self._fd, self._at, min(BURST, self._end - self._at))
        except BlockingIOError:
            return self._channel.wait_for_room()
        except OSError as error:
            return self._fail(error)
        if count == 0:
            return self._fail(OSError(f"the file ends {self._end - self._at} bytes early"))
        self._at += count
        self._request.sent += count
        if self._at < self._end:
            self._read_ahead()
            return self._channel.wait_for_room()
        self._leave()
        return self.sent.callback(None)

    def stop(self) -> None:
        self._fail(ClientGone())

    def _read_ahead(self) -> None:
        """Off the reactor, since asking may wait for the disk's queue."""
        if self._at + AHEAD // 2 >= self._ahead and self._ahead < self._end:
            advice: Any = os.POSIX_FADV_WILLNEED
            self._runner.quick(_advise, os.dup(self._fd), self._ahead, min(AHEAD, self._end - self._ahead), advice)
            self._ahead += AHEAD

    def _leave(self) -> None:
        self._channel.sender = None

    def _fail(self, error: Exception) -> None:
        self._leave()
        if not self.sent.called:
            self.sent.errback(error)


def _advise(fd: int, offset: int, length: int, advice: int) -> None:
    """Asks on a descriptor of its own: the sender may have ended meanwhile."""
    try:
        os.posix_fadvise(fd, offset, length, advice)
    finally:
        os.close(fd)
