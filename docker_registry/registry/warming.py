"""Images of an old store, made ready for protocol v2 before anybody asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from docker_registry.deferreds import outcomes
from docker_registry.errors import ImageIdInvalid, ImageInProgress, ImageInvalid, ImageUnknown, NotFound
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.registry.registry import Registry
from docker_registry.storage import layout
from docker_registry.storage.interface import IStorage

PAGE = 500


@dataclass(slots=True)
class Work:
    """What there is to do.

    :ivar tags: that docker-registry 0.x left, and nobody set since.
    :ivar layers: images whose layer was not read yet, with the bytes of it; parents may stand after their children.
    """

    tags: list[tuple[Repository, Tag]]
    layers: dict[ImageId, int]

    @property
    def size(self) -> int:
        """Bytes to be read."""
        return sum(self.layers.values())


class Warming:
    """Reads each old layer once. What is done stays done: it may be stopped at any moment, and begun again."""

    def __init__(self, storage: IStorage, registry: Registry) -> None:
        self._storage = storage
        self._registry = registry

    async def survey(self) -> Work:
        """Find what there is to do, without reading a layer."""
        work = Work([], {})
        after = ""
        while names := await self._registry.old.repositories(after, PAGE):
            for repository in names:
                await self._survey(repository, work)
            after = str(names[-1])
        return work

    async def _survey(self, repository: Repository, work: Work) -> None:
        after = ""
        while tags := await self._registry.old.tags(repository, after, PAGE):
            for name in tags:
                tag = Tag(name)
                (linked,) = await outcomes(self._storage.stat(layout.tag_link(repository, tag)))
                if isinstance(linked, NotFound):
                    work.tags.append((repository, tag))
                    await self._survey_image(repository, tag, work)
            after = tags[-1]

    async def _survey_image(self, repository: Repository, tag: Tag, work: Work) -> None:
        try:
            top = ImageId.parse_old(await self._registry.old.tag(repository, tag))
            chain = await self._registry.images.ancestry(top)
        except (NotFound, ImageIdInvalid, ImageUnknown, ImageInvalid):
            return
        for each in chain:
            if each not in work.layers:
                try:
                    image = await self._registry.images.get(each)
                except (ImageUnknown, ImageInProgress):
                    continue
                if image.layer is None:
                    work.layers[each] = image.size

    async def read(self, work: Work) -> AsyncIterator[int]:
        """Read the layers, one after the other; yields the bytes of each when that is done."""
        for image, size in work.layers.items():
            with suppress(ImageUnknown, ImageInProgress):       # deleted since, or pushed anew
                await self._registry.images.layer(await self._registry.images.get(image))
            yield size

    async def set_tags(self, work: Work) -> int:
        """Make ordinary tags of the old ones; the number of those that v2 cannot serve, which the log names."""
        left = 0
        for repository, tag in work.tags:
            try:
                await self._registry.tags.resolve(repository, tag)
            except NotFound:
                left += 1
        return left
