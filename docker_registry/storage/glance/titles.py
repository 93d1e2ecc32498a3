"""What images are called in Glance, where people see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from docker_registry.errors import NotFound
from docker_registry.storage.glance.errors import Conflict
from docker_registry.storage.glance.images import Image, Images
from docker_registry.storage.glance.old import FORMATS, find
from docker_registry.storage.glance.oldimages import pages
from docker_registry.storage.glance.shelf import KEY
from docker_registry.storage.interface import Named

GROUP = "docker_registry_repository"
"""A property: which group an image was named in."""


class Titles:
    """Names of images of ours, and of those that docker-registry 0.x left in the same project: it named them, too.

    :param project: the id of the project that we log in to.
    :param is_ours: whether an image is.
    """

    def __init__(
        self, images: Images, project: Callable[[], Awaitable[str]], is_ours: Callable[[Image], bool]
    ) -> None:
        self._images = images
        self._project = project
        self._is_ours = is_ours

    async def set(self, name: str, group: str, wanted: str | None) -> None:
        """Let an image be called ``name``, and none other of ours.

        :param wanted: its id; ``None`` if none is called so any more.
        """
        async for image in self._those_with({"name": f'in:"{name}"'}):     # "in:x" would be taken for a list of names
            if image.name != name:
                continue
            if image.id != wanted:
                await self._change(image, {"name": ""}, [GROUP] if GROUP in image.properties else [])
            elif image.properties.get(GROUP) == group:
                wanted = None                                               # that is its name already
        if wanted is not None:
            try:
                await self._images.patch(wanted, {"name": name, GROUP: group})
            except NotFound:
                return

    async def names(self, group: str) -> list[str]:
        """What images are called that were named in ``group``."""
        return [image.name async for image in self._those_with({GROUP: group}) if image.name]

    async def all(self) -> list[Named]:
        """Of images of ours."""
        return [
            Named(image.name, image.properties[GROUP], image.properties.get(KEY, ""))
            async for image in self._those_with({}) if image.name and GROUP in image.properties and self._is_ours(image)
        ]

    async def _those_with(self, filters: Mapping[str, str]) -> AsyncIterator[Image]:
        wanted = {**FORMATS, "owner": await self._project(), **filters}
        async for image in pages(self._images, wanted):
            if image.owner == wanted["owner"] and (self._is_ours(image) or find(image) is not None):
                yield image

    async def _change(self, image: Image, values: Mapping[str, str], remove: list[str]) -> None:
        try:
            await self._images.patch(image.id, values, remove)
        except (Conflict, NotFound):
            return                              # somebody was faster
