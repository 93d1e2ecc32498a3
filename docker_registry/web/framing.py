"""What llhttp lets pass and a registry must not (RFC 9112)."""

from __future__ import annotations

import re

from docker_registry.web.errors import Refusal
from docker_registry.web.limits import Limits

_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_TARGET = re.compile(rb"/[!-~]*")
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)(/[!-~]*)?", re.IGNORECASE)
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def origin_form(target: bytes, headers: dict[bytes, list[bytes]], limits: Limits) -> bytes:
    """The path and query that a request is for (RFC 9112, 3.2); the host that an absolute target names replaces Host.

    :raises Refusal: another form.
    """
    if len(target) > limits.target_bytes:
        raise Refusal(414, "the request target is too long")
    if _TARGET.fullmatch(target) is not None:
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise Refusal(400, "the request target is not a path")
    headers[b"host"] = [absolute[1]]
    return absolute[2] or b"/"


def judge(method: str, version: str, headers: dict[bytes, list[bytes]]) -> None:
    """:raises Refusal: a request that some reader would understand otherwise, or that nobody serves."""
    if version not in ("1.1", "1.0"):
        raise Refusal(505 if version[:1] in "23" else 400, "HTTP/1.1 is spoken here")
    if method not in _METHODS:
        raise Refusal(501, "no such method here")
    hosts = headers.get(b"host", [])
    if len(hosts) > 1 or (version == "1.1" and not hosts):
        raise Refusal(400, "a request has one Host")
    if hosts and _HOST.fullmatch(hosts[0]) is None:
        raise Refusal(400, "malformed Host")
    codings = headers.get(b"transfer-encoding")
    if codings is not None and (version == "1.0" or [coding.strip().lower() for coding in codings] != [b"chunked"]):
        raise Refusal(400, "the only transfer coding is chunked, in HTTP/1.1")
    expectation = headers.get(b"expect")
    if expectation is not None and [each.strip().lower() for each in expectation] != [b"100-continue"]:
        raise Refusal(417, "the only expectation is 100-continue")


class Chunks:
    """Finds the end of a chunked body, so that what follows it is never handed to the parser with it.

    The parser decodes; this one only counts, and refuses lines that are too long to be honest (RFC 9112, 7.1).

    :param line_bytes: a size line with its extensions, and all trailers together, have at most so many bytes.
    """

    __slots__ = ("_left", "_limit", "_line", "_trailers", "complete")

    def __init__(self, line_bytes: int) -> None:
        self._limit = line_bytes
        self._left = 0                  # of a chunk's data and the line break after it
        self._line = b""                # of a size line or a trailer, so far
        self._trailers = -1             # bytes of them; before the last chunk, -1
        self.complete = False

    def take(self, data: bytes, at: int) -> int:
        """Where, from ``at`` on, the body's part of ``data`` ends.

        :raises Refusal: not the framing of chunks.
        """
        while at < len(data) and not self.complete:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._line += data[at:]
                at = len(data)
            else:
                self._line += data[at : end + 1]
                at = end + 1
            if len(self._line) > self._limit:
                raise Refusal(400, "a chunk's line is too long")
            if end >= 0:
                line, self._line = self._line, b""
                self._judge(line)
        return at

    def _judge(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise Refusal(400, "a chunk's line ends with CR LF")
        if self._trailers >= 0:
            self._trailers += len(line)
            if self._trailers > self._limit:
                raise Refusal(400, "too many trailers")
            self.complete = line == b"\r\n"
            return
        match = _SIZE_LINE.fullmatch(line[:-2])
        if match is None:
            raise Refusal(400, "malformed chunk size")
        size = int(match[1], 16)
        if size:
            self._left = size + 2
        else:
            self._trailers = 0
