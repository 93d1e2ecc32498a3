"""Listings: tags, repositories, referrers."""

from __future__ import annotations

import json

from docker_registry.digest import Digest
from docker_registry.errors import RepositoryUnknown
from docker_registry.names import Repository
from docker_registry.registry import documents
from docker_registry.registry.referrers import Referrer
from docker_registry.registry.registry import Registry
from docker_registry.v2.answers import ASK_AGAIN, Headers, next_page, one, page_size, send, send_json
from docker_registry.web.request import Request

REFERRERS_BYTES = 3 << 20
"""A page of referrers has at most so many bytes, unless one alone has more: clients read 4 MiB of it."""


class ListRoutes:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def tags(self, request: Request, repository: Repository) -> None:
        size = page_size(request, self._registry.settings.max_page)
        tags = await self._registry.tags.page(repository, one(request, "last") or "", size + 1 if size else 0)
        if not tags and not await self._registry.image_tags.is_known(repository):
            raise RepositoryUnknown(str(repository))
        headers = [next_page(f"/v2/{repository}/tags/list", tags[size - 1], size)] if len(tags) > size else []
        send_json(request, {"name": repository.name, "tags": tags[:size]}, *headers)

    async def catalogue(self, request: Request) -> None:
        size = page_size(request, self._registry.settings.max_page)
        found = await self._registry.catalogue.page(one(request, "last") or "", size + 1 if size else 0)
        names = [repository.name for repository in found]
        headers = [next_page("/v2/_catalog", names[size - 1], size)] if len(names) > size else []
        send_json(request, {"repositories": names[:size]}, *headers)

    async def referrers(self, request: Request, repository: Repository, subject: Digest) -> None:
        """Always a list: for a client that finds none at all, its first one would go astray."""
        wanted = one(request, "artifactType") or ""
        size = page_size(request, self._registry.settings.max_page)
        after = one(request, "last") or ""
        found = self._registry.referrers.find(repository, subject, after)
        listed: list[dict[str, object]] = []
        length = 0
        referrer = await found.next() if size else None
        while referrer is not None and len(listed) < size:
            if wanted in ("", referrer.artifact_type):
                descriptor = _descriptor(referrer)
                length += len(json.dumps(descriptor))
                if listed and length > REFERRERS_BYTES:
                    break
                listed.append(descriptor)
            after = str(referrer.digest)
            referrer = await found.next()
        headers: Headers = [(b"Content-Type", documents.OCI_INDEX.encode()), ASK_AGAIN]
        if wanted:
            headers.append((b"OCI-Filters-Applied", b"artifactType"))
        if referrer is not None:
            fields = {"artifactType": wanted} if wanted else {}
            headers.append(next_page(f"/v2/{repository}/referrers/{subject}", after, size, **fields))
        index = {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": listed}
        send(request, 200, headers, json.dumps(index).encode())


def _descriptor(referrer: Referrer) -> dict[str, object]:
    descriptor: dict[str, object] = {
        "mediaType": referrer.media_type,
        "digest": str(referrer.digest),
        "size": referrer.size,
    }
    if referrer.artifact_type:
        descriptor["artifactType"] = referrer.artifact_type
    if referrer.annotations:
        descriptor["annotations"] = dict(referrer.annotations)
    return descriptor
