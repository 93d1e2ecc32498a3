"""``/v1/images/<id>/``."""

from __future__ import annotations

import json
from collections.abc import Callable

from docker_registry.errors import ImageUnknown
from docker_registry.names import ImageId
from docker_registry.registry.images import Image
from docker_registry.registry.registry import Registry
from docker_registry.storage.interface import IFile
from docker_registry.threads import Runner
from docker_registry.v1.answers import COMMON, JSON, NOT_CACHED, cached, send_json
from docker_registry.v1.problems import Wrong
from docker_registry.web.ranges import parse_range
from docker_registry.web.request import Headers, Request
from docker_registry.web.sending import send_source


class ImageRoutes:
    """:param now: seconds since the epoch."""

    def __init__(self, registry: Registry, runner: Runner, now: Callable[[], float]) -> None:
        self._registry = registry
        self._runner = runner
        self._now = now

    # Reading: what is complete never changes

    async def get_json(self, request: Request, image: str) -> None:
        found = await self._found(image)
        headers = [JSON, (b"X-Docker-Size", b"%d" % found.size), *_checksums(found)]
        self._send(request, headers, found.content)

    async def get_ancestry(self, request: Request, image: str) -> None:
        found = await self._found(image)
        ancestry = await self._registry.images.ancestry(found.id)
        self._send(request, [JSON], json.dumps([str(each) for each in ancestry]).encode())

    async def get_layer(self, request: Request, image: str) -> None:
        """The whole layer, or one range of it; docker asks for one byte more than there is."""
        found = await self._found(image)
        headers = [*cached(self._now()), (b"Accept-Ranges", b"bytes")]
        if _is_known(request):
            return request.answer(304, headers)
        if request.method == "GET" and (url := await self._registry.images.link_to_layer(found)) is not None:
            return request.answer(302, [*COMMON, *NOT_CACHED, (b"Location", url.encode("ascii"))])
        headers.append((b"Content-Type", b"application/octet-stream"))
        part = parse_range(request.header(b"range"), found.size) if request.method == "GET" else None
        first, length, status = 0, found.size, 200
        if part is not None:
            first, length, status = part.first, part.length, 206
            headers.append(part.header(found.size))
        if request.method == "HEAD":
            return request.answer(status, headers, length=length)
        reader = await self._registry.images.open_layer(found, first)
        fd = reader.fileno() if IFile.providedBy(reader) else None
        return await send_source(
            request, status, headers, reader, length, fd=fd, offset=first, runner=self._runner
        )

    async def get_files(self, request: Request, image: str) -> None:
        found = await self._found(image)
        self._send(request, [JSON], await self._registry.contents.files(found))

    async def get_diff(self, request: Request, image: str) -> None:
        found = await self._found(image)
        self._send(request, [JSON], await self._registry.contents.difference(found))

    async def _found(self, text: str) -> Image:
        """:raises ImageIdInvalid: no id of today, nor one that an old store has an image of."""
        try:
            return await self._registry.images.get(ImageId.parse_old(text))
        except ImageUnknown:
            ImageId.parse(text)
            raise

    def _send(self, request: Request, headers: Headers, content: bytes) -> None:
        headers = [*cached(self._now()), *headers]
        if _is_known(request):
            return request.answer(304, headers)
        return request.answer(200, headers, content)

    # Pushing

    async def put_json(self, request: Request, image: ImageId) -> None:
        content = await request.body.read_all(self._registry.settings.max_manifest_bytes)
        await self._registry.image_pushes.put_json(image, content, _text(request, b"x-docker-checksum"))
        send_json(request, True)

    async def put_layer(self, request: Request, image: ImageId) -> None:
        await self._registry.image_pushes.put_layer(image, request.body)
        send_json(request, True)

    async def put_checksum(self, request: Request, image: ImageId) -> None:
        sent = [_text(request, name) for name in (b"x-docker-checksum", b"x-docker-checksum-payload")]
        offered = [each.strip() for each in sent if each and each.strip()]
        if not offered:
            raise Wrong(400, "Missing Image's checksum")
        if not all(":" in each for each in offered):
            raise Wrong(400, "Invalid checksum format")
        await self._registry.image_pushes.put_checksum(image, offered)
        send_json(request, True)


def _is_known(request: Request) -> bool:
    """Whether the client has it: any date will do, as it never changed."""
    return request.header(b"if-modified-since") is not None


def _checksums(image: Image) -> Headers:
    """docker of each age reads another header."""
    tarsums = [each for each in image.sums if each.startswith("tarsum")]
    payloads = [each for each in image.sums if not each.startswith("tarsum")]
    headers = [(b"X-Docker-Checksum", each.encode()) for each in (tarsums or payloads)[:1]]
    return headers + [(b"X-Docker-Checksum-Payload", each.encode()) for each in payloads[:1]]


def _text(request: Request, name: bytes) -> str | None:
    value = request.header(name)
    return None if value is None else value.decode("latin-1")
