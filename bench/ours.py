"""This registry with a heartbeat beside it: a signal has the largest gap written down, and begins anew.

Usage: ``python -m bench.ours FILE TWISTD-ARGUMENT...``
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

BEAT = 0.010
"""Seconds between two beats."""


class Heart:
    """:param file: where the largest gap goes, in milliseconds."""

    def __init__(self, reactor: Any, file: Path) -> None:
        self._reactor = reactor
        self._file = file
        self._last = time.monotonic()
        self._largest = 0.0

    def start(self) -> None:
        signal.signal(signal.SIGUSR1, lambda *_: self._write())
        self._last = time.monotonic()
        self._beat()

    def _beat(self) -> None:
        now = time.monotonic()
        self._largest = max(self._largest, now - self._last - BEAT)
        self._last = now
        self._reactor.callLater(BEAT, self._beat)

    def _write(self) -> None:
        largest, self._largest = self._largest, 0.0
        self._file.write_text(f"{largest * 1000:.1f}\n")


def main() -> None:
    from twisted.internet import reactor
    from twisted.scripts.twistd import run

    heart = Heart(reactor, Path(sys.argv[1]))
    reactor.callWhenRunning(heart.start)
    sys.argv = ["twistd", *sys.argv[2:]]
    run()


if __name__ == "__main__":
    main()
