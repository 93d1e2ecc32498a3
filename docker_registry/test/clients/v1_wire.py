"""HTTP as Docker spoke it before 1.10: each request is written to a connection of its own, header for header."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from docker_registry.test.clients.wire import PATIENCE, Answer, Wrong

Address = tuple[str, int]
Fields = Iterable[tuple[str, str]]
Body = bytes | Iterable[bytes] | None
"""Bytes go as they are, pieces as chunks; the fields have to say which."""


@dataclass(frozen=True)
class V1Answer(Answer):
    def expect(self, *statuses: int, **headers: str) -> V1Answer:
        super().expect(*statuses, **headers)
        return self

    def error(self, status: int, code: str) -> V1Answer:
        """Itself, if it is an error of exactly the text ``code``.

        :raises Wrong: it is not.
        """
        self.expect(status, Content_Type="application/json")
        if self.json != {"error": code}:
            raise Wrong(f"error {code!r} expected from {self}")
        return self

    def says(self, value: Any, status: int = 200) -> V1Answer:
        """Itself, if its body is ``value`` in JSON.

        :raises Wrong: it is not.
        """
        self.expect(status, Content_Type="application/json")
        if self.json != value:
            raise Wrong(f"{value!r} expected from {self}")
        return self


def head(method: str, target: str, fields: Fields) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


@contextmanager
def asking(address: Address, method: str, target: str, fields: Fields, body: Body = None) -> Iterator[
    http.client.HTTPResponse
]:
    """The answer of which only the head has been read; the connection ends with the block."""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        try:
            connection.sendall(head(method, target, fields) + (body if isinstance(body, bytes) else b""))
            if body is not None and not isinstance(body, bytes):
                for piece in body:
                    connection.sendall(chunk(piece))
                connection.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass                                # refused before its end: the answer says why
        with http.client.HTTPResponse(connection, method=method) as response:
            response.begin()
            yield response


def ask(address: Address, method: str, target: str, fields: Fields, body: Body = None) -> V1Answer:
    """One request, and its whole answer.

    :raises Wrong: the answer is cut, or framed in a way that no old client reads.
    """
    with asking(address, method, target, fields, body) as response:
        try:
            content = response.read()
        except http.client.IncompleteRead as error:
            raise Wrong(f"{method} {target}: cut after {len(error.partial)} bytes\n{response.headers}") from None
        answer = V1Answer(f"{method} {target}", response.status, response.headers, content)
    check(method, answer)
    return answer


def check(method: str, answer: V1Answer) -> None:
    """What holds for every answer of protocol v1: its frame, no cookies, JSON for every error."""
    for name in ("Set-Cookie", "Content-Encoding", "Transfer-Encoding"):
        if name in answer.headers:
            raise Wrong(f"{name} in {answer}")
    if answer.status in (204, 304):
        if answer.body:
            raise Wrong(f"a body in {answer}")
        return
    length = int(answer["Content-Length"])
    if length != len(answer.body) and method != "HEAD":
        raise Wrong(f"{len(answer.body)} bytes in {answer}")
    # docker takes an empty 416 for the end of a layer that it resumes.
    if answer.status < 400 or method == "HEAD" or (answer.status == 416 and not answer.body):
        return
    if "/v2/" in answer.request:
        return
    answer.expect(answer.status, Content_Type="application/json")
    if list(answer.json) != ["error"] or not isinstance(answer.json["error"], str) or not answer.json["error"]:
        raise Wrong(f"no error in {answer}")


@contextmanager
def begun(address: Address, method: str, target: str, fields: Fields, sent: bytes) -> Iterator[socket.socket]:
    """A request of which the head and ``sent``, raw, have been written; the connection ends with the block."""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(head(method, target, fields) + sent)
        yield connection


def cut(address: Address, method: str, target: str, fields: Fields, sent: bytes) -> None:
    """Send the head and ``sent``, raw, and no more; return when the registry has given the connection up."""
    with begun(address, method, target, fields, sent) as connection:
        connection.shutdown(socket.SHUT_WR)
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            return                              # given up without a word, as a lost client is
