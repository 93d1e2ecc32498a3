"""Every store keeps the contract."""

from __future__ import annotations

import os
import time
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.storage.interface import IStorage
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.memory import MemoryStorage
from docker_registry.storage.system import System
from docker_registry.test.registry_case import Direct
from docker_registry.test.storage_contract import StorageContract


class ClockCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(int(time.time()))


class MemoryTests(StorageContract, ClockCase):
    def make(self) -> IStorage:
        return MemoryStorage(self.clock)


class LocalTests(StorageContract, ClockCase):
    """As the daemon runs it: the kernel resolves, and what is in memory is read at once."""

    cached = True
    beneath: bool | None = None
    sync = True

    def make(self) -> IStorage:
        self.root = Path(self.mktemp())
        system = System(beneath=self.beneath)
        storage = LocalStorage(
            self.root, Direct(), self.clock, sync=self.sync, system=system, cached=self.cached
        )
        self.successResultOf(storage.start())
        self.addCleanup(self.assertNothingOpen, storage)
        return storage

    def assertNothingOpen(self, storage: LocalStorage) -> None:
        self.successResultOf(storage.close())
        left = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_file(fd, self.root)]
        # Writers that a test leaves open hold their file and its directory.
        self.assertLessEqual(len(left), 2, left)


class LocalInThreadTests(LocalTests):
    """Every read in a thread."""

    cached = False


class LocalByPartsTests(LocalTests):
    """Where the kernel does not resolve paths below a directory."""

    beneath = False


class LocalWithoutSyncTests(LocalTests):
    sync = False


def _is_file(fd: str, root: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith(str(root.absolute()))
    except OSError:
        return False
