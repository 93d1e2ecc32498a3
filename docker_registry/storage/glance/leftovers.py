"""Images that are ours and hold nothing any more: what was cut off, replaced, or deleted while Glance failed."""

from __future__ import annotations

from twisted.logger import Logger

from docker_registry.errors import Damaged
from docker_registry.storage import layout
from docker_registry.storage.glance.images import UNFINISHED
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
    """A store that was emptied knows of no image, which does not make leftovers of them: they can be found again."""

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
            self._tell(layout.glance_store())
            return []
        found: list[Leftover] = []
        spared = False
        kept = await self._records.taken_out()
        are_any = await self._records.are_any()
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
                if image.updated >= before or kept & {image.id, key} or await self._is_held(key, image.id):
                    continue
                if are_any or image.status in UNFINISHED:
                    found.append(Leftover(key, f"{IMAGE}{image.id}", image.updated))
                else:
                    spared = True
        if spared:
            self._tell(layout.glance_images(""))
        return found

    def _tell(self, key: str) -> None:
        self.log.error(
            "storage_alternate has lost what it knew of images in Glance ({key} is gone): none is removed there; stop "
            "the registry, bring the backup back, and run docker-registry recover", key=key,
            alert="storage_alternate was emptied",
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
        return not kept & {image, leftover.key} and not await self._is_held(leftover.key, image)

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
