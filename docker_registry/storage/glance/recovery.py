"""Records that the alternate store has lost, made again of what images say that they hold, when their bytes prove it.

An image says so from the beginning, with all of its bytes or not yet, and whatever they turn out to be: so every one is
read. What has a record that leads to an image is left as it is, so that what was interrupted goes on where it was.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from functools import partial

from zope.interface import implementer

from docker_registry.deferreds import at_most, deferred
from docker_registry.errors import Damaged, NotFound, OutOfService, StorageFailed
from docker_registry.storage import layout
from docker_registry.storage.glance.images import UNFINISHED, Image
from docker_registry.storage.glance.records import Record, Records
from docker_registry.storage.glance.shelf import KEY, STORE, Shelf
from docker_registry.storage.interface import IRecovery, Lost
from docker_registry.threads import Runner

PIECE = 1 << 20
"""Bytes that are read at a time."""

AT_ONCE = 4
"""Records that are looked for at the same time."""

_STORE = re.compile(r"[0-9a-f]{32}")

Stores = dict[str, int]
LostOnes = list[Lost]


@implementer(IRecovery)
class Recovery:
    def __init__(self, shelf: Shelf, records: Records, runner: Runner) -> None:
        self._shelf = shelf
        self._records = records
        self._runner = runner

    @property
    def store(self) -> str:
        return self._shelf.store

    @deferred
    async def stores(self) -> Stores:
        return dict(Counter([image.properties[STORE] async for image in self._shelf.every() if _holds(image)]))

    @deferred
    async def adopt(self, store: str) -> None:
        await self._records.set_store(store)
        self._shelf.store = store

    @deferred
    async def lost(self) -> LostOnes:
        kept = await self._records.taken_out() | await self._records.given_up()
        found = [
            Lost(image.properties[KEY], image.id, image.size or 0) async for image in self._shelf.every()
            if _holds(image) and self._shelf.is_ours(image) and image.id not in kept
        ]
        are_lost = await at_most(AT_ONCE, [partial(self._is_lost, each) for each in found])
        return [each for each, is_lost in zip(found, are_lost, strict=True) if is_lost]

    @deferred
    async def recover(self, lost: Lost, seen: Callable[[int], object]) -> str:
        digest = layout.content_digest(lost.key)
        assert digest is not None
        hash = hashlib.new(digest.algorithm)
        try:
            image, reader = await self._shelf.whole(lost.id)
            try:
                while piece := await reader.read(PIECE):
                    await self._runner.slow(hash.update, piece)
                    seen(len(piece))
            finally:
                reader.close()
        except (NotFound, OutOfService, StorageFailed) as error:
            return str(error)
        if hash.hexdigest() != digest.hex:
            return f"image {lost.id} has other bytes"
        if not image.hash:
            return f"Glance does not say what os_hash_value image {lost.id} has"
        if await self._is_lost(lost):
            record = Record(image.id, reader.size, image.hash_algorithm, image.hash, image.checksum)
            await self._records.put(lost.key, record)
        return ""

    async def _is_lost(self, what: Lost) -> bool:
        """Whether no record leads from its key to an image, this one or another."""
        try:
            found = await self._records.find(what.key)
            if found is None:
                return True
            if found[0].image != what.id:
                await self._shelf.verify(what.key, found[0])
        except (NotFound, Damaged):
            return True
        except OutOfService:
            return False
        return False


def _holds(image: Image) -> bool:
    """Whether a registry made it, and had come to its end with that."""
    return (
        image.status not in UNFINISHED
        and _STORE.fullmatch(image.properties.get(STORE, "")) is not None
        and layout.is_content(image.properties.get(KEY, ""))
    )
