"""S3 keeps the contract, on a store that believes everything and on one that verifies."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.storage.s3.storage import S3Storage
from docker_registry.test.s3_case import settings
from docker_registry.test.servers.blocking import Blocking, loop
from docker_registry.test.servers.stores import Store, moto, swift
from docker_registry.test.storage_contract import StorageContract


class S3Case(SynchronousTestCase):
    """:ivar store: starts it, or says where it is."""

    store: Callable[[], Store]

    def setUp(self) -> None:
        self.settings = settings(type(self).store())
        self.clock = Clock()
        self.clock.advance(int(time.time()))

    def make(self) -> Any:
        reactor, runner = loop()
        storage = Blocking(S3Storage(self.settings, runner, reactor, now=self.clock.seconds))
        self.addCleanup(storage.close)
        self.successResultOf(storage.start())
        return storage


class MotoTests(S3Case, StorageContract):
    store = staticmethod(moto)


class SwiftTests(S3Case, StorageContract):
    store = staticmethod(swift)
