"""Repositories as docker-registry 0.x kept them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote_plus

from docker_registry.errors import Damaged, NotFound
from docker_registry.names import Repository, Tag
from docker_registry.storage import layout
from docker_registry.storage.interface import IStorage

TAG = "tag_"


class OldStore:
    def __init__(self, storage: IStorage) -> None:
        self._storage = storage

    async def knows(self, repository: Repository) -> bool:
        """Whether something is kept of it."""
        return bool(await self._storage.list(_directory(repository), limit=1))

    async def repositories(self, after: str, limit: int) -> list[Repository]:
        """At most ``limit`` repositories beyond ``after``, in byte order."""
        return []

    async def tags(self, repository: Repository, after: str, limit: int) -> list[str]:
        """At most ``limit`` tags beyond ``after``, in byte order."""
        entries = await self._storage.list(_directory(repository), after=TAG + after, limit=limit)
        return [entry.name.removeprefix(TAG) for entry in entries if entry.name.startswith(TAG)]

    async def tag(self, repository: Repository, tag: Tag) -> str:
        """:raises NotFound: no such tag."""
        content = await self._storage.get(f"{_directory(repository)}/{TAG}{tag}")
        return content.decode("ascii", "replace").strip()

    async def put_tag(self, repository: Repository, tag: Tag, image: str) -> None:
        await self._storage.put(f"{_directory(repository)}/{TAG}{tag}", image.encode())

    async def remove_tag(self, repository: Repository, tag: Tag) -> None:
        """:raises NotFound: no such tag."""
        await self._storage.delete(f"{_directory(repository)}/{TAG}{tag}")

    async def remove_repository(self, repository: Repository) -> None:
        await self._storage.delete_tree(_directory(repository))

    async def images_list(self, repository: Repository) -> list[dict[str, Any]] | None:
        """What clients said that they pushed, each with an ``id``."""
        listed = await self._json(f"{_directory(repository)}/_index_images")
        if not isinstance(listed, list):
            return None
        return [each for each in listed if isinstance(each, dict) and isinstance(each.get("id"), str)]

    async def put_images_list(self, repository: Repository, images: Iterable[dict[str, Any]]) -> None:
        await self._storage.put(f"{_directory(repository)}/_index_images", json.dumps(list(images)).encode())

    async def is_private(self, repository: Repository) -> bool:
        try:
            await self._storage.stat(f"{_directory(repository)}/_private")
        except NotFound:
            return False
        return True

    async def set_private(self, repository: Repository, private: bool) -> None:
        if private:
            await self._storage.put(f"{_directory(repository)}/_private", b"")
        elif await self.is_private(repository):
            await self._storage.delete(f"{_directory(repository)}/_private")

    async def metadata(self, repository: Repository, tag: Tag) -> dict[str, Any] | None:
        """What the client that pushed a tag said of itself."""
        found = await self._json(f"{_directory(repository)}/tag{tag}_json")
        return found if isinstance(found, dict) else None

    async def put_metadata(self, repository: Repository, tag: Tag, metadata: dict[str, Any]) -> None:
        await self._storage.put(f"{_directory(repository)}/tag{tag}_json", json.dumps(metadata).encode())

    async def _json(self, key: str) -> Any:
        try:
            return json.loads(await self._storage.get(key))
        except (NotFound, Damaged, ValueError, RecursionError):
            return None


def _directory(repository: Repository) -> str:
    first, _, rest = str(repository).partition("/")
    namespace, name = (first, rest) if rest else ("library", first)
    return layout.old_repository(f"{namespace}/{quote_plus(name)}")
