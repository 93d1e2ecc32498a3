"""The store that the configuration names."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from docker_registry.storage.interface import IStorage
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.making import Making
from docker_registry.storage.memory import MemoryStorage
from docker_registry.threads import Runner


class StorageSettings(Protocol):
    """:ivar storage: ``"local"`` or ``"memory"``.
    :ivar storage_path: the directory of a local store.
    :ivar sync: whether what is acknowledged survives a power cut.
    """

    @property
    def storage(self) -> str: ...

    @property
    def storage_path(self) -> Path | None: ...

    @property
    def sync(self) -> bool: ...


def choose(
    settings: StorageSettings, runner: Runner, clock: IReactorTime, making: Making | None = None, joins: bool = False
) -> IStorage:
    """A store that is yet to be started.

    :param making, joins: of a store in a directory, see `LocalStorage`.
    """
    if settings.storage == "memory":
        return MemoryStorage(clock)
    if settings.storage_path is None:
        raise ValueError("a local store needs a storage_path")
    return LocalStorage(
        Path(settings.storage_path), runner, clock, sync=settings.sync, making=making, joins=joins
    )
