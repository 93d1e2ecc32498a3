"""One line for each request, as other HTTP servers write it, or as JSON.

Nothing that a client sends leaves its field or its line (T46), and what its URLs may hold of secrets is left out (T44).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from urllib.parse import unquote

from twisted.logger import Logger

from docker_registry.query_secrets import is_secret
from docker_registry.web.gathering import Fields

LONGEST = 512
"""Bytes of a field that a client fills: agent, referrer, user."""

LONGEST_TARGET = 1024

GONE = 499
"""The status of a request whose client went away before it was answered, as nginx has it."""

REMEMBERED = 512
"""Requests, as far as they are alike, whose form is kept."""

Form = Callable[[Fields], bytes]

_UNSAFE = re.compile(rb"[^ !#-\[\]-~]")
_LOGIN = re.compile(rb"//[^/?#\s]*@")


class AccessLog:
    """:param form: `combined` or `as_json`.
    :param write: takes lines.
    """

    log = Logger()

    def __init__(self, form: Form, write: Callable[[list[bytes]], None]) -> None:
        self._form = form
        self._write = write

    def told(self, ended: Sequence[Fields]) -> None:
        """Of requests that have ended."""
        form, lines = self._form, list[bytes]()
        for each in ended:
            try:
                lines.append(form(each))
            except Exception:
                self.log.failure("request {request} could not be logged", request=each[0])
        self._write(lines)


def combined(ended: Fields) -> bytes:
    """The combined form of Apache and nginx, and after it the id of the request and the seconds that it took."""
    request, client, user, method, target, version, _, status, _, sent, referrer, agent, started, seconds = ended
    who, what = _combined(client, user, method, target, version, status, sent, referrer, agent)
    time = _common_time(int(started + seconds))
    return f"{who}{time}{what}{request} {seconds:.6f}\n".encode("ascii")


def as_json(ended: Fields) -> bytes:
    """An object; what is not known is ``null``."""
    request, client, user, method, target, version, route, status, _, sent, referrer, agent, started, seconds = ended
    what, origin = _json(client, user, method, target, version, route, status, sent, referrer, agent)
    end = started + seconds
    return (
        f'{{"time": "{_iso_time(int(end))}.{int(end % 1 * 1e6):06}Z", "request": "{request}", {what}'
        f'"seconds": {seconds:.6f}, {origin}}}\n'
    ).encode("ascii")


# What is the same in many lines is made once.


@lru_cache(REMEMBERED)
def _combined(
    client: str, user: str | None, method: str, target: bytes, version: str, status: int, sent: int, referrer: bytes,
    agent: bytes,
) -> tuple[str, str]:
    """What stands before the time, and between that and the id."""
    line = f"{method} {_text(shown_target(target))} HTTP/{version}" if target else "-"
    origin = " ".join(f'"{_text(_without_secrets(each)[:LONGEST]) or "-"}"' for each in (referrer, agent))
    return f"{_name(client)} - {_name(user or '-')} [", f'] "{line}" {status or GONE} {sent} {origin} '


@lru_cache(REMEMBERED)
def _json(
    client: str, user: str | None, method: str, target: bytes, version: str, route: str, status: int, sent: int,
    referrer: bytes, agent: bytes,
) -> tuple[str, str]:
    """What stands between the id and the seconds, and after them."""
    who = f'"client": {quoted(client)}, "user": {quoted(user[:LONGEST]) if user else "null"}'
    shown = quoted(shown_target(target).decode("ascii")) if target else "null"
    line = f'{who}, "method": "{method}", "target": {shown}, "protocol": "HTTP/{version}"'
    answer = f'"route": {quoted(route)}, "status": {status or GONE}, "bytes": {sent}, '
    return f"{line}, {answer}", f'"referrer": {_field_json(referrer)}, "agent": {_field_json(agent)}'


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


def shown_target(target: bytes) -> bytes:
    """Cut, and without secrets."""
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
    return name + b"=-" if equals and is_secret(unquote(name.decode("latin-1"))) else field


FORMS: dict[str, Form] = {"combined": combined, "json": as_json}
"""By the name that operators give them."""


@lru_cache(4)
def _common_time(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")


@lru_cache(4)
def _iso_time(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
