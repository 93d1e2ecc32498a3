"""What is read again while the daemon runs, when it gets a SIGHUP: the log file, certificates, and so on (H3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

Reload = Callable[[], Any]
"""Does it, or returns a `Deferred` that fires when it is done.

:raises CannotReload: what there is now cannot be used; what was there before goes on being used.
"""


class CannotReload(Exception):
    """The text says why, in one line."""


class Reloads:
    """Everything that can be read again. What fails is logged, and keeps nothing else from being read."""

    log = Logger()

    def __init__(self) -> None:
        self._parts: list[tuple[str, Reload]] = []

    def add(self, what: str, reload: Reload) -> None:
        """:param what: for the line that says that it stays as it was."""
        self._parts.append((what, reload))

    async def reload(self) -> None:
        """Never fails."""
        for what, reload in self._parts:
            done: Deferred[Any] = maybeDeferred(reload)
            try:
                await done
            except CannotReload as error:
                self.log.error("{what} stays as it was: {reason}", what=what, reason=str(error))
            except Exception:
                self.log.failure("{what} stays as it was", what=what)
        self.log.info("reloaded: {what}", what=", ".join(what for what, _ in self._parts) or "nothing")
