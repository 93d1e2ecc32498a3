"""Heads of requests, parsed by llhttp (httptools)."""

from __future__ import annotations

import httptools

from docker_registry.web.errors import Refusal
from docker_registry.web.framing import Fields
from docker_registry.web.limits import Limits


class Parser:
    """llhttp for the requests of one connection, one after the other; it never sees beyond the end of a head.

    :ivar keep_alive: whether the connection may go on after the message whose head was parsed last.
    """

    __slots__ = ("_fields", "_headed", "_headers", "_limits", "_llhttp", "keep_alive")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._headers: Fields = {}
        self._fields = 0
        self._headed = self.keep_alive = False
        self._llhttp = httptools.HttpRequestParser(self)

    def parse_head(self, head: bytes) -> Fields:
        """The header fields of a whole head, by lower-case name.

        :raises Refusal: malformed, or too many fields.
        """
        headers: Fields = {}
        self._headers = headers
        self._fields = 0
        self._headed = False
        self._feed(head)
        if not self._headed:
            raise Refusal(400, "malformed request")
        if self._fields > self._limits.header_fields:
            raise Refusal(431, "too many header fields")
        return headers

    def start_again(self) -> None:
        """Forget the message that the last head began."""
        self._llhttp = httptools.HttpRequestParser(self)

    def close(self) -> None:
        """Let go of llhttp, which holds on to this parser."""
        del self._llhttp

    def _feed(self, data: bytes) -> None:
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.start_again()                      # we stay with HTTP/1.1 (RFC 9110, 7.8)
        except httptools.HttpParserError:
            raise Refusal(400, "malformed request") from None

    # From llhttp

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.setdefault(name.lower(), []).append(value.rstrip(b" \t"))
        self._fields += 1

    def on_headers_complete(self) -> None:
        self._headed = True
        self.keep_alive = self._llhttp.should_keep_alive()
