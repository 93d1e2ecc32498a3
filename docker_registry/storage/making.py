"""Directories that are there, and whose entry may not be durable yet."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Protocol


class Making(Protocol):
    """Whoever puts something into a directory that another one is making sees to its entry himself (C1)."""

    def begin(self, path: str) -> None:
        """Called before the directory can be seen. Several threads may."""

    def end(self, path: str) -> None:
        """Called by each of them, when its entry is durable or there is none; never, when that is not known."""

    def above(self, path: str) -> Sequence[str]:
        """Those of ``path`` and the directories above it that are being made."""


class MakingHere:
    """By the threads of this process."""

    def __init__(self) -> None:
        self._paths: Counter[str] = Counter()
        self._lock = threading.Lock()

    def begin(self, path: str) -> None:
        with self._lock:
            self._paths[path] += 1

    def end(self, path: str) -> None:
        with self._lock:
            self._paths[path] -= 1
            if not self._paths[path]:
                del self._paths[path]

    def above(self, path: str) -> Sequence[str]:
        if not self._paths:
            return ()
        with self._lock:
            return [made for made in self._paths if path == made or path.startswith(f"{made}/")]
