"""One request, as a route is given it."""

from __future__ import annotations

from collections.abc import Sequence
from random import getrandbits
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from docker_registry.web.body import Body
from docker_registry.web.errors import Refusal
from docker_registry.web.framing import Fields
from docker_registry.web.routing import Match

if TYPE_CHECKING:
    from docker_registry.web.channel import Channel

Headers = Sequence[tuple[bytes, bytes]]

REASONS = {
    200: b"OK", 201: b"Created", 202: b"Accepted", 204: b"No Content", 206: b"Partial Content",
    301: b"Moved Permanently", 302: b"Found", 303: b"See Other", 304: b"Not Modified", 307: b"Temporary Redirect",
    308: b"Permanent Redirect", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found",
    405: b"Method Not Allowed", 406: b"Not Acceptable", 408: b"Request Timeout", 409: b"Conflict", 410: b"Gone",
    411: b"Length Required", 412: b"Precondition Failed", 413: b"Content Too Large", 414: b"URI Too Long",
    415: b"Unsupported Media Type", 416: b"Range Not Satisfiable", 417: b"Expectation Failed",
    429: b"Too Many Requests", 431: b"Request Header Fields Too Large", 500: b"Internal Server Error",
    501: b"Not Implemented", 502: b"Bad Gateway", 503: b"Service Unavailable", 504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported", 507: b"Insufficient Storage",
}
_STATUS_LINES = {status: b"HTTP/1.1 %d %b\r\n" % (status, reason) for status, reason in REASONS.items()}
_WITHOUT_CONTENT = frozenset({204, 304})


def new_id() -> str:
    """Of a request: no secret, and nothing that tells how many there have been."""
    return f"{getrandbits(64):016x}"


def header_lines(headers: Headers) -> bytes:
    """Header fields as they are sent; answers take them in this form as well, for those that are made once.

    :raises ValueError: a field that would end early.
    """
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers) or b"\0" in lines:
        raise ValueError("a header field with a line break")
    return lines


class Request:
    """What the client asks, and the way to answer it.

    :ivar method: ``"GET"``.
    :ivar target: as sent, or its path and query if it named a host.
    :ivar path: without the query, percent-encoded, ASCII.
    :ivar query: as sent, without the question mark.
    :ivar headers: by lower-case name, every value of it.
    :ivar http_version: ``"1.1"`` or ``"1.0"``.
    :ivar is_over: whether nobody waits for an answer any more: the client has gone, or was answered otherwise.
    :ivar keep_alive: whether the connection goes on after the answer.
    :ivar content_length: of the body in bytes; ``None`` if it comes in chunks.
    :ivar client: the address of the peer, for logs; ``"local"`` for a UNIX socket.
    :ivar id: tells this request from all others, of other processes too; in ``X-Request-Id`` of its answer. Never what
        a client sends under that name: it could make two requests look like one.
    :ivar match: the route that it took; ``None`` as long as there is none.
    :ivar user: who asks; ``None`` if nobody was asked for.
    :ivar status: of the answer; 0 until there is one.
    :ivar sent: bytes of content sent.
    :ivar started: seconds, by the site's clock.
    """

    __slots__ = (
        "_args", "body", "channel", "client", "content_length", "headers", "http_version", "id", "is_over",
        "keep_alive", "match", "method", "path", "query", "sent", "started", "status", "target", "user",
    )

    def __init__(
        self,
        channel: Channel,
        method: str,
        target: bytes,
        headers: Fields,
        http_version: str,
        keep_alive: bool,
        body: Body,
        started: float,
    ) -> None:
        self.channel = channel
        self.method = method
        self.target = target
        self.path, _, self.query = target.decode("ascii").partition("?")
        self.headers = headers
        self.http_version = http_version
        self.keep_alive = keep_alive
        self.content_length = body.length
        self.body = body
        self.client = channel.client
        self.started = started
        self.is_over = False
        self.status = 0
        self.sent = 0
        self.id = new_id()
        self.match: Match | None = None
        self.user: str | None = None
        self._args: dict[str, list[str]] | None = None

    @property
    def has_body(self) -> bool:
        return self.content_length != 0

    @property
    def secure(self) -> bool:
        """Whether it came over TLS."""
        return self.channel.secure

    @property
    def route(self) -> str:
        """The pattern of its path; empty if it has none."""
        return self.match.rule if self.match is not None else ""

    @property
    def repository(self) -> str:
        """As the path names it, unchecked; empty if it names none."""
        return self.match.arguments.get("name", "") if self.match is not None else ""

    def header(self, name: bytes) -> bytes | None:
        """The value of a header field; several fields are one list (RFC 9110, 5.3). ``None`` if there is none."""
        values = self.headers.get(name)
        return None if values is None else values[0] if len(values) == 1 else b", ".join(values)

    def values(self, name: bytes) -> list[bytes]:
        return self.headers.get(name, [])

    @property
    def args(self) -> dict[str, list[str]]:
        """The query's fields, decoded once.

        :raises Refusal: too many (414), or not UTF-8.
        """
        if self._args is None:
            self._args = self._parse_query() if self.query else {}
        return self._args

    def _parse_query(self) -> dict[str, list[str]]:
        most = self.channel.site.limits.query_fields
        if self.query.count("&") >= most:
            raise Refusal(414, "the query has too many fields")
        try:
            return parse_qs(self.query, keep_blank_values=True, errors="strict")
        except ValueError:
            raise Refusal(400, "the query is not UTF-8") from None

    def answer(
        self, status: int, headers: Headers | bytes = (), content: bytes = b"", length: int | None = None
    ) -> None:
        """Send a whole answer, a small one in one write.

        :param length: what a HEAD request is told, if it is not the content's length.
        :raises ValueError: a header field that would end early; nothing was sent.
        """
        if self.is_over:
            return
        if status in _WITHOUT_CONTENT:
            length, content = None, b""
        elif length is None:
            length = len(content)
        head = self._head(status, headers, length)
        self.status = status
        if self.method == "HEAD":
            content = b""
        self.sent = len(content)
        self.channel.send_last(self, head, content)

    def begin(self, status: int, headers: Headers | bytes, length: int) -> bytes:
        """Commit to an answer of ``length`` bytes; the head, to be sent before them."""
        head = self._head(status, headers, length)
        self.status = status
        return head

    def _head(self, status: int, headers: Headers | bytes, length: int | None) -> bytes:
        if self.status:
            raise RuntimeError(f"{self.method} {self.path} is answered already")
        lines = headers if isinstance(headers, bytes) else header_lines(headers)
        start = _STATUS_LINES.get(status) or b"HTTP/1.1 %d Other\r\n" % status
        size = b"" if length is None else b"Content-Length: %d\r\n" % length
        return b"%b%bX-Request-Id: %b\r\n%b%b%b\r\n" % (
            start, self.channel.site.common_headers(), self.id.encode("ascii"), lines, size,
            self.channel.connection_header(self),
        )
