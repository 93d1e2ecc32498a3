"""HTTP as the clients of a registry speak it, over real sockets; every answer is checked for what holds for all."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from twisted.trial.unittest import FailTest

PATIENCE = 30.0
"""Seconds that an answer may take."""

Fields = Sequence[tuple[str, str]]
Body = bytes | Iterable[bytes] | None


class Wrong(FailTest):
    """An answer is not what the specification demands; the text has request and answer."""


@dataclass(frozen=True)
class Answer:
    """:ivar request: method and target, for messages.
    :ivar size: what ``Content-Length`` says in bytes, ``None`` without it.
    """

    request: str
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def __str__(self) -> str:
        return f"{self.request}: {self.status}\n{self.headers}{self.body[:500]!r}"

    def __getitem__(self, name: str) -> str:
        """:raises Wrong: the answer has no such header."""
        value: str | None = self.headers.get(name)
        if value is None:
            raise Wrong(f"no {name} in {self}")
        return value

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        """Of the errors it reports."""
        return [error["code"] for error in self.json["errors"]]

    def expect(self, *statuses: int, **headers: str) -> Answer:
        """Itself, if it has one of ``statuses`` and these headers (``_`` in their names stands for ``-``).

        :raises Wrong: it has not.
        """
        if self.status not in statuses:
            raise Wrong(f"{' or '.join(map(str, statuses))} expected from {self}")
        for name, value in headers.items():
            if self[name.replace("_", "-")] != value:
                raise Wrong(f"{name}: {value} expected from {self}")
        return self

    def error(self, status: int, code: str) -> Answer:
        """Itself, if it reports ``code`` (distribution-spec 1.1, "Error Codes").

        :raises Wrong: it does not.
        """
        self.expect(status)
        if code not in self.codes:
            raise Wrong(f"{code} expected from {self}")
        return self


class Wire:
    """A client's connections to one registry.

    :param base: where it is, ``http://127.0.0.1:5000``.
    :param keep_alive: one connection for all requests; else one for each, announced by ``Connection: close``.
    :ivar strict: whether what this registry always does is demanded, also where the specification is content with less.
    """

    def __init__(self, base: str, *, keep_alive: bool = True, strict: bool = True, fields: Fields = ()) -> None:
        parts = urlsplit(base)
        assert parts.hostname is not None
        self._address = parts.hostname, parts.port or 80
        self._keep_alive = keep_alive
        self.strict = strict
        self._fields = fields
        self._connection = http.client.HTTPConnection(*self._address, timeout=PATIENCE)

    def close(self) -> None:
        self._connection.close()

    def __call__(self, method: str, target: str, body: Body = None, *fields: tuple[str, str]) -> Answer:
        """Send a request with exactly these header fields, and what HTTP cannot do without.

        :param target: a path with its query, or a whole URL of this registry, as ``Location`` may have.
        :param body: bytes go with a length, pieces as chunks, ``None`` without either.
        """
        request = f"{method} {target}"
        parts = urlsplit(target)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection = self._connection
        connection.putrequest(method, target, skip_accept_encoding=True)
        if not self._keep_alive:
            connection.putheader("Connection", "close")
        for name, value in (*self._fields, *fields):
            connection.putheader(name, value)
        if isinstance(body, bytes):
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
        elif body is not None:
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders(body, encode_chunked=True)
        else:
            connection.endheaders()
        with connection.getresponse() as response:
            answer = Answer(request, response.status, response.headers, response.read())
        if not self._keep_alive:
            connection.close()
        self._check(method, answer)
        return answer

    def _check(self, method: str, answer: Answer) -> None:
        """What holds for every answer below ``/v2/``."""
        for name in ("Content-Encoding", "Transfer-Encoding"):
            if name in answer.headers and self.strict:
                raise Wrong(f"{name} in {answer}")
        if self.strict and answer.headers.get("Docker-Distribution-Api-Version") != "registry/2.0":
            raise Wrong(f"no version in {answer}")
        if answer.status not in (204, 304) and self.strict:
            length = int(answer["Content-Length"])
            if method != "HEAD" and length != len(answer.body):
                raise Wrong(f"{len(answer.body)} bytes in {answer}")
        if answer.status >= 400 and method != "HEAD" and self.strict:
            answer.expect(answer.status, Content_Type="application/json")
            if not answer.codes:
                raise Wrong(f"no error in {answer}")


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def with_query(location: str, name: str, value: str) -> str:
    """As clients add ``digest=`` to where an upload goes on."""
    return f"{location}{'&' if '?' in location else '?'}{name}={value.replace(':', '%3A')}"
