"""Images that are ours and hold nothing any more: what was cut off, replaced, or deleted while Glance failed.

That an image has no record proves nothing: records can be lost, where a part of the alternate store is, or where an
older backup of it comes back. So one that has all its bytes, and says of what, goes only if somebody noted that it is
given up, or another one is there that holds the same. The rest is kept, and told of.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from docker_registry.errors import Damaged, NotFound, OutOfService
from docker_registry.storage import layout
from docker_registry.storage.glance.images import EMPTY, Image
from docker_registry.storage.glance.records import Records
from docker_registry.storage.glance.shelf import KEY, Shelf
from docker_registry.storage.interface import Leftover

IMAGE = "image "
"""What their ids begin with."""

ROUNDS = 24
"""Rounds in which an image that held something is taken to do so: asking costs a request each, if the records are in
another store on the network."""

MOST = 200_000
"""Images of which that is remembered."""


class Lookout:
    log = Logger()

    def __init__(self, shelf: Shelf, records: Records) -> None:
        self._shelf = shelf
        self._records = records
        self._held: dict[str, int] = {}         # images, and the round in which they are asked about again
        self._round = 0

    async def leftovers(self, before: float) -> list[Leftover]:
        """Those that nobody has changed since ``before``, in seconds since the epoch.

        Lists may be late: only what is old counts, and each one's record is asked for.
        """
        if not await self.is_known():
            self._tell_of_store()
            return []
        found: list[Leftover] = []
        unknown: list[Image] = []
        kept = await self._records.taken_out()
        given_up = await self._records.given_up()
        obsolete = set(given_up)                # notes of images that are gone, or have a record
        self._round += 1
        self._held = {image: again for image, again in self._held.items() if again > self._round}
        marker, more = "", True
        while more:
            page = await self._shelf.page(marker)
            marker, more = page.marker, bool(page.marker)
            for image in page.images:
                if not self._shelf.is_ours(image):
                    continue                    # whoever answers does not know how to filter by properties
                key = image.properties.get(KEY, "")
                is_held = await self._is_held(key, image.id)
                if not is_held:
                    obsolete.discard(image.id)
                if image.updated >= before or is_held or kept & {image.id, key}:
                    continue
                if image.id in given_up or await self._is_dispensable(image):
                    found.append(Leftover(key, f"{IMAGE}{image.id}", image.updated))
                else:
                    unknown.append(image)
        for each in obsolete:
            await self._records.forget_given_up(each, before)
        if unknown:
            self._tell_of(unknown)
        return found

    def _tell_of_store(self) -> None:
        self.log.error(
            "storage_alternate has lost what it knew of images in Glance ({key} is gone): none is removed there; stop "
            "the registry, bring the backup back, and run docker-registry recover", key=layout.glance_store(),
            alert="storage_alternate was emptied",
        )

    def _tell_of(self, unknown: Sequence[Image]) -> None:
        self.log.error(
            "storage_alternate knows nothing of {count} images in Glance that are whole, such as {image}: it has "
            "lost that, or is an older backup, or a push was killed; none of them is removed; stop the registry, and "
            "run docker-registry recover", count=len(unknown), image=unknown[0].id,
            alert="images that storage_alternate does not know",
        )

    async def is_known(self) -> bool:
        """Whether the alternate store still says that this is its store."""
        return await self._records.store() == self._shelf.store

    async def is_left(self, leftover: Leftover) -> bool:
        """Whether it is still one: what was listed may be old, and what was pushed since may have it."""
        if not await self.is_known():
            return False
        image = leftover.id.removeprefix(IMAGE)
        self._held.pop(image, None)
        kept = await self._records.taken_out()
        if kept & {image, leftover.key} or await self._is_held(leftover.key, image):
            return False
        found = await self._shelf.show(image)
        if found is None:
            return True                             # to be forgotten
        if found.properties.get(KEY, "") != leftover.key:
            return False                            # somebody has said meanwhile what it holds
        return await self._records.is_given_up(image) or await self._is_dispensable(found)

    async def _is_held(self, key: str, image: str) -> bool:
        """A record that cannot be read may be of any image."""
        if image in self._held:
            return True
        try:
            record = await self._records.find(key) if key else None
        except Damaged:
            return True
        is_held = record is not None and record[0].image == image
        if is_held and len(self._held) < MOST:
            self._held[image] = self._round + ROUNDS
        return is_held

    async def _is_dispensable(self, image: Image) -> bool:
        """Whether nobody can miss it, though no record leads to it: it has no bytes, or nobody was told of them, or a
        record leads to another one with the same.

        :raises StoreUnavailable: Glance fails.
        """
        key = image.properties.get(KEY, "")
        if image.status in EMPTY or not layout.is_content(key):
            return True
        try:
            record = await self._records.find(key)
            if record is None:
                return False
            await self._shelf.verify(key, record[0], anew=True)
        except (Damaged, NotFound, OutOfService):
            return False
        return True
