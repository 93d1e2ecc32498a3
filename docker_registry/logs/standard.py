"""The standard output, which somebody reads who may stop doing so: a pipe, the journal's socket, a terminal."""

from __future__ import annotations

import os
import select
from threading import Lock

from twisted.logger import Logger

from docker_registry.logs import appending


class StandardOutput:
    """Takes the text of an event at a time. Who does not read it holds up the process once, for `appending.PATIENCE`;
    events are lost then, and counted, until he does.
    """

    log = Logger()

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._turn = Lock()                         # threads log as well
        self._room = select.poll()
        self._room.register(fd, select.POLLOUT)
        self._lost = 0
        self._is_torn = False                       # whether what was written last does not end as a line

    def write(self, text: str) -> None:
        with self._turn:
            lost = self._lost
            try:
                is_whole = self._put(text.encode("utf-8", "backslashreplace"))
            except OSError:                         # a full disk, or a pipe that has no other end any more
                is_whole = False
            self._lost = 0 if is_whole else lost + 1
        if is_whole and lost:
            self.log.warn("{count} events of this log were lost: nobody read the standard output, or it was full",
                          count=lost)

    def flush(self) -> None:
        """There is nothing that waits."""

    def _put(self, data: bytes) -> bool:
        """Whether somebody took all of it. Less than a pipe has room for is written in one step.

        :raises OSError: nobody ever will.
        """
        rest = memoryview(b"\n" + data if self._is_torn else data)
        while rest:
            if not self._room.poll(0 if self._lost else appending.PATIENCE):
                return False
            written = os.write(self._fd, rest[: appending.PIECE])
            rest = rest[written:]
            self._is_torn = bool(rest)
        return True
