"""Repositories as docker-registry 0.x kept them: read where they lie, and changed only where they are written to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from docker_registry.deferreds import outcomes, together
from docker_registry.errors import Damaged, NameInvalid, NotFound
from docker_registry.names import Repository, Tag, is_tag
from docker_registry.registry.oldnames import OldNames, Place
from docker_registry.storage import layout
from docker_registry.storage.asking import is_there
from docker_registry.storage.interface import Entry, IStorage, Stat

SLICE = 100
"""Directories or files looked into in one turn of the reactor."""

LEVEL = 1000
"""Files of a directory that are listed at a time."""

MAX_ODD = 10_000
"""Tags of a repository that are listed although nobody may name one so today."""

LATEST = "latest"


class OldStore:
    log = Logger()

    def __init__(self, storage: IStorage) -> None:
        self._storage = storage
        self._names = OldNames(storage)

    # Repositories

    async def knows(self, repository: Repository) -> bool:
        """Whether something is kept of it; a directory alone is nothing."""
        for directory in await self._names.directories(repository):
            if await self._holds(directory):
                return True
        return False

    async def has_tags(self, repository: Repository) -> bool:
        """Whether `repositories` has it."""
        return bool(await self._with_tags([Place(repository, await self._names.directories(repository))]))

    async def repositories(self, after: str, limit: int) -> list[Repository]:
        """At most ``limit`` repositories that have a tag, beyond ``after`` (which need not exist), in byte order."""
        if limit <= 0:
            return []
        bare = await self._tagged(self._names.bare(after), limit)
        return sorted([*bare, *await self._tagged(self._names.in_namespaces(after), limit)])[:limit]

    async def _tagged(self, places: AsyncIterator[Place], limit: int) -> list[Repository]:
        """The first of ``places`` that have a tag, about as many as ``limit``."""
        found: list[Repository] = []
        waiting: list[Place] = []
        async for place in places:
            waiting.append(place)
            if len(waiting) == SLICE or len(found) + len(waiting) >= limit:
                found += await self._with_tags(waiting)
                waiting = []
                if len(found) >= limit:
                    break
        return found + await self._with_tags(waiting)

    async def _with_tags(self, places: Sequence[Place]) -> list[Repository]:
        asked = [(place.repository, directory) for place in places for directory in place.directories]
        keys = [layout.old_repository(directory) for _, directory in asked]
        listed = await together(*(self._storage.list(key, after=layout.OLD_TAG, limit=1) for key in keys))
        tagged = [each for (each, _), entries in zip(asked, listed, strict=True) if any(map(_tag_in, entries))]
        return list(dict.fromkeys(tagged))

    async def remove_repository(self, repository: Repository) -> None:
        """What counts first goes last."""
        for directory in reversed(await self._names.directories(repository)):
            await self._storage.delete_tree(layout.old_repository(directory))

    # Tags

    async def tags(self, repository: Repository, after: str, limit: int) -> list[str]:
        """At most ``limit`` tags beyond ``after``, in byte order."""
        listed = await together(*(
            Deferred.fromCoroutine(self._tags_in(directory, after, limit, is_tag))
            for directory in await self._names.directories(repository)
        ))
        return listed[0] if len(listed) == 1 else sorted({tag for tags in listed for tag in tags})[:limit]

    async def odd_tags(self, repository: Repository) -> dict[str, str]:
        """Tags with names that nobody may give today, and their images (T2). From 0.8.1 on they were quoted."""
        found: dict[str, str] = {}
        for directory in reversed(await self._names.directories(repository)):
            names = await self._tags_in(directory, "", MAX_ODD, _is_odd)
            for at in range(0, len(names), SLICE):
                some = names[at : at + SLICE]
                contents = await outcomes(*(self._storage.get(layout.old_tag(directory, name)) for name in some))
                found |= {unquote(name): _image(content)
                          for name, content in zip(some, contents, strict=True) if isinstance(content, bytes)}
        return found

    async def remove_odd_tag(self, repository: Repository, tag: str) -> bool:
        """Whether there was such a tag."""
        found: list[bool] = []
        for directory in reversed(await self._names.directories(repository)):
            names = await self._tags_in(directory, "", MAX_ODD, lambda name: _is_odd(name) and unquote(name) == tag)
            found += [await self._remove(layout.old_tag(directory, name)) for name in names]
        return any(found)

    async def _tags_in(self, directory: str, after: str, limit: int, accept: Callable[[str], bool]) -> list[str]:
        found: list[str] = []
        count = min(limit, LEVEL)
        while len(found) < limit:
            place = layout.old_repository(directory)
            entries = await self._storage.list(place, after=layout.OLD_TAG + after, limit=count)
            names = [each.name.removeprefix(layout.OLD_TAG) for each in entries if _tag_in(each)]
            found += [each for each in names if accept(each) and not await self._is_metadata(directory, each)]
            if len(entries) < count or not entries[-1].name.startswith(layout.OLD_TAG):
                break
            after = entries[-1].name.removeprefix(layout.OLD_TAG)
        return found[:limit]

    async def _is_metadata(self, directory: str, tag: str) -> bool:
        """Whether this is no tag ``x_json``, but what was said of the tag ``_x``: the file is called the same."""
        if not tag.endswith(layout.OLD_METADATA):
            return False
        try:
            return (await self._storage.get(layout.old_tag(directory, tag))).lstrip().startswith(b"{")
        except (NotFound, Damaged):
            return False

    async def tag(self, repository: Repository, tag: Tag) -> str:
        """The image that it stands for, as the file has it.

        :raises NotFound: no such tag.
        """
        try:
            return _image(await self._get(repository, lambda directory: layout.old_tag(directory, tag.name)))
        except Damaged as error:
            self.log.error("{repository}:{tag} is unreadable: push it again. {error}",
                           repository=repository.name, tag=tag.name, error=str(error))
            raise NotFound(str(tag)) from None

    async def set_at(self, repository: Repository, tags: Sequence[str]) -> dict[str, float]:
        """When each of ``tags`` was set, in seconds since the epoch; left out is what cannot be read."""
        found: dict[str, float] = {}
        for directory in reversed(await self._names.directories(repository)):
            stats = await outcomes(*(self._storage.stat(layout.old_tag(directory, tag)) for tag in tags))
            found |= {tag: stat.modified for tag, stat in zip(tags, stats, strict=True) if isinstance(stat, Stat)}
        return found

    async def put_tag(self, repository: Repository, tag: Tag, image: str) -> None:
        await self._storage.put(layout.old_tag(await self._home(repository), tag.name), image.encode())

    async def remove_tag(self, repository: Repository, tag: Tag) -> None:
        """With what was said of it. The file that counts first goes last: what stood behind it must not come back.

        Costs no writing if there is none.

        :raises NotFound: no such tag.
        """
        directories = (await self._names.directories(repository))[::-1]
        found = [await self._remove(layout.old_tag(directory, tag.name)) for directory in directories]
        if not any(found):
            raise NotFound(str(tag))
        if await self.metadata(repository, tag) is not None:
            for directory in directories:
                await self._remove(layout.old_metadata(directory, tag))
                if tag.name == LATEST:
                    await self._remove(layout.old_latest_metadata(directory))

    # What else there is

    async def images_list(self, repository: Repository) -> list[dict[str, Any]] | None:
        """What clients said that they pushed, each with an ``id``; much of it may be gone."""
        listed = await self._json(repository, layout.old_images_list)
        if not isinstance(listed, list):
            return None
        return [each for each in listed if isinstance(each, dict) and isinstance(each.get("id"), str)]

    async def put_images_list(self, repository: Repository, images: Iterable[dict[str, Any]]) -> None:
        key = layout.old_images_list(await self._home(repository))
        await self._storage.put(key, json.dumps(list(images)).encode())

    async def is_private(self, repository: Repository) -> bool:
        for directory in await self._names.directories(repository):
            if await is_there(self._storage, layout.old_private(directory)):
                return True
        return False

    async def set_private(self, repository: Repository, private: bool) -> None:
        if private:
            await self._storage.put(layout.old_private(await self._home(repository)), b"")
        else:
            for directory in await self._names.directories(repository):
                await self._remove(layout.old_private(directory))

    async def metadata(self, repository: Repository, tag: Tag) -> dict[str, Any] | None:
        """What the client that pushed a tag said of itself."""
        found = await self._json(repository, lambda directory: layout.old_metadata(directory, tag))
        if found is None and tag.name == LATEST:
            found = await self._json(repository, layout.old_latest_metadata)
        return found if isinstance(found, dict) else None

    async def put_metadata(self, repository: Repository, tag: Tag, metadata: dict[str, Any]) -> None:
        """Of ``_x`` nothing is kept: its file would be the tag ``x_json``."""
        key = layout.old_metadata(await self._home(repository), tag)
        if not tag.name.startswith("_"):
            await self._storage.put(key, json.dumps(metadata).encode())

    # Directories

    async def _home(self, repository: Repository) -> str:
        """The directory that is written to: the first in which something is, else that for what is new."""
        directories = await self._names.directories(repository)
        if not directories:
            raise NameInvalid(str(repository))
        if len(directories) > 1:
            for directory in directories:
                if await self._holds(directory):
                    return directory
        return directories[0]

    async def _holds(self, directory: str) -> bool:
        entries = await self._storage.list(layout.old_repository(directory), limit=LEVEL)
        return not all(each.is_prefix for each in entries)

    async def _get(self, repository: Repository, key: Callable[[str], str]) -> bytes:
        """The first that is there.

        :raises NotFound: none is.
        """
        for directory in await self._names.directories(repository):
            try:
                return await self._storage.get(key(directory))
            except NotFound:
                continue
        raise NotFound(str(repository))

    async def _json(self, repository: Repository, key: Callable[[str], str]) -> Any:
        try:
            return json.loads(await self._get(repository, key))
        except (NotFound, Damaged, ValueError, RecursionError):
            return None

    async def _remove(self, key: str) -> bool:
        """Whether it was there; mostly it is not, and asking costs less than trying."""
        was_there = await is_there(self._storage, key)
        if was_there:
            await self._storage.delete(key)
        return was_there


def _tag_in(entry: Entry) -> bool:
    return entry.name.startswith(layout.OLD_TAG) and not entry.is_prefix


def _is_odd(name: str) -> bool:
    tag = unquote(name)
    return not is_tag(tag) and tag.isprintable()


def _image(content: bytes) -> str:
    return content.decode("ascii", "replace").strip()
