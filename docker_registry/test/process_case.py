"""The daemon as a process of its own, and those who talk to it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import DatagramProtocol, Factory, ProcessProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from docker_registry.deferreds import deferred
from docker_registry.test.reactor_case import ReactorCase

reactor: Any = _reactor

CHECKOUT = Path(__file__).parent.parent.parent
TWISTD = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"
SERVE = "from docker_registry.__main__ import main; main()"
LISTENING = re.compile(r"listening on (\S+), storing")


class Waiting:
    """What has been seen of something, and who waits to see more."""

    def __init__(self) -> None:
        self.seen = ""
        self._waiting: list[tuple[Callable[[str], Any], Deferred[Any]]] = []

    def add(self, text: str) -> None:
        self.seen += text
        for each in list(self._waiting):
            found, waiting = each
            if (result := found(self.seen)) is not None:
                self._waiting.remove(each)
                waiting.callback(result)

    def until(self, pattern: str | re.Pattern[str]) -> Deferred[re.Match[str]]:
        """Fires with the first match."""
        waiting: Deferred[re.Match[str]] = Deferred()
        self._waiting.append((re.compile(pattern).search, waiting))
        self.add("")
        return waiting


class Daemon(ProcessProtocol):
    """One process.

    :ivar said: what it wrote to stdout.
    :ivar complained: what it wrote to stderr.
    :ivar ended: fires with its status; a signal that killed it is negative.
    """

    def __init__(self) -> None:
        self.said = Waiting()
        self.complained = Waiting()
        self.ended: Deferred[int] = Deferred()
        self.running = True
        self._out, self._err = (getincrementaldecoder("utf-8")() for _ in range(2))     # a character may come in halves

    def outReceived(self, data: bytes) -> None:
        self.said.add(self._out.decode(data))

    def errReceived(self, data: bytes) -> None:
        self.complained.add(self._err.decode(data))

    def processEnded(self, reason: Failure) -> None:
        self.running = False
        status = reason.value.exitCode if isinstance(reason.value, ProcessDone | ProcessTerminated) else None
        self.ended.callback(-reason.value.signal if status is None else status)  # type: ignore[union-attr]

    def kill(self, number: int) -> None:
        self.transport.signalProcess(number)  # type: ignore[union-attr]


class Conversation(Protocol):
    """A connection and what came over it."""

    def __init__(self) -> None:
        self.answer = Waiting()
        self.closed: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.answer.add(data.decode("latin-1"))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.closed.callback(None)

    def send(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[union-attr]


class Systemd(DatagramProtocol):
    """Hears what systemd would hear."""

    def __init__(self) -> None:
        self.told = Waiting()

    def datagramReceived(self, data: bytes, address: Any) -> None:
        self.told.add(f"{data.decode()}\n")


class ProcessCase(ReactorCase):
    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)
        self.write("x: {storage_path: ./images, listen: ['tcp:0:interface=127.0.0.1']}")

    def write(self, text: str) -> None:
        Path(self.directory, "c.yml").write_text(text)

    def run_program(
        self, program: str, arguments: Sequence[str], environ: Mapping[str, str] | None = None, fds: Any = None
    ) -> Daemon:
        daemon = Daemon()
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SETTINGS", "DOCKER_REG"))}
        reactor.spawnProcess(
            daemon,
            sys.executable,
            [sys.executable, "-c", program, *arguments],
            env={**clean, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1", **(environ or {})},
            path=self.directory,
            childFDs=fds,
        )
        self.addCleanup(self.end, daemon)
        return daemon

    @deferred
    async def end(self, daemon: Daemon) -> None:
        if daemon.running:
            daemon.kill(signal.SIGKILL)
            await daemon.ended

    def twistd(
        self, *arguments: str, options: Sequence[str] = ("--pidfile=",), environ: Mapping[str, str] | None = None
    ) -> Daemon:
        given = ["--nodaemon", *options, "docker-registry", "--config=c.yml", "--flavor=x", *arguments]
        return self.run_program(TWISTD, given, environ)

    async def does_not_start(self, status: int) -> str:
        """What a daemon says that does not start, before it ends."""
        daemon = self.twistd()
        self.assertEqual(await daemon.ended, status, daemon.said.seen)
        [line] = [line for line in daemon.said.seen.splitlines() if "cannot start" in line]
        for other in ("listening on", "Traceback"):
            self.assertNotIn(other, daemon.said.seen)
        return line

    async def started(self, *arguments: str, environ: Mapping[str, str] | None = None) -> tuple[Daemon, int]:
        """A daemon that listens, and its port."""
        daemon = self.twistd(*arguments, environ=environ)
        address = (await daemon.said.until(LISTENING))[1]
        return daemon, int(address.rpartition(":")[2])

    async def connect(self, where: int | str) -> Conversation:
        """:param where: a port, or the string of an endpoint."""
        text = f"tcp:127.0.0.1:{where}" if isinstance(where, int) else where
        conversation: Conversation = await clientFromString(reactor, text).connect(Factory.forProtocol(Conversation))
        self.addCleanup(conversation.transport.abortConnection)  # type: ignore[union-attr]
        return conversation

    async def ask(self, where: int | str, line: str = "GET /v2/", *headers: str, body: bytes = b"") -> str:
        """The whole answer to a request on a connection of its own."""
        conversation = await self.connect(where)
        head = "".join(f"{header}\r\n" for header in (f"{line} HTTP/1.1", "Host: r", "Connection: close", *headers))
        conversation.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await conversation.closed
        return conversation.answer.seen

    async def draining(self, daemon: Daemon, port: int) -> Conversation:
        """Have it stop, while it waits for ten bytes of a push: these go to what is returned."""
        upload = await self.connect(port)
        upload.send(b"POST /v2/a/blobs/uploads/?digest=sha256:%b HTTP/1.1\r\nHost: r\r\n" % (b"0" * 64))
        upload.send(b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")
        await upload.answer.until("100 Continue")
        daemon.kill(signal.SIGTERM)
        await daemon.said.until("requests in flight: 1")
        return upload

    async def appears(self, path: str, pattern: str) -> re.Match[str]:
        """Wait until a file has something that matches."""
        while True:
            text = Path(path).read_text() if os.path.exists(path) else ""
            if (found := re.search(pattern, text)) is not None:
                return found
            await deferLater(reactor, 0.02)

    async def stop(self, daemon: Daemon) -> None:
        daemon.kill(signal.SIGTERM)
        self.assertEqual(await daemon.ended, 0, daemon.said.seen)


class UploadCase(ProcessCase):
    """Uploads that are not done yet."""

    FIRST = 1000
    """Bytes of the chunk that is acknowledged."""

    def content(self) -> bytes:
        return os.urandom(3 << 20)

    async def session(self, port: int) -> str:
        """The location of a new upload session."""
        answer = await self.ask(port, "POST /v2/busybox/blobs/uploads/")
        location = re.search(r"(?i)\r\nlocation: (\S+)\r\n", answer)
        assert location is not None, answer
        return location[1]

    async def begin(self, port: int, location: str, content: bytes, length: int) -> Conversation:
        """A PATCH of ``length`` bytes of which ``content`` has come."""
        conversation = await self.connect(port)
        conversation.send(
            f"PATCH {location} HTTP/1.1\r\nHost: r\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        await conversation.answer.until("100 Continue\r\n\r\n")
        conversation.send(content)
        return conversation

    async def begin_second(self, port: int, location: str, content: bytes) -> Conversation:
        """A chunk that was acknowledged, and a second one of which the last byte is missing."""
        first = await self.begin(port, location, content[: self.FIRST], self.FIRST)
        await first.answer.until("202 Accepted")
        return await self.begin(port, location, content[self.FIRST : -1], len(content) - self.FIRST)

    async def status(self, port: int, location: str) -> int:
        """Bytes that an upload session holds."""
        answer = await self.ask(port, f"GET {location}")
        end = re.search(r"(?i)\r\nrange: 0-(\d+)\r\n", answer)
        assert end is not None, answer
        return int(end[1]) + 1 if end[1] != "0" else 0
