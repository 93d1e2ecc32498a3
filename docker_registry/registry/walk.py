"""Which repositories there are, read from the tree of keys: slow, and always right."""

from __future__ import annotations

import heapq

from docker_registry.deferreds import together
from docker_registry.errors import NameInvalid
from docker_registry.names import Repository, is_component
from docker_registry.registry.old import OldStore
from docker_registry.storage import layout
from docker_registry.storage.interface import IStorage

LEVEL = 100
"""Names read from one level of the tree at a time."""


class Walk:
    """Repositories in byte order of their names."""

    def __init__(self, storage: IStorage, old: OldStore) -> None:
        self._storage = storage
        self._old = old

    async def page(self, after: str, limit: int) -> list[Repository]:
        """At most ``limit`` repositories that hold a manifest, beyond ``after`` (which need not exist).

        Those of docker-registry 0.x that have a tag are among them.
        """
        found: list[Repository] = []
        if limit > 0:
            await self._walk("", after, limit, found, "_manifests")
            old = await self._old.repositories(after, limit)
            if old:
                found = sorted({*found, *old})[:limit]
        return found

    async def with_uploads(self, after: str, limit: int) -> list[Repository]:
        """As `page`, of the names that have, or had, an upload session."""
        found: list[Repository] = []
        await self._walk("", after, limit, found, "_uploads")
        return found

    async def holds_manifest(self, repository: Repository) -> bool:
        """Whether `page` has ``repository``."""
        return bool(
            await self._storage.list(layout.manifests(repository), limit=1) or await self._old.has_tags(repository)
        )

    async def holds_anything(self, repository: Repository) -> bool:
        """Whether a manifest or a blob was pushed to ``repository``."""
        places = (layout.manifests(repository), layout.layers(repository))
        listed = await together(*[self._storage.list(place, limit=1) for place in places])
        return any(listed)

    async def _walk(self, above: str, after: str, limit: int, found: list[Repository], mark: str) -> None:
        """Add what lies below ``above`` and beyond ``after``, until there are ``limit``.

        In byte order ``a-b`` stands between ``a`` and ``a/b``: so what lies below a name waits in ``below`` until the
        names before it have been passed.
        """
        first = after[len(above) :].partition("/")[0] if after.startswith(above) else ""
        candidates = [first[:at] for at, letter in enumerate(first) if letter in "-."] + [first]
        # What a client names is compared with, and opened only if a repository could be called so.
        below = [f"{name}/" for name in candidates if is_component(name)]
        heapq.heapify(below)
        while len(found) < limit:
            entries = await self._storage.list(f"{layout.REPOSITORIES}/{above}".rstrip("/"), after=first, limit=LEVEL)
            names = [entry.name for entry in entries if entry.is_prefix and not entry.name.startswith("_")]
            places = [f"{layout.REPOSITORIES}/{above}{name}/{mark}" for name in names]
            marks = await together(*[self._storage.list(place, limit=1) for place in places])
            for name, marked in zip(names, marks, strict=True):
                while below and below[0] < name:
                    await self._walk(above + heapq.heappop(below), after, limit, found, mark)
                if marked and above + name > after and len(found) < limit:
                    found += _repository(above + name)
                heapq.heappush(below, f"{name}/")
            if len(entries) < LEVEL:
                break
            first = entries[-1].name
        while below and len(found) < limit:
            await self._walk(above + heapq.heappop(below), after, limit, found, mark)


def _repository(name: str) -> list[Repository]:
    """The name as a value, or nothing if no registry made it."""
    try:
        return [Repository.parse(name)]
    except NameInvalid:
        return []
