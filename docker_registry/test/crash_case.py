"""Something is done, and the process dies, or the power is cut, at each step of it."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.root import QUARANTINE, TMP
from docker_registry.storage.system import System
from docker_registry.test.crash import DyingSystem, Killed
from docker_registry.test.registry_case import Direct

R = TypeVar("R")

AGAIN = 5
"""After each so many deaths everything is done once more."""


async def found(work: Awaitable[R], *absent: type[Exception]) -> R | None:
    """What is there, or ``None``."""
    try:
        return await work
    except absent:
        return None


class CrashCase(SynchronousTestCase):
    """:ivar storage: what was left, opened again, while it is checked."""

    timeout = 300

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(int(time.time()))
        self.base = Path(self.mktemp())
        self.base.mkdir(parents=True)

    def tearDown(self) -> None:
        gc.collect()
        self.flushLoggedErrors(Killed)              # of work that nobody waited for

    def promises(self) -> Any:
        """What a client was told is done: nothing yet."""
        raise NotImplementedError

    async def script(self, registry: Registry, done: Any) -> None:
        """Do something, and note in ``done`` what was acknowledged."""
        raise NotImplementedError

    def check(self, registry: Registry, done: Any, label: str) -> None:
        """Whether all of it is there."""
        raise NotImplementedError

    def check_again(self, registry: Registry, label: str) -> None:
        """Whether the same can be done over what is left."""
        raise NotImplementedError

    def now(self, work: Coroutine[Deferred[Any], Any, R]) -> R:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def start(self, root: Path, system: System) -> tuple[LocalStorage, Registry]:
        storage = LocalStorage(root, Direct(), self.clock, system=system)
        self.successResultOf(storage.start())
        return storage, Registry(storage, Direct(), self.clock, Settings(), self.clock.seconds)

    def crash(self, cut_power: bool) -> int:
        """Die at each step; the number of steps."""
        number = 0
        while True:
            number += 1
            root = self.base / f"{number}-{cut_power}"
            self.successResultOf(self.start(root, System())[0].close())
            system = DyingSystem(self.base / f"{number}-{cut_power}-old")
            storage, registry = self.start(root, system)
            system.calls, system.last = 0, number
            done = self.promises()
            running = Deferred.fromCoroutine(self.script(registry, done))
            self.successResultOf(storage.close())   # the kernel closes what a dead process had open
            if not running.called or isinstance(running.result, Exception):
                self.fail(f"neither killed nor done: {running.result}")
            died = self.has_died(running)
            if cut_power:
                system.cut_power()
            self.open_and_check(root, done, number)
            if not died:
                return number

    def open_and_check(self, root: Path, done: Any, number: int) -> None:
        self.storage, registry = self.start(root, System())
        self.check(registry, done, str(number))
        self.assertEqual(list((root / TMP).iterdir()), [], number)
        self.assertEqual(list((root / QUARANTINE).iterdir()), [], number)
        if number % AGAIN == 0:
            self.check_again(registry, str(number))
        self.successResultOf(self.storage.close())

    def has_died(self, running: Deferred[None]) -> bool:
        outcome: list[Any] = []
        running.addBoth(outcome.append)
        if outcome[0] is not None:
            outcome[0].trap(Killed)
        return outcome[0] is not None
