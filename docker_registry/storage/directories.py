"""The directories of a local store: made when they are needed, and synced before what is in them counts."""

from __future__ import annotations

from collections.abc import Sequence

from docker_registry.storage.making import Making
from docker_registry.storage.root import Root
from docker_registry.storage.system import System


class Directories:
    """To make a directory and to write a file into it takes the disk one journal entry, if the file is synced when the
    directory is there: so `reach` and `settle` are two steps, with the file's sync between them.
    """

    def __init__(self, place: Root, system: System, making: Making, sync: bool) -> None:
        self._place = place
        self._system = system
        self._making = making
        self._sync = sync

    def open(self, path: str) -> int:
        """A descriptor of a directory whose entry, and those above it, are durable."""
        fd, made = self.reach(path)
        try:
            self.settle(path, made)
        except BaseException:
            self._system.close(fd)
            raise
        return fd

    def reach(self, path: str) -> tuple[int, list[str]]:
        """A descriptor of a directory, and which of those that lead to it had to be made: they are to be settled."""
        try:
            return self._system.open_directory(self._place.fd, path), []
        except FileNotFoundError:
            above, _, name = path.rpartition("/")
        parent, made = self.reach(above)
        try:
            self._make(parent, name, path)
            made.append(path)
            return self._system.open_directory(self._place.fd, path), made
        except BaseException:
            self.settle(above, made)
            raise
        finally:
            self._system.close(parent)

    def settle(self, path: str, made: Sequence[str]) -> None:
        """Make durable the entries of what was ``made``, and of what others are making on the way to ``path``."""
        for each in made:
            self._sync_entry(each)
            self._making.end(each)
        for each in self._making.above(path):
            self._sync_entry(each)

    def _make(self, parent: int, name: str, path: str) -> None:
        self._making.begin(path)
        try:
            self._system.mkdir(parent, name)
        except FileExistsError:
            pass                                # somebody was faster, who is not known to have synced
        except BaseException:
            self._making.end(path)
            raise

    def _sync_entry(self, path: str) -> None:
        if self._sync:
            parent = self._system.open_directory(self._place.fd, path.rpartition("/")[0])
            try:
                self._system.fsync(parent)
            finally:
                self._system.close(parent)
