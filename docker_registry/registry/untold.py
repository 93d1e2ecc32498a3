"""Tags that protocol v1 set before their images were whole: that they were pushed is told when these are.

It is noted twice. At the tag, so that it is told once, whoever makes its manifest, and after a crash, too; what
docker-registry 0.x left has no such note. And at the image that is missing, so that it is told as soon as that is
there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

from docker_registry.deferreds import outcomes, together
from docker_registry.errors import Damaged, ImageIdInvalid, NameInvalid, NotFound, TagInvalid, expect
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.storage import layout
from docker_registry.storage.asking import discard, is_there, pages
from docker_registry.storage.interface import IStorage

SLICE = 100
"""Tags of an image that are read at a time."""


class Untold:
    def __init__(self, storage: IStorage) -> None:
        self._storage = storage

    async def note(self, repository: Repository, tag: Tag, image: ImageId) -> None:
        """Let a tag wait for ``image``. Whoever calls has the lock of the repository."""
        await together(
            self._storage.put(layout.awaited_by_tag(repository, tag), str(image).encode()),
            self._storage.put(layout.image_awaited_by(image, repository, tag), f"{repository}:{tag}".encode()),
        )

    async def has(self, repository: Repository, tag: Tag) -> bool:
        """Whether the tag waits."""
        return await is_there(self._storage, layout.awaited_by_tag(repository, tag))

    async def forget(self, repository: Repository, tag: Tag) -> None:
        """It is told, or will never be. Costs no writing if the tag does not wait."""
        key = layout.awaited_by_tag(repository, tag)
        try:
            image = ImageId.parse_old((await self._storage.get(key)).decode("ascii", "replace"))
        except NotFound:
            return
        except (Damaged, ImageIdInvalid):
            image = None
        if image is not None:
            await discard(self._storage, layout.image_awaited_by(image, repository, tag))
        await discard(self._storage, key)

    async def take(self, image: ImageId) -> AsyncIterator[tuple[Repository, Tag]]:
        """The tags that waited for ``image``; they are noted there no more."""
        place = layout.image_awaited(image)
        async for entries in pages(self._storage, place, SLICE):
            keys = [f"{place}/{entry.name}" for entry in entries]
            for found in await outcomes(*(self._storage.get(key) for key in keys)):
                expect(found, NotFound, Damaged)
                if isinstance(found, bytes):
                    repository, _, tag = found.decode("ascii", "replace").rpartition(":")
                    with suppress(NameInvalid, TagInvalid):
                        yield Repository.parse(repository), Tag.parse(tag)
            await discard(self._storage, *keys)
