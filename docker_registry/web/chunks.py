"""A body in chunks (RFC 9112, 7.1), decoded. What follows it is a request: nothing here is guessed."""

from __future__ import annotations

import re

from docker_registry.web.errors import Refusal

AT_ONCE = 1024
"""Chunks that are decoded in one go, in some 3 ms, however small they are."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t -~\x80-\xff]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n")


class Chunks:
    """:param line_bytes: a size line with its extensions, and all trailers together, have at most so many bytes.
    :ivar complete: whether all of the body has come.
    """

    __slots__ = ("_is_behind", "_left", "_limit", "_line", "_trailers", "complete")

    def __init__(self, line_bytes: int) -> None:
        self._limit = line_bytes
        self._left = 0                  # of a chunk's data
        self._is_behind = False         # it has ended, and its line break must come
        self._line = b""                # so far
        self._trailers = -1             # bytes of them; before the last chunk, -1
        self.complete = False

    def take(self, data: bytes, at: int) -> tuple[bytes, int]:
        """The content in ``data`` from ``at`` on, as far as it is decoded in one go, and where that ends.

        :raises Refusal: not the framing of chunks.
        """
        view = memoryview(data)
        parts: list[memoryview] = []
        while at < len(data) and not self.complete and len(parts) < AT_ONCE:
            if self._left:
                end = min(at + self._left, len(data))
                parts.append(view[at:end])
                self._left -= end - at
                self._is_behind = not self._left
            else:
                end = data.find(b"\n", at) + 1 or len(data)
                self._line += data[at:end]
                if len(self._line) > (2 if self._is_behind else self._limit):
                    raise Refusal(400, "a chunk, or its line, is too long")
                if self._line[-1:] == b"\n":
                    line, self._line = self._line, b""
                    self._judge(line)
            at = end
        return b"".join(parts), at

    def _judge(self, line: bytes) -> None:
        if line[-2:] != b"\r\n":
            raise Refusal(400, "a chunk's line ends with CR LF")
        if self._is_behind:
            self._is_behind = False
            return
        if self._trailers >= 0:
            self._judge_trailer(line)
            return
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise Refusal(400, "malformed chunk size")
        self._left = int(match[1], 16)
        if not self._left:
            self._trailers = 0

    def _judge_trailer(self, line: bytes) -> None:
        """They go nowhere."""
        self._trailers += len(line)
        if self._trailers > self._limit:
            raise Refusal(400, "too many trailers")
        self.complete = line == b"\r\n"
        if not self.complete and not _TRAILER.fullmatch(line):
            raise Refusal(400, "malformed trailer")
