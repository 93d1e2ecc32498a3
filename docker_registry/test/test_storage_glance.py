"""Glance keeps the contract, with all that is committed in it, and with what the registry has there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.storage.glance.storage import GlanceStorage, Rule
from docker_registry.storage.local import LocalStorage
from docker_registry.test.glance_case import shelf_of
from docker_registry.test.servers.blocking import Blocking, loop
from docker_registry.test.servers.stores import glance
from docker_registry.test.storage_contract import StorageContract

EVERYTHING = Rule(lambda key: True, lambda prefix: True)


class ContractTests(SynchronousTestCase, StorageContract):
    rule = EVERYTHING

    def make(self) -> Any:
        reactor, runner = loop()
        self.clock = Clock()
        self.clock.advance(int(time.time()))
        alternate = LocalStorage(Path(self.mktemp()), runner, self.clock)
        shelf, close = shelf_of(glance(), reactor, runner)
        storage = Blocking(
            GlanceStorage(shelf, alternate, runner, reactor, close, rule=self.rule, now=self.clock.seconds)
        )
        self.addCleanup(storage.close)
        self.successResultOf(storage.start())
        return storage


class RegistrysContractTests(ContractTests):
    rule = Rule()
