"""One line for each request, as other HTTP servers write it, or as JSON.

Nothing that a client sends leaves its field or its line (T46), and what its URLs may hold of secrets is left out (T44).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from urllib.parse import unquote

from docker_registry.web.request import Request

LONGEST = 512
"""Bytes of a field that a client fills: agent, referrer, user."""

LONGEST_TARGET = 1024

GONE = 499
"""The status of a request whose client went away before it was answered, as nginx has it."""

REMEMBERED = 256
"""Agents and referrers whose form is kept."""

Form = Callable[[Request, float], bytes]

_UNSAFE = re.compile(rb"[^ !#-\[\]-~]")
_SECRET = re.compile(r"token|password|signature|credential|secret|_state\Z|\Akey\Z", re.IGNORECASE)
_LOGIN = re.compile(rb"//[^/?#\s]*@")


class AccessLog:
    """:param form: `combined` or `as_json`.
    :param write: takes each line.
    """

    def __init__(self, form: Form, write: Callable[[bytes], None]) -> None:
        self._form = form
        self._write = write

    def finished(self, request: Request, seconds: float) -> None:
        """A request was answered or cut, after so many seconds."""
        self._write(self._form(request, seconds))


def combined(request: Request, seconds: float) -> bytes:
    """The combined form of Apache and nginx, and after it the id of the request and the seconds that it took."""
    line = f"{request.method} {_text(_target(request))} HTTP/{request.http_version}" if request.target else "-"
    client, user, ended = _name(request.client), _name(request.user or "-"), int(request.started + seconds)
    return (
        f'{client} - {user} [{_common_time(ended)}] "{line}" '
        f'{request.status or GONE} {request.sent} "{_field(request, b"referer")}" "{_field(request, b"user-agent")}" '
        f"{request.id} {seconds:.6f}\n"
    ).encode("ascii")


def as_json(request: Request, seconds: float) -> bytes:
    """An object; what is not known is ``null``."""
    target = quoted(_target(request).decode("ascii")) if request.target else "null"
    user = quoted(request.user[:LONGEST]) if request.user else "null"
    ended = request.started + seconds
    return (
        f'{{"time": "{_iso_time(int(ended))}.{int(ended % 1 * 1e6):06}Z", "request": "{request.id}", '
        f'"client": {quoted(request.client)}, "user": {user}, "method": "{request.method}", "target": {target}, '
        f'"protocol": "HTTP/{request.http_version}", "route": {quoted(request.route)}, '
        f'"status": {request.status or GONE}, "bytes": {request.sent}, "seconds": {seconds:.6f}, '
        f'"referrer": {_json_field(request, b"referer")}, "agent": {_json_field(request, b"user-agent")}}}\n'
    ).encode("ascii")


def _target(request: Request) -> bytes:
    target = request.target if b"?" not in request.target else _without_secrets(request.target)
    return target[:LONGEST_TARGET]


@lru_cache(REMEMBERED)
def _name(text: str) -> str:
    """A field that no quotes surround."""
    return _text(text.encode("utf-8", "surrogatepass")[:LONGEST]).replace(" ", "\\x20")


def _field(request: Request, name: bytes) -> str:
    values = request.headers.get(name)
    return _header(values[0][: 2 * LONGEST]) if values else "-"


@lru_cache(REMEMBERED)
def _header(value: bytes) -> str:
    return _text(_without_secrets(value)[:LONGEST])


def _text(value: bytes) -> str:
    """As nginx writes it: what is no printable ASCII, quotes and backslashes as ``\\xHH``."""
    return _UNSAFE.sub(lambda match: b"\\x%02X" % match[0][0], value).decode("ascii")


def _json_field(request: Request, name: bytes) -> str:
    values = request.headers.get(name)
    return _json_header(values[0][: 2 * LONGEST]) if values else "null"


@lru_cache(REMEMBERED)
def _json_header(value: bytes) -> str:
    """In ASCII, with everything else escaped; what is no UTF-8 as ``\\xHH``."""
    text = _without_secrets(value)[:LONGEST].decode("utf-8", "backslashreplace")
    return str(quoted(text)).replace("\x7f", "\\u007f")


def _without_secrets(url: bytes) -> bytes:
    """Neither ``user:password@`` nor the values of query fields that are called like secrets."""
    if b"@" in url:
        url = _LOGIN.sub(b"//-@", url)
    path, mark, query = url.partition(b"?")
    if not mark:
        return url
    return b"%b?%b" % (path, b"&".join([_without_secret(field) for field in query.split(b"&")]))


def _without_secret(field: bytes) -> bytes:
    name, equals, _ = field.partition(b"=")
    return name + b"=-" if equals and _SECRET.search(unquote(name.decode("latin-1"))) else field


FORMS: dict[str, Form] = {"combined": combined, "json": as_json}
"""By the name that operators give them."""


@lru_cache(4)
def _common_time(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")


@lru_cache(4)
def _iso_time(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
