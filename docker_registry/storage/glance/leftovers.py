"""Images that are ours and hold nothing any more: what was cut off, replaced, or deleted while Glance failed."""

from __future__ import annotations

from docker_registry.errors import Damaged
from docker_registry.storage.glance.records import Records
from docker_registry.storage.glance.shelf import KEY, Shelf
from docker_registry.storage.interface import Leftover

IMAGE = "image "
"""What their ids begin with."""


async def leftovers(shelf: Shelf, records: Records, before: float) -> list[Leftover]:
    """Those that nobody has changed since ``before``, in seconds since the epoch.

    Lists may be late: only what is old counts, and each one's record is asked for.
    """
    found: list[Leftover] = []
    kept = await records.taken_out()
    marker, more = "", True
    while more:
        page = await shelf.page(marker)
        marker, more = page.marker, bool(page.marker)
        for image in page.images:
            key = image.properties.get(KEY, "")
            if image.updated < before and image.id not in kept and not await _is_held(records, key, image.id):
                found.append(Leftover(key, f"{IMAGE}{image.id}", image.updated))
    return found


async def _is_held(records: Records, key: str, image: str) -> bool:
    """A record that cannot be read may be of any image."""
    try:
        record = await records.find(key) if key else None
    except Damaged:
        return True
    return record is not None and record[0].image == image
