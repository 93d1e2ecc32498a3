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
from docker_registry.web.gathering import REMEMBERED, Alike, Fields

LONGEST = 512
"""Bytes of a field that a client fills: agent, referrer, user."""

LONGEST_TARGET = 1024

GONE = 499
"""The status of a request whose client went away before it was answered, as nginx has it."""

Form = Callable[[Sequence[Fields]], list[bytes]]

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
        try:
            lines = self._form(ended)
        except Exception:
            lines = [line for each in ended for line in self._alone(each)]
        self._write(lines)

    def _alone(self, each: Fields) -> list[bytes]:
        """One of those that could not all be written."""
        try:
            return self._form([each])
        except Exception:
            self.log.failure("request {request} could not be logged", request=each[1])
            return []


def combined(ended: Sequence[Fields]) -> list[bytes]:
    """The combined form of Apache and nginx, and after it the id of the request and the seconds that it took."""
    lines: list[bytes] = []
    starts: dict[Alike, str] = {}               # of lines of one second
    begin = end = 0.0
    for what, request, started, seconds in ended:
        if not begin <= started + seconds < end:
            begin, starts = (started + seconds) // 1, {}
            end = begin + 1
        start = starts.get(what)
        if start is None:
            before, after = _around_time(what)
            start = starts[what] = f"{before}{_common_time(int(begin))}{after}"
        lines.append(f"{start}{request} {seconds:.6f}\n".encode("ascii"))
    return lines


def as_json(ended: Sequence[Fields]) -> list[bytes]:
    """An object each; what is not known is ``null``."""
    return [_object(each).encode("ascii") for each in ended]


def _object(ended: Fields) -> str:
    what, request, started, seconds = ended
    end = started + seconds
    asked, origin = _json(what)
    return (
        f'{{"time": "{_iso_time(int(end))}.{int(end % 1 * 1e6):06}Z", "request": "{request}", {asked}'
        f'"seconds": {seconds:.6f}, {origin}}}\n'
    )


# What is the same in many lines is made once.


@lru_cache(REMEMBERED)
def _around_time(what: Alike) -> tuple[str, str]:
    """What stands before the time, and between that and the id."""
    line = f"{what.method} {_text(shown_target(what.target))} HTTP/{what.http_version}" if what.target else "-"
    origin = " ".join(f'"{_text(_without_secrets(each)[:LONGEST]) or "-"}"' for each in (what.referrer, what.agent))
    who = f"{_name(what.client)} - {_name(what.user or '-')}"
    return f"{who} [", f'] "{line}" {what.status or GONE} {what.sent} {origin} '


@lru_cache(REMEMBERED)
def _json(what: Alike) -> tuple[str, str]:
    """What stands between the id and the seconds, and after them."""
    who = f'"client": {quoted(what.client)}, "user": {quoted(what.user[:LONGEST]) if what.user else "null"}'
    shown = quoted(shown_target(what.target).decode("ascii")) if what.target else "null"
    line = f'{who}, "method": "{what.method}", "target": {shown}, "protocol": "HTTP/{what.http_version}"'
    answer = f'"route": {quoted(what.route)}, "status": {what.status or GONE}, "bytes": {what.sent}, '
    return f"{line}, {answer}", f'"referrer": {_field_json(what.referrer)}, "agent": {_field_json(what.agent)}'


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
