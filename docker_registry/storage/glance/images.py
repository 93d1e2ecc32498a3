"""The calls of Image API v2 that are needed, a method each. What an image is used for, others know."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from docker_registry.errors import NotFound, StorageFailed, StoreUnavailable
from docker_registry.storage.flows import Body
from docker_registry.storage.glance.errors import Conflict, refusal
from docker_registry.storage.http import Answer, Patience
from docker_registry.storage.retries import Retries
from docker_registry.storage.tokens import Service
from docker_registry.threads import Runner

R = TypeVar("R")

LIMIT = 64 << 20
"""Bytes of an answer that tells of images: properties are long where docker-registry 0.x made them."""

HASTY = 64 << 10
"""Bytes that are parsed without a thread."""

PAGE = 1000
"""Images in one answer; Glance gives no more."""

PER_SECOND = 16 << 20
"""Bytes of an upload for each of which Glance has a second more to answer."""

ACTIVE = "active"
UNFINISHED = frozenset({"queued", "saving", "uploading", "importing"})
"""Without bytes, or not with all of them."""

EMPTY = UNFINISHED | {"killed", "deleted", "pending_delete"}
"""Without bytes that anybody could still read, whatever is done."""

_BASE = frozenset({
    "id", "name", "status", "size", "checksum", "os_hash_algo", "os_hash_value", "os_hidden", "owner", "visibility",
    "container_format", "disk_format", "min_disk", "min_ram", "virtual_size", "protected", "tags", "locations",
    "direct_url", "self", "file", "schema", "created_at", "updated_at", "stores",
})
"""Fields that every image has; what is beside them are properties."""

_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Image:
    """What Glance says of an image.

    :ivar status: `ACTIVE`, one of `UNFINISHED`, ``deactivated``, ``killed``, ``deleted`` or ``pending_delete``.
    :ivar size: in bytes; ``None`` until it is active.
    :ivar checksum: MD5 in hexadecimal, empty if nobody knows.
    :ivar hash: of `hash_algorithm`, which is ``sha512`` if nobody has changed it; empty if nobody knows.
    :ivar created: seconds since the epoch.
    :ivar updated: the same, when anything about it changed; its bytes never do.
    :ivar properties: that are not of every image.
    """

    id: str
    status: str
    name: str = ""
    size: int | None = None
    checksum: str = ""
    hash_algorithm: str = ""
    hash: str = ""
    created: float = 0.0
    updated: float = 0.0
    owner: str = ""
    visibility: str = ""
    container_format: str = ""
    disk_format: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Any) -> Image:
        """:raises ValueError, TypeError, KeyError, AttributeError: it is none."""
        size = said.get("size")
        if size is not None and (not isinstance(size, int) or size < 0):
            raise ValueError(size)

        def text(name: str) -> str:
            return str(said.get(name) or "")

        return cls(
            str(uuid.UUID(said["id"])), text("status"), text("name"), size, text("checksum"), text("os_hash_algo"),
            text("os_hash_value"), _time(text("created_at")), _time(text("updated_at")), text("owner"),
            text("visibility"), text("container_format"), text("disk_format"),
            {name: value for name, value in said.items() if name not in _BASE and isinstance(value, str)},
        )


def _time(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Page:
    """:ivar marker: for the next page; empty if there is none."""

    images: Sequence[Image]
    marker: str


@dataclass(frozen=True, slots=True)
class Download:
    """The bytes of an image from some offset on; whoever has it reads ``answer``, or closes it.

    :ivar size: of the whole image.
    :ivar checksum: MD5 of the whole image in hexadecimal, as Glance knows it; empty if it does not say.
    """

    answer: Answer
    size: int
    checksum: str


class Images:
    """:param retries: of calls that may be made again.
    :param patience: with each of them.
    """

    def __init__(
        self, service: Service, retries: Retries, runner: Runner, patience: Patience | None = None
    ) -> None:
        self._service = service
        self._patience = (patience or Patience()).first_byte
        self._retries = retries
        self._runner = runner

    async def project(self) -> str:
        """The id of the project that we log in to."""
        return (await self._service.access()).project

    # Reading

    async def show(self, image: str) -> Image:
        """:raises NotFound: there is none of that id, or it is another project's."""
        return await self._ask("GET", f"/{image}", self._image, what=f"image {image}")

    async def download(self, image: str, offset: int = 0) -> Download | None:
        """The bytes from ``offset`` on, which is not beyond the end; ``None`` if the image has none (yet).

        :raises NotFound: there is no such image.
        :raises Deactivated: it may not be read.
        """

        async def read(answer: Answer) -> Download | None:
            if answer.status == 204:
                await answer.discard()
                return None
            begins = _RANGE.fullmatch(answer.header("content-range") or "")
            if offset and (answer.status != 206 or begins is None or int(begins[1]) != offset):
                raise StorageFailed(f"image {image}: Glance does not send the range that it was asked for")
            size = answer.length if begins is None else int(begins[2])
            if size is None:
                raise StorageFailed(f"image {image}: Glance does not say how long it is")
            return Download(answer, size, answer.header("content-md5") or "")

        headers = {"Range": f"bytes={offset}-"} if offset else {}
        return await self._ask("GET", f"/{image}/file", read, headers, what=f"image {image}", stream=True)

    async def page(self, filters: Mapping[str, str], marker: str = "", limit: int = PAGE) -> Page:
        """Images by age of creation, the youngest first.

        :param filters: such as ``container_format``, ``name``, ``visibility`` or a property, with the value that it
            has. Without ``visibility`` there are those of this project, and those that all may see.
        :param marker: of the page before.
        """
        query = {**filters, "limit": str(limit), "sort": "created_at:desc,id:desc"}
        if marker:
            query["marker"] = marker

        async def read(answer: Answer) -> Page:
            said = await self._json(answer)
            try:
                images = [Image.of(each) for each in said["images"]]
                return Page(images, images[-1].id if images and said.get("next") else "")
            except (ValueError, TypeError, KeyError, AttributeError):
                raise StorageFailed("Glance: the answer is no list of Image API v2") from None

        return await self._ask("GET", f"?{urlencode(query)}", read, what="a list of images")

    # Writing

    async def create(
        self, image: str, properties: Mapping[str, str], *, name: str = "", once: bool = False
    ) -> Image:
        """A new image without bytes, to be read by this project.

        :param image: its id: a UUID that nobody has ever used here.
        :param once: whether it has one try.
        :raises Conflict: the id was in use.
        :raises StorageFull: a quota.
        """
        document = {"id": image, "container_format": "docker", "disk_format": "raw", **properties}
        if name:
            document["name"] = name
        tries = 0

        async def created() -> Image:
            nonlocal tries
            tries += 1
            try:
                return await self._ask(
                    "POST", "", self._image, _JSON, [json.dumps(document).encode()], what=f"image {image}", once=True
                )
            except NotFound:
                raise StoreUnavailable("there is no Image API v2 where Glance should be: see os_glance_url, or the "
                                       "endpoint in the catalogue") from None
            except Conflict:
                if tries == 1:
                    raise
            found = await self.show(image)          # an answer was lost, or it is somebody else's
            if found.status != "queued" or any(found.properties.get(each) != properties[each] for each in properties):
                raise Conflict(409, f"image {image} is there, and is another one")
            return found

        return await self._retries(lambda _: created(), once=once)

    async def upload(self, image: str, body: Body, size: int | None = None) -> None:
        """The bytes of an image that has none. It has one try: what becomes of half of them others have to see.

        :param size: of ``body``, if that is known.
        :raises Conflict: it has some, or somebody else is sending some.
        :raises Gone: it was deleted meanwhile.
        :raises StorageFull: a quota, or no room.
        """
        await self._ask(
            "PUT", f"/{image}/file", _nothing, {"Content-Type": "application/octet-stream"}, body,
            what=f"image {image}", stream=True, once=True, seconds=self._patience + (size or 0) / PER_SECOND,
        )

    async def patch(
        self, image: str, values: Mapping[str, str], remove: Sequence[str] = (), *, once: bool = False
    ) -> Image:
        """Set properties, or the ``name``, and remove others, which must be there.

        :raises Conflict: one of ``remove`` is not.
        """
        changes = [{"op": "add", "path": _pointer(name), "value": value} for name, value in values.items()]
        changes += [{"op": "remove", "path": _pointer(name)} for name in remove]
        headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        return await self._ask(
            "PATCH", f"/{image}", self._image, headers, [json.dumps(changes).encode()], what=f"image {image}", once=once
        )

    async def delete(self, image: str, *, once: bool = False) -> None:
        """Its id can never be used again. What is not there is no error.

        :raises Refused: it is protected.
        """
        await self._ask("DELETE", f"/{image}", _nothing, what=f"image {image}", once=once, absent=True)

    # The rest

    async def _ask(
        self,
        method: str,
        path: str,
        read: Callable[[Answer], Awaitable[R]],
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        *,
        what: str,
        stream: bool = False,
        once: bool = False,
        absent: bool = False,
        seconds: float | None = None,
    ) -> R:
        """:param absent: whether that there is no such image is as good as success."""

        async def attempt(left: float) -> R:
            answer = await self._service.request(
                method, f"/v2/images{path}", headers or {}, body, stream=stream,
                seconds=seconds or min(left, self._patience),
            )
            try:
                if 200 <= answer.status < 300 or (absent and answer.status == 404):
                    return await read(answer)
                raise await refusal(answer, what)
            except BaseException:
                answer.close()
                raise

        return await self._retries(attempt, once=once)

    async def _image(self, answer: Answer) -> Image:
        said = await self._json(answer)
        try:
            return Image.of(said)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise StorageFailed("Glance: the answer is no image of Image API v2") from None

    async def _json(self, answer: Answer) -> Any:
        content = await answer.content(LIMIT)
        try:
            return await self._runner.slow(json.loads, content) if len(content) > HASTY else json.loads(content)
        except (ValueError, RecursionError):
            raise StorageFailed("Glance: the answer is not of Image API v2: see OS_GLANCE_URL") from None


_JSON = {"Content-Type": "application/json"}


async def _nothing(answer: Answer) -> None:
    await answer.discard()


def _pointer(name: str) -> str:
    """RFC 6901."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def new_id() -> str:
    """An id that nobody has ever used."""
    return str(uuid.uuid4())

