"""A store, and below it what docker-registry 0.x left in Glance: where the store has something, that counts."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import directlyProvides, providedBy

from docker_registry.deferreds import deferred
from docker_registry.errors import NotFound
from docker_registry.storage import layout
from docker_registry.storage.asking import whole
from docker_registry.storage.glance.diversion import Diversion
from docker_registry.storage.glance.images import Images
from docker_registry.storage.glance.old import FILES, LAYER
from docker_registry.storage.glance.oldimages import OldImages, listing
from docker_registry.storage.glance.oldindex import OldIndex
from docker_registry.storage.interface import Entry, IExplores, IReader, IStorage, Stat

Entries = list[Entry]

_NAMES = "|".join(map(re.escape, sorted({*FILES, LAYER})))
_IMAGE = rf"{layout.IMAGES}/([A-Za-z0-9][A-Za-z0-9._-]*)"
_FILE = re.compile(rf"{_IMAGE}/({_NAMES})")
_DIRECTORY = re.compile(_IMAGE)


def with_old(
    storage: IStorage,
    images: Images,
    project: Callable[[], Awaitable[str]],
    clock: IReactorTime,
    place: str,
    diversion: Diversion | None = None,
) -> IStorage:
    """``storage``, with everything that it provides, and what 0.x left below it.

    Starting it waits for nothing but ``storage``.

    :param project: the id of the one that we log in to.
    :param place: says which Glance and which project that is, also while Keystone is down.
    :param diversion: knows whether Glance fails, and is told so.
    """
    index = OldIndex(listing(images, project), storage, clock, place)
    made: Any = _WithOld(storage, OldImages(images, index, diversion), index)
    joined: IStorage = made
    return joined


class _WithOld:
    """What is not of images of protocol v1 is the store's own affair, and costs nothing here."""

    def __init__(self, storage: IStorage, old: OldImages, index: OldIndex) -> None:
        self._storage = storage
        self._old = old
        self._index = index
        directlyProvides(self, providedBy(storage), IExplores)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    @deferred
    async def start(self) -> None:
        await self._storage.start()
        await self._index.start()

    def explored(self) -> Deferred[None]:
        return self._index.explored()

    @deferred
    async def close(self) -> None:
        self._index.close()
        await self._storage.close()

    def stat(self, key: str) -> Deferred[Stat]:
        found = _FILE.fullmatch(key)
        return self._storage.stat(key) if found is None else self._stat(key, found[1], found[2])

    def get(self, key: str) -> Deferred[bytes]:
        found = _FILE.fullmatch(key)
        return self._storage.get(key) if found is None else self._get(key, found[1], found[2])

    def open(self, key: str, offset: int = 0) -> Deferred[IReader]:
        found = _FILE.fullmatch(key)
        if found is None or found[2] != LAYER:
            return self._storage.open(key, offset)
        return self._open(key, offset, found[1])

    def list(self, prefix: str, after: str = "", limit: int = 1000) -> Deferred[Entries]:
        if prefix == layout.IMAGES:
            return self._list(prefix, after, limit, "")
        found = _DIRECTORY.fullmatch(prefix)
        return self._storage.list(prefix, after, limit) if found is None else self._list(prefix, after, limit, found[1])

    def delete(self, key: str) -> Deferred[None]:
        found = _FILE.fullmatch(key)
        return self._storage.delete(key) if found is None else self._delete(key, found[1], found[2])

    def delete_tree(self, prefix: str) -> Deferred[None]:
        found = _DIRECTORY.fullmatch(prefix)
        return self._storage.delete_tree(prefix) if found is None else self._delete_tree(prefix, found[1])

    @deferred
    async def _stat(self, key: str, image: str, name: str) -> Stat:
        try:
            return await self._storage.stat(key)
        except NotFound:
            return await self._old.stat(image, name)

    @deferred
    async def _get(self, key: str, image: str, name: str) -> bytes:
        try:
            return await self._storage.get(key)
        except NotFound:
            if name != LAYER:
                return await self._old.get(image, name)
        return await whole(await self._old.open_layer(image, 0), key)

    @deferred
    async def _open(self, key: str, offset: int, image: str) -> IReader:
        try:
            return await self._storage.open(key, offset)
        except NotFound:
            return await self._old.open_layer(image, offset)

    @deferred
    async def _list(self, prefix: str, after: str, limit: int, image: str) -> Entries:
        entries = {each.name: each for each in await self._storage.list(prefix, after, limit)}
        if image:
            old = [Entry(name, False) for name in await self._old.names(image) if name > after]
        else:
            old = [Entry(name, True) for name in await self._old.page(after, limit)]
        merged = {each.name: each for each in old} | entries
        return [merged[name] for name in sorted(merged, key=str.encode)[:limit]]

    @deferred
    async def _delete(self, key: str, image: str, name: str) -> None:
        """What stands below goes first: it must not come back."""
        was_old = await self._old.remove_file(image, name)
        try:
            await self._storage.delete(key)
        except NotFound:
            if not was_old:
                raise

    @deferred
    async def _delete_tree(self, prefix: str, image: str) -> None:
        await self._old.remove(image)
        await self._storage.delete_tree(prefix)
