"""Where the daemon's log goes, as twistd's options say: the standard output, syslog, or a file."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from twisted.logger import textFileLogObserver
from twisted.python import syslog
from twisted.python.logfile import LogFile

from docker_registry.logs.standard import StandardOutput
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
        if sys.stdout is None:                      # it was closed: what has its number now is something else
            return Destination(lambda event: None)
        out: Any = StandardOutput(sys.stdout.fileno())
        return Destination(textFileLogObserver(out))
    path = os.path.abspath(path or "twistd.log")
    file: Any = SharedFile(path) if shared else _rotated(reactor, path)
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


class SharedFile:
    """Each line is appended whole. It is not rotated: whoever does that moves it away, and sends SIGHUP.

    :raises OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = self._open()

    def _open(self) -> Any:
        return os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE), "ab", buffering=0)

    def reopen(self) -> None:
        """:raises CannotReload: it cannot be opened."""
        try:
            file = self._open()
        except OSError as error:
            raise CannotReload(f"{self._path}: {error.strerror}") from None
        self._file.close()
        self._file = file

    def write(self, text: str) -> None:
        self._file.write(text.encode())

    def flush(self) -> None:
        """There is nothing that waits."""
