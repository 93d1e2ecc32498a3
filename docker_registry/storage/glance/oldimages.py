"""What docker-registry 0.x left of images in Glance: read by Docker's id and the name of the file that it would be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

from twisted.internet.defer import Deferred

from docker_registry.deferreds import Shared
from docker_registry.errors import Damaged, NotFound, StorageFailed, StoreUnavailable
from docker_registry.storage.glance.diversion import Asked, Diversion, itself
from docker_registry.storage.glance.errors import Conflict, Deactivated
from docker_registry.storage.glance.images import ACTIVE, Image, Images
from docker_registry.storage.glance.old import FORMATS, LAYER, PREFIX, Found, files_of
from docker_registry.storage.glance.oldindex import Listing, OldIndex
from docker_registry.storage.glance.reader import open_image
from docker_registry.storage.interface import IReader, Stat

PAGE = 100
"""Images in one answer: what is said of each can be long."""


def listing(images: Images, project: Callable[[], Awaitable[str]]) -> Listing:
    """:param project: the id of the project that we log in to. Images of others are seen as well, and anybody could put
        one under any id of Docker's.
    """

    async def walk(until: float | None) -> AsyncIterator[Image]:
        owner = await project()
        for hidden in ("false", "true"):
            filters = {**FORMATS, "owner": owner, "os_hidden": hidden}
            if until is not None:
                filters["created_at"] = f"lte:{datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%M:%SZ}"
            async for image in pages(images, filters):
                if image.owner == owner:
                    yield image

    return walk


async def pages(images: Images, filters: dict[str, str]) -> AsyncIterator[Image]:
    """All images that match.

    :raises StorageFailed: their list does not end.
    """
    marker = last = ""
    while marker or not last:
        page = await images.page(filters, marker, PAGE)
        for image in page.images:
            yield image
        last, marker = marker or "-", page.marker
        if marker == last:
            raise StorageFailed("Glance: a page of its list leads to itself")


class OldImages:
    """Nothing is written here, but what was left can go.

    :param diversion: knows whether Glance fails; ``None`` if nobody does.
    """

    def __init__(self, images: Images, index: OldIndex, diversion: Diversion | None = None) -> None:
        self._images = images
        self._index = index
        self._asked: Asked = itself if diversion is None else diversion.asked
        self._check: Callable[[], None] = (lambda: None) if diversion is None else diversion.check
        self._asking: Shared[tuple[str, int], Image] = Shared()
        self._changes = 0                       # what was asked before one is not the answer after it

    async def stat(self, image: str, name: str) -> Stat:
        """:raises NotFound: it was not left.
        :raises Deactivated: a layer that nobody may read.
        :raises StoreUnavailable: Glance does not say.
        """
        said = await self._get(image)
        return Stat(_size(said) if name == LAYER else len(_file(said, name)), said.updated)

    async def get(self, image: str, name: str) -> bytes:
        """A small file; raises as `stat`."""
        return _file(await self._get(image), name)

    async def open_layer(self, image: str, offset: int) -> IReader:
        """Raises as `stat`."""
        said = await self._get(image)
        _size(said)
        return await open_image(self._images, said, offset, self._asked)

    async def names(self, image: str) -> list[str]:
        """Of its files, in order."""
        try:
            said = await self._get(image)
        except NotFound:
            return []
        return sorted([*files_of(said), *([LAYER] if said.status == ACTIVE else [])])

    async def page(self, after: str, limit: int) -> list[str]:
        """At most ``limit`` images beyond ``after``, in order."""
        return await self._index.page(after, limit)

    async def remove_file(self, image: str, name: str) -> bool:
        """Whether it was there. As in 0.x an image without its layer is none, and goes as a whole."""
        try:
            said = await self._get(image)
        except NotFound:
            return False
        if name == LAYER:
            return await self.remove(image) if said.status == ACTIVE else False
        if name not in files_of(said):
            return False
        try:
            await self._images.patch(said.id, {}, [f"{PREFIX}{name}"])
        except (Conflict, NotFound):
            return False                        # somebody was faster
        finally:
            self._changes += 1
        return True

    async def remove(self, image: str) -> bool:
        """Whether it was there; with all that was left under its id, or that would be the image next."""
        found = await self._index.all(image)
        for each in found:
            await self._images.delete(each.id)
            self._index.forget(image, each)
        return bool(found)

    async def _get(self, image: str) -> Image:
        while (found := await self._find(image)) is not None:
            try:
                return await self._show(found.id)
            except NotFound:
                self._index.forget(image, found)
        raise NotFound(image)

    async def _find(self, image: str) -> Found | None:
        try:
            found = await self._index.find(image)
        except StoreUnavailable:
            self._check()
            raise
        if found is not None:
            self._check()
        return found

    def _show(self, id: str) -> Deferred[Image]:
        """Once for all who ask at the same time: of one image several files are."""
        key = id, self._changes
        return self._asking(key, lambda: Deferred.fromCoroutine(self._asked(self._images.show(id))))


def _file(said: Image, name: str) -> bytes:
    try:
        return files_of(said)[name]
    except KeyError:
        raise NotFound(f"{name} of image {said.id}") from None


def _size(said: Image) -> int:
    """Bytes of the layer."""
    if said.status == "deactivated":
        raise Deactivated(said.id)
    if said.status != ACTIVE:
        raise NotFound(f"layer of image {said.id}, which is {said.status}")
    if said.size is None:
        raise Damaged(f"layer of image {said.id}")
    return said.size
