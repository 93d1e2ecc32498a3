"""As much of HTTP/1.1 as a registry's client needs, at next to no cost: what is measured is the server."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO

from bench.failures import LoadFailed

LOOPBACK = "127.0.0.1"

PATIENCE = 120.0
"""Seconds that a client waits for the server to take or to send something."""

_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
_FIELD = re.compile(rb"\r\n([A-Za-z-]+):[ \t]*([^\r\n]*)")


@dataclass(frozen=True, slots=True)
class Answer:
    """:ivar headers: by lower-case name.
    :ivar content: as much of it as was read.
    """

    status: int
    headers: Mapping[bytes, bytes]
    content: bytes

    @property
    def length(self) -> int:
        """Bytes of content.

        :raises LoadFailed: it is not known beforehand.
        """
        if b"content-length" in self.headers:
            return int(self.headers[b"content-length"])
        if self.status in (204, 304):
            return 0
        raise LoadFailed(f"an answer {self.status} without a length")


class Connection:
    """One connection to a registry on this machine."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((LOOPBACK, port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = port

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def ask(self, method: str, target: str, *headers: str, content: bytes = b"") -> Answer:
        """Send a request and read its whole answer."""
        self.send(method, target, *headers, f"Content-Length: {len(content)}", content=content)
        return self.answer()

    def send(self, method: str, target: str, *headers: str, content: bytes = b"") -> None:
        """Send a request's head, and what is at hand of its body."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {LOOPBACK}:{self._port}", *headers]
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + content)

    def send_file(self, file: BinaryIO) -> None:
        self.socket.sendfile(file)

    def answer(self) -> Answer:
        head = self.head()
        content = bytearray(head.content)
        while len(content) < head.length:
            content += self._some(head.length - len(content))
        return Answer(head.status, head.headers, bytes(content))

    def head(self) -> Answer:
        """Read an answer's head, and of its content what comes with it."""
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._some(16 << 10)
        status = _STATUS.match(data)
        if status is None:
            raise LoadFailed(f"no answer: {data[:80]!r}")
        fields = _FIELD.findall(data, 0, end)
        return Answer(int(status[1]), {name.lower(): value for name, value in fields}, data[end + 4 :])

    def _some(self, count: int) -> bytes:
        data = self.socket.recv(count)
        if not data:
            raise LoadFailed("the server ended the connection")
        return data
