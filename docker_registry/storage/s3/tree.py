"""Everything below a key."""

from __future__ import annotations

from docker_registry.storage.s3.bucket import Bucket


async def delete_tree(bucket: Bucket, key: str) -> None:
    """Remove the object at a key and all below it."""
    page = await bucket.page(f"{key}/")
    if not page.keys:
        return await bucket.delete(key)
    await bucket.delete_many([key, *page.keys])
    while page.token:
        page = await bucket.page(f"{key}/", token=page.token)
        await bucket.delete_many(page.keys)
    return None
