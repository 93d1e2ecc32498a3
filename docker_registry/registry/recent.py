"""What is kept in memory, as long as there is room."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """What was asked for last, as much as there is room for.

    :param room: for sizes; they are bytes, or nobody says any and each is 1.
    :ivar held: how much of it is taken.
    """

    def __init__(self, room: int) -> None:
        self.held = 0
        self._room = room
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, key: K, value: V, size: int = 1) -> None:
        self.forget(key)
        self._kept[key] = value, size
        self.held += size
        while self.held > self._room:
            _, (_, given) = self._kept.popitem(last=False)
            self.held -= given

    def forget(self, key: K) -> None:
        """What is not there is no error."""
        _, size = self._kept.pop(key, (None, 0))
        self.held -= size

    def clear(self) -> None:
        self._kept.clear()
        self.held = 0

    def __len__(self) -> int:
        return len(self._kept)
