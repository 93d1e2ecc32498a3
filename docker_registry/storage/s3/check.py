"""Whether the bucket can be used as it will be, found out before the port opens (F9)."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

from docker_registry.errors import NotFound, StorageError, StorageFailed, Transient
from docker_registry.storage.s3.bucket import Bucket

PROBE = b"probe"


async def check(bucket: Bucket, prefix: str) -> None:
    """Write, read, list and delete.

    :raises StorageError: something of that cannot be done; the text says what, and what permission it takes.
    """
    key = f"{prefix}.probe/{secrets.token_hex(8)}"

    async def absent() -> None:
        try:
            await bucket.get(key)
        except NotFound:
            return

    async def read() -> None:
        if (await bucket.get(key))[0] != PROBE:
            raise StorageFailed("other bytes came back than were written")

    async def in_parts() -> None:
        await bucket.abort(key, await bucket.begin(key))

    steps: list[tuple[str, str, Callable[[], Awaitable[object]]]] = [
        ("look for an object", "s3:GetObject and s3:ListBucket", absent),
        ("write an object", "s3:PutObject", lambda: bucket.put(key, [PROBE])),
        ("read an object", "s3:GetObject", read),
        ("list objects", "s3:ListBucket", lambda: bucket.page(f"{prefix}.probe/", limit=1)),
        ("begin and abort an upload in parts", "s3:PutObject and s3:AbortMultipartUpload", in_parts),
        ("delete an object", "s3:DeleteObject", lambda: bucket.delete(key)),
    ]
    for what, permission, step in steps:
        try:
            await step()
        except StorageError as error:
            kind = Transient if isinstance(error, Transient) else StorageFailed
            host = bucket.client.place.host
            with suppress(StorageError):
                await bucket.delete(key)
            raise kind(f"storage s3, {host}: cannot {what} ({permission}): {error}") from None
