"""Many lines to a file, in batches, without anybody waiting for the disk."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from docker_registry.deferreds import Shared
from docker_registry.logs.appending import Appender
from docker_registry.threads import Runner

DELAY = 0.9
"""Seconds that a line waits at most for others. With what it waited before, it is a second (`gathering.DELAY`)."""

LAST = 5.0
"""Seconds in which the last lines must be written."""

BATCH = 1 << 20
"""Bytes that are written without waiting for more: each time takes the interpreter from who serves requests."""

MOST = 4 << 20
"""Bytes that wait while the file takes none; lines beyond are lost, and counted."""


class Lines:
    """:param name: what is in the file, for the log.
    :param path: see `Appender`.
    :param runner: where it is written.
    """

    log = Logger()

    def __init__(self, name: str, path: Path | None, runner: Runner, clock: Any) -> None:
        self._name = name
        self._path = path
        self._out = Appender(path)
        self._runner = runner
        self._clock = clock
        self._lines: list[bytes] = []
        self._size = 0
        self._timer: IDelayedCall | None = None
        self._writing: Shared[str, None] = Shared()
        self._is_busy = self._is_stale = self._is_wanted = self._is_closed = False
        self._lost = 0
        self._problem = ""                          # what the log was told, and is not told again

    def write(self, lines: Sequence[bytes]) -> None:
        """Take lines, each with its line break; they are in the file within `DELAY` or so."""
        if self._size > MOST or self._is_closed:
            self._lost += len(lines)
            return
        self._lines += lines
        self._size += sum(map(len, lines))
        if self._is_busy:
            return
        if self._size >= BATCH:
            self._start()
        elif self._timer is None:
            self._timer = self._clock.callLater(DELAY, self._start)

    def flush(self) -> Deferred[None]:
        """Fires when all that was taken is in the file, or lost."""
        self._is_wanted = True
        return self._start()

    def reopen(self) -> Deferred[None]:
        """Go on with the file that has the name now; one that cannot be opened leaves the old one in use."""
        self._is_stale = True
        return self.flush()

    def start(self) -> None:
        """The file is opened for its first line."""

    async def stop(self) -> None:
        """Write what is there, if that does not take too long; lines that come afterwards are lost."""
        self._is_closed = True
        with suppress(TimeoutError):
            await self.flush().addTimeout(LAST, self._clock)
            await self._runner.slow(self._out.close)

    def _start(self) -> Deferred[None]:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        return self._writing("", lambda: Deferred.fromCoroutine(self._run()))

    async def _run(self) -> None:
        self._is_busy = True
        try:
            await self._write_batch()
            # Less than a batch can wait for more: a thread for a few lines costs more than they do.
            while self._size >= BATCH or self._is_stale or (self._is_wanted and self._lines):
                await self._write_batch()
        finally:
            self._is_busy = self._is_wanted = False
        if self._lines:
            self._timer = self._clock.callLater(DELAY, self._start)

    async def _write_batch(self) -> None:
        lines, self._lines, self._size = self._lines, [], 0
        stale, self._is_stale = self._is_stale, False
        problem = ""
        try:
            if stale:
                await self._runner.slow(self._out.reopen)
        except OSError as error:
            problem = error.strerror or str(error)
        try:
            lost = await self._runner.slow(self._out.append, lines)
            problem = problem or ("nobody reads it" if lost else "")
        except OSError as error:
            lost, problem = len(lines), error.strerror or str(error)
        self._lost += lost
        self._tell(problem)

    def _tell(self, problem: str) -> None:
        """Say once what is wrong, and how much was lost when it is over."""
        where = self._path or "the standard output"
        if problem and problem != self._problem:
            self.log.warn("{name}: {where} cannot be written: {problem}", name=self._name, where=where, problem=problem)
        elif not problem and self._lost:
            self.log.warn("{name}: {lost} lines were lost", name=self._name, lost=self._lost)
            self._lost = 0
        self._problem = problem
