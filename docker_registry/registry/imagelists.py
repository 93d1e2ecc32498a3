"""What clients of protocol v1 say that they push to a repository: ids of images, and their checksums."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from docker_registry.deferreds import Shield
from docker_registry.names import Repository
from docker_registry.registry.locks import Locks
from docker_registry.registry.old import OldStore

Entry = dict[str, Any]
"""Its ``id`` is text, and stands for any image or none."""

MOST = 20_000
"""Entries in a list. It only ever grows: the newest are enough."""


class ImageLists:
    def __init__(self, old: OldStore, locks: Locks, shield: Shield) -> None:
        self._old = old
        self._locks = locks
        self._shield = shield

    async def get(self, repository: Repository) -> list[Entry]:
        return await self._old.images_list(repository) or []

    async def add(self, repository: Repository, listed: list[Entry]) -> None:
        """The first list is kept as it is, to those that follow the rest is added; no entry is removed."""
        await self._shield(self._add(repository, listed))

    async def _add(self, repository: Repository, listed: list[Entry]) -> None:
        async with self._locks.held(repository):
            stored = await self._old.images_list(repository)
            merged = listed if stored is None else _merged([*listed, *stored])
            if merged[:MOST] != stored:
                await self._old.put_images_list(repository, merged[:MOST])


def _merged(entries: Iterable[Entry]) -> list[Entry]:
    """One of each id, where it came first: the last of them, or the first that has a checksum."""
    merged: dict[str, Entry] = {}
    for each in entries:
        if not merged.get(each["id"], {}).get("checksum"):
            merged[each["id"]] = {key: each[key] for key in ("id", "checksum") if key in each}
    return list(merged.values())
