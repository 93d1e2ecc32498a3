"""What the index of old did: users, lists of images, search."""

from __future__ import annotations

import json

from docker_registry.errors import RepositoryUnknown
from docker_registry.names import Repository, is_image_id
from docker_registry.registry.registry import Registry
from docker_registry.v1.answers import send_json, tokens
from docker_registry.v1.bodies import read_json, repository
from docker_registry.v1.problems import Wrong
from docker_registry.web.request import Request

MAX_RESULTS = 100
"""Results in one page of a search."""

RESULTS = 25
"""Results in a page when the client does not say."""


class IndexRoutes:
    """:param endpoints: what clients are told to talk to, with commas between; empty is what they asked for."""

    def __init__(self, registry: Registry, endpoints: str) -> None:
        self._registry = registry
        self._endpoints = [each.strip().encode() for each in endpoints.split(",") if each.strip()]

    async def create_user(self, request: Request) -> None:
        await read_json(request, self._registry.settings.max_manifest_bytes, "Error Decoding JSON")
        send_json(request, "User Created", 201)

    async def allocate(self, request: Request, name: str) -> None:
        await self._take_images(request, repository(name))
        send_json(request, "", headers=tokens(repository(name), "write", self._hosts(request)))

    async def put_images(self, request: Request, name: str) -> None:
        await self._take_images(request, repository(name))
        send_json(request, None, 204, tokens(repository(name), "write", self._hosts(request)))

    async def get_images(self, request: Request, name: str) -> None:
        """The list that was pushed, and what tags stand for now: what came through v2 was never listed."""
        asked = repository(name)
        listed = await self._registry.image_lists.get(asked)
        known = {each["id"] for each in listed}
        try:
            tags = await self._registry.image_tags.all(asked)
        except RepositoryUnknown:
            tags = {}
        listed += [{"id": each} for each in sorted({str(image) for image in tags.values()} - known)]
        if not listed:
            raise Wrong(404, "images not found")
        send_json(request, listed, headers=tokens(asked, "read", self._hosts(request)))

    async def delete_images(self, request: Request, name: str) -> None:
        send_json(request, None, 204, tokens(repository(name), "delete", self._hosts(request)))

    async def search(self, request: Request) -> None:
        term = request.args.get("q", [""])[0]
        count = min(_number(request, "n", RESULTS), MAX_RESULTS)
        page = _number(request, "page", 1)
        found = await self._registry.catalogue.search(term, page, count)
        results = [
            {
                "name": each.name,
                "description": each.description,
                "star_count": 0,
                "is_official": False,
                "is_automated": False,
                "is_trusted": False,
            }
            for each in found.entries
        ]
        send_json(request, {
            "query": term,
            "num_results": found.total,
            "num_pages": -(-found.total // count),
            "page": page,
            "page_size": count,
            "results": results,
        })

    async def _take_images(self, request: Request, name: Repository) -> None:
        listed = await read_json(request, self._registry.settings.max_manifest_bytes, "Error Decoding JSON")
        if not isinstance(listed, list) or not all(_is_entry(each) for each in listed):
            raise Wrong(400, "Invalid data")
        await self._registry.image_lists.add(name, listed)

    def _hosts(self, request: Request) -> list[bytes]:
        return self._endpoints or [request.header(b"host") or b""]


def _is_entry(value: object) -> bool:
    return isinstance(value, dict) and is_image_id(value.get("id")) and len(json.dumps(value)) < 4096


def _number(request: Request, name: str, default: int) -> int:
    text = request.args.get(name, [""])[0]
    return max(int(text), 1) if text.isascii() and text.isdigit() and len(text) < 10 else default
