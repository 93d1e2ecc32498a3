"""One request, as a route is given it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from docker_registry.web.body import Body
from docker_registry.web.errors import Refusal

if TYPE_CHECKING:
    from docker_registry.web.channel import Channel

Headers = Sequence[tuple[bytes, bytes]]

REASONS = {
    200: b"OK", 201: b"Created", 202: b"Accepted", 204: b"No Content", 206: b"Partial Content",
    301: b"Moved Permanently", 302: b"Found", 304: b"Not Modified", 307: b"Temporary Redirect",
    308: b"Permanent Redirect", 400: b"Bad Request",
    401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found", 405: b"Method Not Allowed", 408: b"Request Timeout",
    409: b"Conflict", 411: b"Length Required", 412: b"Precondition Failed", 413: b"Content Too Large",
    414: b"URI Too Long", 416: b"Range Not Satisfiable", 417: b"Expectation Failed", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 500: b"Internal Server Error", 501: b"Not Implemented",
    503: b"Service Unavailable", 505: b"HTTP Version Not Supported", 507: b"Insufficient Storage",
}

_WITHOUT_CONTENT = frozenset({204, 304})


class Request:
    """What the client asks, and the way to answer it.

    :ivar method: ``"GET"``.
    :ivar target: as sent.
    :ivar path: without the query, percent-encoded, ASCII.
    :ivar query: as sent, without the question mark.
    :ivar headers: by lower-case name, every value of it.
    :ivar content_length: of the body in bytes; ``None`` if it comes in chunks.
    :ivar status: of the answer; 0 until there is one.
    :ivar sent: bytes of content sent.
    :ivar started: seconds, by the site's clock.
    """

    __slots__ = (
        "_args", "_channel", "body", "content_length", "has_body", "headers", "http_version", "keep_alive", "method",
        "path", "query", "sent", "started", "status", "target",
    )

    def __init__(
        self,
        channel: Channel,
        method: str,
        target: bytes,
        headers: dict[bytes, list[bytes]],
        http_version: str,
        keep_alive: bool,
        content_length: int | None,
        body: Body,
        started: float,
    ) -> None:
        self._channel = channel
        self.method = method
        self.target = target
        self.path, _, self.query = target.decode("ascii").partition("?")
        self.headers = headers
        self.http_version = http_version
        self.keep_alive = keep_alive
        self.content_length = content_length
        self.has_body = content_length != 0
        self.body = body
        self.started = started
        self.status = 0
        self.sent = 0
        self._args: dict[str, list[str]] | None = None

    @property
    def client(self) -> str:
        """The address of the peer, for logs."""
        return self._channel.client

    @property
    def channel(self) -> Channel:
        """The connection, for those who stream an answer over it."""
        return self._channel

    def header(self, name: bytes) -> bytes | None:
        """The value of a header field; several fields are one list (RFC 9110, 5.3). ``None`` if there is none."""
        values = self.headers.get(name)
        return None if values is None else values[0] if len(values) == 1 else b", ".join(values)

    def values(self, name: bytes) -> list[bytes]:
        return self.headers.get(name, [])

    @property
    def args(self) -> dict[str, list[str]]:
        """The query's fields, decoded once.

        :raises Refusal: too many, or not UTF-8.
        """
        if self._args is None:
            if not self.query:
                self._args = {}
            else:
                try:
                    self._args = parse_qs(
                        self.query,
                        keep_blank_values=True,
                        errors="strict",
                        max_num_fields=self._channel.site.limits.query_fields,
                    )
                except ValueError:
                    raise Refusal(400, "the query has too many fields, or is not UTF-8") from None
        return self._args

    def answer(self, status: int, headers: Headers = (), content: bytes = b"", length: int | None = None) -> None:
        """Send a whole small answer in one write.

        :param length: what a HEAD request is told, if it is not the content's length.
        """
        if self.status:
            raise RuntimeError(f"{self.method} {self.path} is answered already")
        size = len(content) if length is None else length
        head = self.head(status, headers, None if status in _WITHOUT_CONTENT else size)
        if self.method == "HEAD" or status in _WITHOUT_CONTENT:
            content = b""
        self.status = status
        self.sent = len(content)
        self._channel.send_last(self, head + content)

    def begin(self, status: int, headers: Headers, length: int) -> bytes:
        """Commit to an answer of ``length`` bytes; the head, to be sent before them."""
        head = self.head(status, headers, length)
        self.status = status
        return head

    def head(self, status: int, headers: Headers, length: int | None) -> bytes:
        """The bytes of an answer's head.

        :raises ValueError: a header that would end early; nothing from a client may get so far.
        """
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers) or b"\0" in lines:
            raise ValueError("a header field with a line break")
        size = b"" if length is None else b"Content-Length: %d\r\n" % length
        return b"HTTP/1.1 %d %b\r\n%b%b%b%b\r\n" % (
            status, REASONS.get(status, b"Unknown"), self._channel.site.standing_headers(), lines, size,
            self._channel.connection_header(self),
        )
