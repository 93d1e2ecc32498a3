"""What has come from a client and was not looked at yet."""

from __future__ import annotations

from docker_registry.web.errors import Refusal
from docker_registry.web.limits import Limits

EMPTY = 64
"""Bytes of empty lines that may come before a request."""

_LINE = 64
"""Bytes of a request line beside the target, generously."""


class Inlet:
    """:ivar data: what has come; what is before ``at`` has been dealt with."""

    __slots__ = ("_limits", "_searched", "_skipped", "at", "data")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._searched = 0                          # bytes from `at` on that have no end of a head among them
        self._skipped = 0                           # of empty lines before the next request
        self.data = b""
        self.at = 0

    @property
    def left(self) -> int:
        """Bytes that are to be dealt with."""
        return len(self.data) - self.at

    def add(self, data: bytes) -> None:
        self.data = self.data[self.at :] + data if self.at < len(self.data) else data
        self.at = 0

    def clear(self) -> None:
        self.data, self.at, self._searched = b"", 0, 0

    def skip_empty_lines(self) -> None:
        """Some clients send one before a request (RFC 9112, 2.2).

        :raises Refusal: too many.
        """
        while self.data[self.at : self.at + 1] in (b"\r", b"\n"):
            self.at += 1
            self._skipped += 1
            if self._skipped > EMPTY:
                raise Refusal(400, "malformed request")

    def take_head(self) -> bytes | None:
        """The request line and the header fields of the next request, to the empty line; ``None`` if more must come.

        :raises Refusal: too long, or already known to be no head: nobody needs to wait for its end.
        """
        end = self.data.find(b"\r\n\r\n", self.at + max(self._searched - 3, 0)) + 4
        if end == 3:
            self._searched = self.left
            self._judge_beginning()
            return None
        if end - self.at > self._limits.header_bytes:
            self._judge_length(end)
        head = self.data[self.at : end]
        self.at, self._searched, self._skipped = end, 0, 0
        return head

    def _judge_beginning(self) -> None:
        if not self.left:
            return
        if not 0x41 <= self.data[self.at] <= 0x5A:
            # A client that begins with TLS is told in HTTP: by that it knows that it should have begun without.
            raise Refusal(400, "malformed request")
        self._judge_length(len(self.data))

    def _judge_length(self, end: int) -> None:
        line = self.data.find(b"\r\n", self.at)
        if (end if line < 0 else line) - self.at > self._limits.target_bytes + _LINE:
            raise Refusal(414, "the request's target is too long")
        if end - self.at > self._limits.header_bytes:
            raise Refusal(431, "the request's head is too long")
