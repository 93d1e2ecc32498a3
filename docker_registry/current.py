"""The request that the running code works for, so that log lines can say which it was."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol, runtime_checkable


@runtime_checkable
class Asked(Protocol):
    """What a log line, or a mail, may say of a request: no header, no query, no credential."""

    @property
    def id(self) -> str:
        """As the client was told it, in ``X-Request-Id``."""

    @property
    def method(self) -> str: ...

    @property
    def route(self) -> str:
        """The pattern of its path, such as ``/v2/<name:name>/tags/list``; empty if there is none for it."""

    @property
    def repository(self) -> str:
        """As its path names it, unchecked; empty if it names none."""

    @property
    def user(self) -> str | None:
        """Whose it is; ``None`` if nobody was asked for."""


request: ContextVar[Asked | None] = ContextVar("request", default=None)
"""Set while a handler runs, and for the coroutines that it starts: also for those that outlive it."""


def of(event: dict[str, object]) -> Asked | None:
    """The request that a log event is about.

    :param event: has it as ``request`` where it is logged by code that no handler runs.
    """
    asked = event.get("request")
    return asked if isinstance(asked, Asked) else request.get()
