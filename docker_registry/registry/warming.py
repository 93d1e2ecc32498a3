"""Images of an old store, made ready for protocol v2 before anybody asks for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from docker_registry.deferreds import outcomes, together
from docker_registry.errors import (
    Damaged,
    ImageIdInvalid,
    ImageInProgress,
    ImageInvalid,
    ImageUnknown,
    NotFound,
    StorageError,
    StorageFull,
)
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.registry.images import PREPARING
from docker_registry.registry.registry import Registry
from docker_registry.storage import layout
from docker_registry.storage.interface import IStorage

PAGE = 500

LOOKING = 16
"""Tags that are looked at, or set, at a time."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class Left:
    """A tag that v2 cannot serve, and why."""

    repository: Repository
    tag: Tag
    reason: str


@dataclass(slots=True)
class Work:
    """What there is to do.

    :ivar tags: that docker-registry 0.x left, and nobody set since.
    :ivar layers: images whose layer was not read yet, with the bytes of it; parents may stand after their children.
    """

    tags: list[tuple[Repository, Tag]] = field(default_factory=list)
    layers: dict[ImageId, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes to be read."""
        return sum(self.layers.values())


class Warming:
    """Reads each old layer once. What is done stays done: it may be stopped at any moment, and begun again.

    :ivar tags_set: how many tags `set_tags` is through with.
    """

    def __init__(self, storage: IStorage, registry: Registry) -> None:
        self._storage = storage
        self._registry = registry
        self._seen: set[ImageId] = set()
        self.tags_set = 0

    @property
    def bytes_read(self) -> int:
        """How far `read` is."""
        return self._registry.bytes_read

    async def survey(self) -> Work:
        """Find what there is to do, without reading a layer."""
        work = Work()
        after = ""
        while names := await self._registry.old.repositories(after, PAGE):
            for repository in names:
                await self._survey(repository, work)
            after = str(names[-1])
        return work

    async def _survey(self, repository: Repository, work: Work) -> None:
        after = ""
        while names := await self._registry.old.tags(repository, after, PAGE):
            tags = [Tag(name) for name in names]
            links = await outcomes(*(self._storage.stat(layout.tag_link(repository, tag)) for tag in tags))
            found = [tag for tag, link in zip(tags, links, strict=True) if isinstance(link, (NotFound, Damaged))]
            work.tags += [(repository, tag) for tag in found]
            await _few_at_a_time(LOOKING, found, lambda tag: self._survey_image(repository, tag, work))
            after = names[-1]

    async def _survey_image(self, repository: Repository, tag: Tag, work: Work) -> None:
        try:
            top = ImageId.parse_old(await self._registry.old.tag(repository, tag))
            chain = await self._registry.images.ancestry(top)
        except (NotFound, Damaged, ImageIdInvalid, ImageUnknown, ImageInvalid):
            return                              # `set_tags` will say so
        for each in chain:
            if each not in self._seen:
                self._seen.add(each)
                with suppress(ImageUnknown, ImageInProgress):
                    image = await self._registry.images.get(each)
                    if image.layer is None or image.layer.unpacked is None:
                        work.layers[each] = image.size

    async def read(self, work: Work) -> None:
        """Read the layers; one that cannot be read does not keep the others from it.

        :raises StorageFull: there is no room for what is found out.
        """
        await _few_at_a_time(PREPARING, work.layers, self._read)

    async def _read(self, image: ImageId) -> None:
        try:
            await self._registry.images.layer(await self._registry.images.get(image))
        except StorageFull:
            raise
        except (StorageError, ImageUnknown, ImageInProgress):
            return                              # the tags on it will say so, if there still are any

    async def set_tags(self, work: Work) -> list[Left]:
        """Make ordinary tags of the old ones; those that v2 cannot serve, in order.

        :raises StorageFull: there is no room.
        """
        left: list[Left] = []
        await _few_at_a_time(LOOKING, work.tags, lambda each: self._set(*each, left))
        return sorted(left)

    async def _set(self, repository: Repository, tag: Tag, left: list[Left]) -> None:
        try:
            await self._registry.tags.resolve(repository, tag)
        except StorageFull:
            raise
        except StorageError as error:
            left.append(Left(repository, tag, str(error)))
        self.tags_set += 1


async def _few_at_a_time(
    number: int, items: Iterable[T], work: Callable[[T], Coroutine[Deferred[Any], Any, None]]
) -> None:
    """Do ``work`` for each of ``items``.

    :raises Exception: the first that came; nothing else is begun then.
    """
    waiting = deque(items)

    async def go_on() -> None:
        while waiting:
            try:
                await work(waiting.popleft())
            except BaseException:
                waiting.clear()
                raise

    await together(*(Deferred.fromCoroutine(go_on()) for _ in range(number)))
