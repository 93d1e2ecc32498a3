"""Swift keeps the contract."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.storage.http import Http
from docker_registry.storage.retries import Retries
from docker_registry.storage.swift.login import V1, V1Login
from docker_registry.storage.swift.storage import SwiftStorage
from docker_registry.test.servers.blocking import Blocking, loop
from docker_registry.test.servers.stores import container
from docker_registry.test.storage_contract import StorageContract
from docker_registry.test.swift_case import settings


class SwiftTests(StorageContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.store = container()
        self.settings = settings(self.store)
        self.clock = Clock()
        self.clock.advance(int(time.time()))

    def make(self) -> Any:
        reactor, runner = loop()
        http = Http(reactor)
        log_in = V1(http, V1Login(self.store.auth_url, self.store.user, self.store.key), Retries(reactor))
        storage = Blocking(SwiftStorage(self.settings, log_in, http, runner, reactor, now=self.clock.seconds))
        self.addCleanup(storage.close)
        self.successResultOf(storage.start())
        return storage
