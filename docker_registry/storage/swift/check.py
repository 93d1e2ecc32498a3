"""Whether the container can be used as it will be; it is made if there is none."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from docker_registry.errors import NotFound, StorageFailed
from docker_registry.storage.http import Answer
from docker_registry.storage.objects import check as common
from docker_registry.storage.objects.check import PROBE, Step
from docker_registry.storage.objects.store import Refused
from docker_registry.storage.swift.client import nothing
from docker_registry.storage.swift.container import Container, Segment
from docker_registry.storage.swift.large import Segmented
from docker_registry.storage.swift.settings import Settings

TEMP_URL_KEYS = ("x-container-meta-temp-url-key", "x-container-meta-temp-url-key-2")

WRITER = "a role that may write, such as member or swiftoperator"


async def check(
    container: Container, large: Segmented, settings: Settings, read_link: Callable[[str], Awaitable[bytes]]
) -> None:
    """Log in, look for the container, write, read, list and delete.

    :param read_link: what somebody without a token reads at the URL of an object.
    :raises StorageError: something of that cannot be done; the text says what, and what it takes.
    """
    client = container.client
    key = f"{settings.prefix}.probe/{secrets.token_hex(8)}"
    segment = f"{key}.segment"

    async def exists() -> None:
        try:
            await client.ask("HEAD", "", nothing)
        except NotFound:
            await client.ask("PUT", "", nothing, body=[])

    async def read() -> None:
        if (await container.get(key))[0] != PROBE:
            raise StorageFailed("other bytes came back than were written")

    async def again() -> None:
        try:
            await container.put(key, [PROBE], is_new=True)
        except Refused as error:
            if error.code != "412":
                raise
        else:
            raise StorageFailed("what was there was written again")

    async def in_segments() -> None:
        await container.put(segment, [PROBE])
        await container.put_large(key, [Segment(large.path(segment), len(PROBE))], "probe")
        await read()

    async def by_link() -> None:
        if await read_link(key) != PROBE:
            raise StorageFailed("other bytes came back than were written")

    async def delete() -> None:
        await large.groups.delete([key, segment])

    steps = [
        Step("log in", "the swift_ and os_ options say who", client.access),
        Step("look for the container, or make it", f"{WRITER}, in the project", exists),
        Step("write an object", WRITER, lambda: container.put(key, [PROBE])),
        Step("read an object", "a role that may read", read, of_what_was_written=True),
        Step(
            "write only where nothing is", "If-None-Match, which the Swift API of Ceph's RadosGW lacks: use storage s3 "
            "there", again, of_what_was_written=True,
        ),
        Step("list objects", "a role that may read", lambda: container.page(f"{settings.prefix}.probe/", limit=1)),
        Step("make an object of segments", "static large objects, which the operator of Swift turns on", in_segments),
    ]
    if settings.temp_url_key is not None:
        secret = settings.temp_url_key
        steps += [
            Step("see to the key of TempURLs", "swift post -m Temp-URL-Key:KEY CONTAINER",
                 lambda: _see_to(container, secret)),
            Step("read an object by a TempURL", "tempurl with SHA-256, which the operator of Swift turns on, and "
                 "clocks that agree", by_link, of_what_was_written=True),
        ]
    steps.append(Step("delete an object", WRITER, delete))
    with client.tried():
        await common.check(f"swift, container {client.container}", steps, delete)


async def _see_to(container: Container, secret: str) -> None:
    """Give the container the key that URLs are signed with, unless it has it.

    :raises StorageFailed: it has two others.
    """

    async def read(answer: Answer) -> list[str]:
        await answer.discard()
        return [answer.header(name) or "" for name in TEMP_URL_KEYS]

    there = await container.client.ask("HEAD", "", read)
    if secret in there:
        return
    free = [name for name, value in zip(TEMP_URL_KEYS, there, strict=True) if not value]
    if not free:
        raise StorageFailed("the container has two other keys")
    await container.client.ask("POST", "", nothing, headers={free[0]: secret}, body=[])
