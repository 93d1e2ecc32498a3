"""Streamed answers: files by ``sendfile`` where the socket is plain, everything else piece by piece."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable
from typing import Protocol

from twisted.internet.defer import Deferred

from docker_registry.threads import Runner
from docker_registry.web.errors import ClientGone
from docker_registry.web.outlet import BURST, SMALL, Outlet
from docker_registry.web.pages import Pages
from docker_registry.web.request import Headers, Request

PIECE = 192 << 10
"""Bytes read at a time for a client with TLS. With what a transport takes before it says stop, one that takes nothing
holds 256 KiB. For others it is `BURST`, where a step costs as much as half a piece of this size."""

SHARED = 32 << 20
"""Bytes that all files together are sent in one turn of the reactor, if their clients take them: some 8 ms."""

LEAST, MOST = 256 << 10, 4 << 20
"""Bytes of one file in one turn."""

_NO_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ESPIPE})
_GONE = frozenset({
    errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, errno.ESHUTDOWN, errno.ETIMEDOUT,
    errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN,
})


class Source(Protocol):
    """Where an answer's bytes come from."""

    def read(self, count: int, /) -> Awaitable[bytes]: ...

    def close(self) -> None: ...


async def send_source(
    request: Request,
    status: int,
    headers: Headers | bytes,
    source: Source,
    length: int,
    *,
    runner: Runner,
    fd: int | None = None,
    offset: int = 0,
) -> None:
    """Answer with ``length`` bytes of ``source``, and close it.

    :param runner: where the file is read ahead.
    :param fd: where the same bytes lie in a file, from ``offset`` on.
    :raises ClientGone: the client went away.
    :raises Exception: what the source raised; or it ended early. If the head was sent, the connection must be cut.
    """
    try:
        if request.method == "HEAD":
            return request.answer(status, headers, length=length)
        if length <= SMALL:
            return request.answer(status, headers, await _whole(source, length))
        out = request.channel.out
        with Gate(out) as gate:
            out.write(request.begin(status, headers, length))
            if fd is None or not out.is_plain or not await _send_file(gate, request, fd, offset, length, runner):
                await _send_pieces(gate, request, source, length)
        return request.channel.send_last(request, b"")
    finally:
        source.close()


async def _whole(source: Source, length: int) -> bytes:
    """All of a small source: nothing is sent before it is known to be there."""
    content = await source.read(length)
    while len(content) < length:
        piece = await source.read(length - len(content))
        if not piece:
            raise OSError(f"{len(content)} bytes instead of {length}")
        content += piece
    return content


async def _send_pieces(gate: Gate, request: Request, source: Source, length: int) -> None:
    is_plain = gate.out.is_plain
    while request.sent < length:
        coming = source.read(min(BURST if is_plain else PIECE, length - request.sent))
        if isinstance(coming, Deferred) and not coming.called:
            gate.begin_turn()                       # others have theirs before it is there
        piece = await coming
        if not piece:
            raise OSError(f"{request.sent} bytes instead of {length}")
        request.channel.site.turn.end()
        if is_plain:
            await _send_piece(gate, request, piece)
        else:
            request.sent += len(piece)
            await gate.write(piece)


async def _send_piece(gate: Gate, request: Request, piece: bytes) -> None:
    """Let the plain socket take from it as often as it has room: a transport would copy what is left, twice."""
    await gate.turn(len(piece))
    left = memoryview(piece)
    while left:
        sent = gate.out.send(left)
        request.sent += sent
        left = left[sent:]
        if left:
            await gate.room()


async def _send_file(gate: Gate, request: Request, fd: int, offset: int, length: int, runner: Runner) -> bool:
    """Let the kernel send from its page cache; ``False`` if it does not do that for such a file, and nothing was sent.

    Each call sends what the socket takes, and not more than a share of what all files may send in one turn of the
    reactor: a call costs as much as half a MiB does.
    """
    site = request.channel.site
    site.files += 1
    try:
        return await _send_shares(gate, request, fd, offset, length, runner)
    finally:
        site.files -= 1


async def _send_shares(gate: Gate, request: Request, fd: int, offset: int, length: int, runner: Runner) -> bool:
    site = request.channel.site
    pages = Pages(fd, offset, offset + length, runner)
    if gate.out.is_buffered:
        await gate.room()                           # the head goes first
    while request.sent < length:
        share = min(max(SHARED // site.files, LEAST), MOST)
        at, count = offset + request.sent, min(share, length - request.sent)
        await pages.fetch(at, count)
        gate.check()
        site.turn.end()
        try:
            sent = os.sendfile(gate.out.transport.fileno(), fd, at, count)
        except BlockingIOError:
            await gate.room()
            continue
        except OSError as error:
            if error.errno in _GONE:
                raise ClientGone() from None
            if error.errno in _NO_SENDFILE and not request.sent:
                return False
            raise
        if not sent:
            raise OSError(f"{request.sent} bytes instead of {length}")
        request.sent += sent
        if request.sent < length:
            await gate.room()
    return True


class Gate:
    """What streams waits here until the client wants more."""

    def __init__(self, out: Outlet) -> None:
        self.out = out
        self._gone = False
        self._run = 0                               # bytes sent in this turn of the reactor
        self._waiting: Deferred[None] | None = None

    def __enter__(self) -> Gate:
        self.out.sender = self
        return self

    def __exit__(self, *_: object) -> None:
        if self.out.sender is self:
            self.out.sender = None

    async def write(self, piece: bytes) -> None:
        """:raises ClientGone: nobody is listening any more."""
        self.check()
        self.out.write(piece)
        if self.out.is_full:
            await self._resumed()

    async def turn(self, count: int) -> None:
        """Wait until so many bytes may be sent: others want their turn, however fast this client is.

        :raises ClientGone: nobody is listening any more.
        """
        self.check()
        if self._run + count > BURST:
            await self.room()
        self._run += count

    def begin_turn(self) -> None:
        """The reactor comes round before anything more is sent."""
        self._run = 0

    async def room(self) -> None:
        """Wait until all that was written has gone, and the plain socket takes more.

        :raises ClientGone: nobody is listening any more.
        """
        self.out.wait_for_room()
        await self._resumed()

    def check(self) -> None:
        """:raises ClientGone: nobody is listening any more."""
        if self._gone:
            raise ClientGone()

    async def _resumed(self) -> None:
        self.begin_turn()
        while self.out.is_full and not self._gone:
            self._waiting = Deferred()
            try:
                await self._waiting
            finally:
                self._waiting = None
        self.check()

    # From the outlet

    def pause(self) -> None:
        """`write` looks for itself."""

    def resume(self) -> None:
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)

    def stop(self) -> None:
        self._gone = True
        self.resume()
