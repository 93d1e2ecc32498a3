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

KEPT = 2 * LONGEST
"""Bytes of a field that are looked at: what is escaped or left out may be longer before."""

REMEMBERED = 512
"""Requests, as far as they are alike, whose form is kept."""

Form = Callable[[Request, float], bytes]

_NONE = [b""]
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
    headers = request.headers
    who, line, origin = _combined(
        request.client, request.user, request.method, request.target, request.http_version,
        headers.get(b"referer", _NONE)[0][:KEPT], headers.get(b"user-agent", _NONE)[0][:KEPT],
    )
    return (
        f"{who} [{_common_time(int(request.started + seconds))}] {line} {request.status or GONE} {request.sent} "
        f"{origin} {request.id} {seconds:.6f}\n"
    ).encode("ascii")


def as_json(request: Request, seconds: float) -> bytes:
    """An object; what is not known is ``null``."""
    headers, ended = request.headers, request.started + seconds
    line, origin = _json(
        request.client, request.user, request.method, request.target, request.http_version,
        headers.get(b"referer", _NONE)[0][:KEPT], headers.get(b"user-agent", _NONE)[0][:KEPT],
    )
    return (
        f'{{"time": "{_iso_time(int(ended))}.{int(ended % 1 * 1e6):06}Z", "request": "{request.id}", {line}, '
        f'"route": {quoted(request.route)}, "status": {request.status or GONE}, "bytes": {request.sent}, '
        f'"seconds": {seconds:.6f}, {origin}}}\n'
    ).encode("ascii")


# What is the same in many lines is made once.


@lru_cache(REMEMBERED)
def _combined(
    client: str, user: str | None, method: str, target: bytes, version: str, referrer: bytes, agent: bytes
) -> tuple[str, str, str]:
    line = f"{method} {_text(_target(target))} HTTP/{version}" if target else "-"
    origin = " ".join(f'"{_text(_without_secrets(each)[:LONGEST]) or "-"}"' for each in (referrer, agent))
    return f"{_name(client)} - {_name(user or '-')}", f'"{line}"', origin


@lru_cache(REMEMBERED)
def _json(
    client: str, user: str | None, method: str, target: bytes, version: str, referrer: bytes, agent: bytes
) -> tuple[str, str]:
    who = f'"client": {quoted(client)}, "user": {quoted(user[:LONGEST]) if user else "null"}'
    shown = quoted(_target(target).decode("ascii")) if target else "null"
    line = f'{who}, "method": "{method}", "target": {shown}, "protocol": "HTTP/{version}"'
    return line, f'"referrer": {_field_json(referrer)}, "agent": {_field_json(agent)}'


def _name(text: str) -> str:
    """A field that no quotes surround."""
    return _text(text.encode("utf-8", "surrogatepass")[:LONGEST]).replace(" ", "\\x20")


def _field_json(value: bytes) -> str:
    """In ASCII, with everything else escaped; what is no UTF-8 as ``\\xHH``."""
    text = _without_secrets(value)[:LONGEST].decode("utf-8", "backslashreplace")
    return str(quoted(text)).replace("\x7f", "\\u007f") if text else "null"


def _text(value: bytes) -> str:
    """As nginx writes it: what is no printable ASCII, quotes and backslashes as ``\\xHH``."""
    return _UNSAFE.sub(lambda match: b"\\x%02X" % match[0][0], value).decode("ascii")


def _target(target: bytes) -> bytes:
    return (target if b"?" not in target else _without_secrets(target))[:LONGEST_TARGET]


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
