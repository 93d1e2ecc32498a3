"""Where the daemon's log goes, as twistd's options say: the standard output, syslog, or a file."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

from twisted.logger import Logger, textFileLogObserver
from twisted.python import syslog
from twisted.python.logfile import LogFile

from docker_registry.logs.appending import Appender
from docker_registry.reloading import CannotReload

_MODE = 0o640
"""Of a new file: it names users and repositories (T52). One that is there keeps its own."""


@dataclass(frozen=True, slots=True)
class Destination:
    """:ivar observer: writes events there.
    :ivar reopen: goes on with the file that has the name now; ``None`` where there is no file.
    """

    observer: Any
    reopen: Callable[[], None] | None = None


def destination(reactor: Any, twistd: Mapping[str, Any], shared: bool) -> Destination:
    """:param twistd: its options.
    :param shared: whether several processes write to it.
    """
    path = twistd.get("logfile")
    if twistd.get("syslog"):
        return Destination(syslog.SyslogObserver(twistd.get("prefix", "")).emit)
    if path == "-" and not twistd.get("nodaemon"):
        sys.exit("Daemons cannot log to stdout, exiting!")
    if path == "-" or (twistd.get("nodaemon") and not path):
        out: Any = SharedOutput(None)
        return Destination(textFileLogObserver(out))
    path = os.path.abspath(path or "twistd.log")
    file: Any = SharedOutput(Path(path)) if shared else _rotated(reactor, path)
    return Destination(textFileLogObserver(file), file.reopen)


def _rotated(reactor: Any, path: str) -> RotatedFile:
    """As twistd has it: begun anew at 1 MB, and for each SIGUSR1."""
    file: RotatedFile = RotatedFile.fromFullPath(path, defaultMode=None if os.path.exists(path) else _MODE)
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
    return file


class RotatedFile(LogFile):
    """Twisted's closes what is open before it opens the next: one that cannot be opened ended the log for good."""

    def rotate(self) -> None:
        """Begin anew; where that cannot be, what is open goes on."""
        before, self._file = self._file, BytesIO()
        try:
            super().rotate()
        except OSError:
            self._file = before                     # which has another name now
            return
        if isinstance(self._file, BytesIO):         # nobody may write there
            self._file = before
        else:
            before.close()

    def reopen(self) -> None:
        """:raises CannotReload: it cannot be opened; what was open stays so."""
        before = self._file
        try:
            self._openFile()
        except OSError as error:
            raise CannotReload(f"{self.path}: {error.strerror}") from None
        before.close()


class SharedOutput:
    """Each event is appended whole. A file is not rotated: whoever does that moves it away, and sends SIGHUP.

    Who does not read the standard output holds up the process once, for `appending.PATIENCE`; events are lost then, and
    counted, until he does.

    :param path: see `Appender`.
    :raises OSError: the file cannot be opened.
    """

    log = Logger()

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._out = Appender(path)
        self._turn = Lock()                         # threads log as well
        self._lost = 0
        if path is not None:
            self._out.reopen()

    def reopen(self) -> None:
        """:raises CannotReload: it cannot be opened; what was open stays so."""
        try:
            with self._turn:
                self._out.reopen()
        except OSError as error:
            raise CannotReload(f"{self._path}: {error.strerror}") from None

    def write(self, text: str) -> None:
        """Take the text of an event."""
        with self._turn:
            lost = self._lost
            try:
                missed = self._out.append([text.encode("utf-8", "backslashreplace")], is_patient=not lost)
            except OSError:                         # a full disk, or a pipe that has no other end any more
                missed = 1
            self._lost = lost + 1 if missed else 0
        if lost and not missed:
            self.log.warn("{count} events of this log were lost: nobody read it, or there was no room", count=lost)

    def flush(self) -> None:
        """There is nothing that waits."""
