"""Events of the daemon's log as text or JSON: one line each, and in text a traceback in lines that begin with a tab."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from twisted.logger import FileLogObserver, ILogObserver, LegacyLogObserverWrapper, LogEvent, formatEvent, formatTime
from twisted.python.failure import Failure
from zope.interface import implementer

from docker_registry import current
from docker_registry.logs.escaping import lines, one_line

Redact = Callable[[str], str]
Format = Callable[[LogEvent, Redact], str | None]
"""The function that it is given takes secrets out of text."""


def as_text(event: LogEvent, redact: Redact = str) -> str | None:
    """As twistd writes it, with the id of the request that it is about at the end; ``None`` if it says nothing."""
    if (said := as_text_without_head(event, redact)) is None:
        return None
    where = event.get("log_system") or f"{_logger(event)}#{_level(event)}"
    return f"{formatTime(event.get('log_time'))} [{one_line(str(where))}] {said}\n"


def as_text_without_head(event: LogEvent, redact: Redact = str) -> str | None:
    """Without time and origin, where others write them."""
    said, asked = one_line(formatEvent(event)), current.of(event)
    trace = _traceback(event)
    if not said and not trace:
        return None
    if asked is not None and asked.id not in said:
        said += f" (request {asked.id})"
    return redact("\n\t".join([said, *trace]))


def as_json(event: LogEvent, redact: Redact = str) -> str | None:
    """One object: what every event has, what is known of the request, and the event's own plain fields.

    In ASCII, so that no reader's encoding matters. ``None`` if it says nothing. Secrets are looked for before JSON
    escapes what they may have been escaped in already.
    """
    said, asked, trace = formatEvent(event), current.of(event), _traceback(event)
    if not said and not trace:
        return None
    fields: dict[str, object] = {
        name: redact(one_line(value)) if isinstance(value, str) else value
        for name, value in event.items()
        if _is_plain(value) and not name.startswith("log_") and name not in _NOT_THEIRS
    }
    fields |= {
        "time": datetime.fromtimestamp(event.get("log_time", 0), UTC).isoformat(timespec="microseconds"),
        "level": _level(event),
        "logger": _logger(event),
        "message": redact(one_line(said)),
    }
    if asked is not None:
        fields |= {"request": asked.id, "method": asked.method, "route": asked.route}
        fields |= {"repository": one_line(asked.repository)} if asked.repository else {}
        fields |= {"user": one_line(asked.user)} if asked.user else {}
    if trace:
        fields |= {"error": event["log_failure"].type.__name__, "traceback": redact("\n".join(trace))}
    return f"{json.dumps(fields)}\n"


def safe(observer: Any, form: str, redact: Redact = str) -> ILogObserver:
    """``observer`` with events in ``form``, ``text`` or ``json``.

    :param observer: of twistd's own making: to a file, or one of the old kind, to syslog.
    :param redact: takes secrets out of what tells of something wrong. What tells of the usual is made of fields that
        hold none.
    """
    if isinstance(observer, FileLogObserver):
        observer.formatEvent = _redacted(as_json if form == "json" else as_text, redact)
        return observer
    written = _redacted(as_json if form == "json" else as_text_without_head, redact)
    return _Formatted(LegacyLogObserverWrapper(observer), written)


def _redacted(form: Format, redact: Redact) -> Callable[[LogEvent], str | None]:
    return lambda event: form(event, str if _level(event) in _USUAL else redact)


@implementer(ILogObserver)
class _Formatted:
    """Hands on events that are nothing but their text, which the observer then cannot format otherwise."""

    def __init__(self, observer: ILogObserver, form: Callable[[LogEvent], str | None]) -> None:
        self._observer = observer
        self._form = form

    def __call__(self, event: LogEvent) -> None:
        text = self._form(event)
        if text is not None:
            kept = {name: event[name] for name in _KEPT if name in event}
            self._observer({**kept, "log_format": "{text}", "text": text.rstrip("\n")})


_USUAL = frozenset({"debug", "info"})

_KEPT: tuple[str, ...] = ("log_level", "log_namespace", "log_system", "log_time")

_NOT_THEIRS = frozenset({
    "message", "time", "system", "format", "isError", "why",                # what events of the old kind have beside
    "level", "logger", "request", "method", "route", "user", "error", "traceback",
})
"""Names of fields that no event has of its own."""


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and isfinite(value))


def _level(event: LogEvent) -> str:
    level = event.get("log_level")
    return getattr(level, "name", "info")


def _logger(event: LogEvent) -> str:
    return one_line(str(event.get("log_namespace", "-")))


def _traceback(event: LogEvent) -> list[str]:
    failure = event.get("log_failure")
    return lines(failure.getTraceback()) if isinstance(failure, Failure) else []
