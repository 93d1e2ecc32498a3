"""Which log events are faults of ours, and what tells one kind from another."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from OpenSSL import SSL
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionClosed
from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure

import docker_registry
from docker_registry import current
from docker_registry.current import Asked
from docker_registry.errors import CLIENTS

_PACKAGE = "docker_registry."
_MAIL = "docker_registry.alerts."
_ROOT = str(Path(docker_registry.__file__).parent) + os.sep
_MAIL_ROOT = str(Path(__file__).parent) + os.sep

_NOBODYS = (CancelledError, ConnectionClosed, SSL.Error, *CLIENTS)
"""Clients that go away, or do not get as far as to be clients; and what they do wrong, should anybody log that."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What faults have in common that one mail is about.

    :ivar name: the class of the exception, or what the event calls itself.
    :ivar place: where in our code, without which one would not know; empty for what is no exception.
    :ivar route: the pattern of the path that was asked for; empty if it was no request.
    """

    name: str
    place: str
    route: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.name, self.place and f"at {self.place}", self.route and f"in {self.route}")))


class State(StrEnum):
    """Of what lasts: it has begun, or is over. What happens once has none."""

    NONE = ""
    BEGUN = "begun"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Fault:
    """:ivar time: seconds since the epoch.
    :ivar text: what the event says, for what is no exception. It may hold anything.
    """

    kind: Kind
    time: float
    asked: Asked | None
    failure: Failure | None = field(repr=False)
    text: str
    state: State = State.NONE


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault in words, without secrets; may come from another process.

    :ivar request: what is known of it, by the name of the line in the mail.
    """

    kind: Kind
    time: float
    request: Mapping[str, str]
    details: str
    state: State = State.NONE


def fault(event: LogEvent) -> Fault | None:
    """The fault that an event tells of, ``None`` if it tells of none (G3).

    That is an error with an exception which our code logged, or which Twisted caught above our code; and what our code
    calls an alert. What Twisted and others log of their own dealings with clients never is: so nobody causes mail by
    what he sends. Nor is what goes wrong with the mail (G4).
    """
    namespace = event.get("log_namespace") or ""
    if namespace.startswith(_MAIL):
        return None
    ours = namespace.startswith(_PACKAGE)
    failure = event.get("log_failure", event.get("failure"))       # the second: of Twisted's old log.err
    alert = event.get("alert")
    if ours and isinstance(alert, str):
        state = State(event.get("alert_state", ""))
        return Fault(Kind(alert, "", ""), event["log_time"], current.of(event), None, formatEvent(event), state)
    if event.get("log_level") not in (LogLevel.error, LogLevel.critical):
        return None
    if not isinstance(failure, Failure) or failure.check(*_NOBODYS) is not None:
        return None
    file, place = _own_frame(failure)
    if file.startswith(_MAIL_ROOT) or not (ours or file):
        return None
    # What Twisted caught it may have caught late, while another request was at work.
    asked = current.of(event) if ours else None
    return Fault(Kind(_name(failure), place, asked.route if asked else ""), event["log_time"], asked, failure, "")


def _name(failure: Failure) -> str:
    kind = failure.type or type(failure.value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


def _own_frame(failure: Failure) -> tuple[str, str]:
    """The file of the innermost frame of our code, and that frame for people; twice nothing if there is none."""
    for function, file, line, *_ in reversed(failure.frames):
        if file.startswith(_ROOT):
            return file, f"{file.removeprefix(_ROOT)}:{line} {function}"
    return "", ""
