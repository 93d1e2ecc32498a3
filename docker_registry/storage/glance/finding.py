"""What is at a key: in Glance if a record says so, else in the alternate store (F12)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from docker_registry.deferreds import deferred
from docker_registry.errors import Damaged, NotFound, StorageError, StoreUnavailable
from docker_registry.storage.asking import whole
from docker_registry.storage.glance.diversion import Diversion
from docker_registry.storage.glance.errors import Deactivated
from docker_registry.storage.glance.records import Record, Records
from docker_registry.storage.glance.shelf import Shelf
from docker_registry.storage.interface import SMALL, IReader, IStorage, Stat

R = TypeVar("R")


class Finding:
    """For keys whose content goes to Glance."""

    log = Logger()

    def __init__(self, shelf: Shelf, alternate: IStorage, records: Records, diversion: Diversion) -> None:
        self._shelf = shelf
        self._alternate = alternate
        self._records = records
        self._diversion = diversion

    @deferred
    async def stat(self, key: str) -> Stat:
        """What only Glance has is there though that fails: so much is known without it."""

        async def look(record: Record, modified: float) -> Stat:
            if not self._diversion.is_on:
                with suppress(StoreUnavailable):
                    await self._diversion.asked(self._shelf.verify(key, record))
            return Stat(record.size, modified)

        return await self._found(key, look, self._alternate.stat)

    @deferred
    async def get(self, key: str) -> bytes:
        async def read(record: Record, modified: float) -> bytes:
            if record.size > SMALL:
                raise Damaged(f"{key} has {record.size} bytes")
            return await whole(await self._open_image(key, record, modified, 0), key)

        return await self._found(key, read, self._alternate.get)

    @deferred
    async def open(self, key: str, offset: int) -> IReader:
        async def read(record: Record, modified: float) -> IReader:
            return await self._open_image(key, record, modified, offset)

        return await self._found(key, read, lambda key: self._alternate.open(key, offset))

    async def _open_image(self, key: str, record: Record, modified: float, offset: int) -> IReader:
        return await self._shelf.open(key, record, modified, offset, self._diversion.asked)

    async def _found(
        self, key: str, look: Callable[[Record, float], Awaitable[R]], otherwise: Callable[[str], Deferred[R]]
    ) -> R:
        """:raises OutageKnown: it is in Glance alone, which fails."""
        found = await self._records.find(key)
        while found is not None:
            lost: StorageError
            try:
                return await look(*found)
            except StoreUnavailable as error:
                lost = error
            except (NotFound, Damaged, Deactivated) as error:
                again = await self._records.find(key)
                if again is not None and again[0] != found[0]:
                    found = again                   # it was written anew, and the image that it had is gone
                    continue
                lost = error
            try:
                return await otherwise(key)
            except NotFound:
                self._say_lost(key, found[0], lost)
                raise lost from None
        try:
            return await otherwise(key)
        except NotFound:
            if await self._records.find(key) is None:
                raise
        return await self._found(key, look, otherwise)      # it was moved to Glance in between

    def _say_lost(self, key: str, record: Record, lost: StorageError) -> None:
        if isinstance(lost, NotFound):
            self.log.error(
                "{key} is lost: somebody has deleted image {image} in Glance; push an image that has it to heal it",
                key=key, image=record.image, alert="image deleted in Glance",
            )
