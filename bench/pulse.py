"""What the machine itself does to a heartbeat: the same one, where nothing else runs."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from bench.ours import INTERVAL, Heartbeat


class Pulse:
    """A thread that sleeps and wakes. While it runs, this process waits for those that are measured.

    The gap of a reactor that is never blocked cannot be smaller: more processes want to run than there are processors.
    """

    def __init__(self) -> None:
        self._heartbeat = Heartbeat()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def take_gap(self) -> float:
        """Seconds of the largest gap since the last time."""
        return self._heartbeat.take_largest()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            self._heartbeat.beat()
            due = max(due + INTERVAL, time.monotonic())
