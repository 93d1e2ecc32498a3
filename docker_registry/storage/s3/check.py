"""Whether the bucket can be used as it will be."""

from __future__ import annotations

import secrets

from docker_registry.errors import NotFound, StorageFailed
from docker_registry.storage.objects import check as common
from docker_registry.storage.objects.check import PROBE, Step
from docker_registry.storage.s3.bucket import Bucket


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

    steps = [
        Step("look for an object", "s3:GetObject and s3:ListBucket", absent),
        Step("write an object", "s3:PutObject", lambda: bucket.put(key, [PROBE])),
        Step("read an object", "s3:GetObject", read, of_what_was_written=True),
        Step("list objects", "s3:ListBucket", lambda: bucket.page(f"{prefix}.probe/", limit=1)),
        Step("begin and abort an upload in parts", "s3:PutObject and s3:AbortMultipartUpload", in_parts),
        Step("delete an object", "s3:DeleteObject", lambda: bucket.delete(key)),
    ]
    bucket.client.is_tried = True
    try:
        await common.check(f"s3, {bucket.client.place.host}", steps, lambda: bucket.delete(key))
    finally:
        bucket.client.is_tried = False
