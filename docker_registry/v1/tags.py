"""``/v1/repositories/<name>/``: tags, their descriptions, properties."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from docker_registry.errors import ImageIdInvalid, ImageUnknown, NameInvalid, RepositoryUnknown, TagInvalid, TagUnknown
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.registry.events import ManifestPulled
from docker_registry.registry.registry import Registry
from docker_registry.v1.answers import send_json
from docker_registry.v1.bodies import read_json, repository
from docker_registry.v1.problems import Wrong
from docker_registry.web.request import Request

_PAIR = re.compile(r"([a-z-]{1,32})/([^\s/]{1,100})")
_KEYS = {"docker": "docker_version", "go": "docker_go_version", "arch": "arch", "kernel": "kernel", "os": "os"}
_NO_METADATA = {
    "arch": "amd64", "docker_go_version": None, "docker_version": None, "kernel": None, "last_update": None,
    "os": "linux",
}


class TagRoutes:
    """:param now: seconds since the epoch."""

    def __init__(self, registry: Registry, now: Callable[[], float]) -> None:
        self._registry = registry
        self._now = now

    async def list(self, request: Request, name: str) -> None:
        try:
            tags = await self._registry.image_tags.all(repository(name))
        except NameInvalid:
            raise RepositoryUnknown(name) from None
        send_json(request, {tag: str(image) for tag, image in tags.items()})

    async def get(self, request: Request, name: str, tag: str) -> None:
        try:
            image = await self._find(repository(name), tag)
        except NameInvalid:
            raise TagUnknown(tag) from None
        send_json(request, str(image))
        if self._registry.events.of_pulls and request.method == "GET":
            await self._tell(repository(name), tag)

    async def _tell(self, name: Repository, tag: str) -> None:
        """Who asks for one tag is about to pull it. What is asked for then has no repository in its path."""
        try:
            asked = Tag.parse(tag)
        except TagInvalid:
            return
        found = await self._registry.image_tags.manifest(name, asked)
        if found is not None:
            await self._registry.events.tell(
                ManifestPulled(name, found.digest, len(found.content), found.document, asked)
            )

    async def _find(self, name: Repository, tag: str) -> ImageId:
        """Also of a tag that 0.x took and nobody may set today.

        :raises TagUnknown: no such tag.
        """
        try:
            return await self._registry.image_tags.get(name, Tag.parse(tag))
        except TagInvalid:
            odd = await self._registry.image_tags.odd(name)
        if tag not in odd:
            raise TagUnknown(tag)
        return odd[tag]

    async def put(self, request: Request, name: str, tag: str) -> None:
        image = await read_json(request, self._registry.settings.max_manifest_bytes, "Invalid data")
        if not isinstance(image, str) or not image:
            raise Wrong(400, "Invalid data")
        asked, wanted = repository(name), Tag.parse(tag)
        try:
            await self._registry.image_tags.set(asked, wanted, ImageId.parse_old(image))
        except ImageIdInvalid:
            raise ImageUnknown(image) from None
        await self._registry.old.put_metadata(asked, wanted, self._metadata(request))
        send_json(request, True)

    async def delete(self, request: Request, name: str, tag: str) -> None:
        try:
            await self._delete(repository(name), tag)
        except (NameInvalid, TagUnknown):
            raise Wrong(404, f"Tag not found: {tag}") from None
        send_json(request, True)

    async def _delete(self, name: Repository, tag: str) -> None:
        """As `_find`."""
        try:
            wanted = Tag.parse(tag)
        except TagInvalid:
            await self._registry.image_tags.delete_odd(name, tag)
        else:
            await self._registry.image_tags.delete(name, wanted)

    async def delete_all(self, request: Request, name: str) -> None:
        try:
            await self._registry.image_tags.delete_all(repository(name))
        except NameInvalid:
            raise RepositoryUnknown(name) from None
        send_json(request, True)

    async def describe(self, request: Request, name: str, tag: str) -> None:
        """Who pushed a tag last, by the client's own words."""
        try:
            stored = await self._registry.old.metadata(repository(name), Tag.parse(tag))
        except (NameInvalid, TagInvalid):
            stored = None
        send_json(request, stored if stored is not None else _NO_METADATA)

    async def get_properties(self, request: Request, name: str) -> None:
        is_private = await self._registry.old.is_private(repository(name))
        send_json(request, {"access": "private" if is_private else "public"})

    async def put_properties(self, request: Request, name: str) -> None:
        properties = await read_json(request, self._registry.settings.max_manifest_bytes, "Invalid data")
        access = properties.get("access") if isinstance(properties, dict) else None
        if access not in ("private", "public"):
            raise Wrong(400, "Invalid data")
        await self._registry.set_private(repository(name), access == "private")
        send_json(request, True)

    def _metadata(self, request: Request) -> dict[str, Any]:
        agent = (request.header(b"user-agent") or b"").decode("latin-1")
        said = {_KEYS[key]: value for key, value in _PAIR.findall(agent) if key in _KEYS}
        lowered = {key: value.lower() if key in ("arch", "kernel", "os") else value for key, value in said.items()}
        return {"last_update": int(self._now()), **lowered}
