"""``/v2/<name>/blobs/<digest>``."""

from __future__ import annotations

from functools import lru_cache

from docker_registry.digest import Digest
from docker_registry.names import Repository
from docker_registry.registry.events import BlobPulled
from docker_registry.registry.registry import Registry
from docker_registry.storage.interface import IFile
from docker_registry.threads import Runner
from docker_registry.v2 import problems
from docker_registry.v2.answers import FOREVER, REMEMBERED, client_has, etag, lines, send, wants_part
from docker_registry.web.ranges import parse_range
from docker_registry.web.request import Request, header_lines
from docker_registry.web.sending import send_source


class BlobRoutes:
    def __init__(self, registry: Registry, runner: Runner) -> None:
        self._registry = registry
        self._runner = runner

    async def get(self, request: Request, repository: Repository, digest: Digest) -> None:
        """The whole blob, or one range of it; or where it is, if clients read from the store."""
        if client_has(request, digest):
            await self._registry.blobs.size(repository, digest)
            return send(request, 304, _headers(digest))
        if request.method == "GET" and (url := await self._registry.blobs.link_to(repository, digest)) is not None:
            return send(request, 307, [(b"Location", url.encode("ascii")), problems.NO_STORE])
        if request.method == "HEAD":
            size = await self._registry.blobs.size(repository, digest)
            return send(request, 200, _headers(digest), length=size)
        part = None
        if request.header(b"range") is not None and wants_part(request, digest):
            part = parse_range(request.header(b"range"), await self._registry.blobs.size(repository, digest))
        first = 0 if part is None else part.first
        reader = await self._registry.blobs.open(repository, digest, first)
        fd = reader.fileno() if IFile.providedBy(reader) else None
        size, status, headers, length = reader.size, 200, _headers(digest), reader.size
        if part is not None:
            status, headers, length = 206, headers + header_lines([part.header(size)]), part.length
        await send_source(request, status, headers, reader, length, fd=fd, offset=first, runner=self._runner)
        return await self._tell(repository, digest, size)

    async def _tell(self, repository: Repository, digest: Digest, size: int) -> None:
        if self._registry.events.of_pulls:
            await self._registry.events.tell(BlobPulled(repository, digest, size))

    async def delete(self, request: Request, repository: Repository, digest: Digest) -> None:
        await self._registry.manifests.delete_blob(repository, digest)
        send(request, 202, [])


@lru_cache(REMEMBERED)
def _headers(digest: Digest) -> bytes:
    text = str(digest).encode("ascii")
    return lines(
        (b"Content-Type", b"application/octet-stream"),
        (b"Docker-Content-Digest", text),
        (b"ETag", etag(digest)),
        (b"Accept-Ranges", b"bytes"),
        FOREVER,
    )
