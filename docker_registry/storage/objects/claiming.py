"""A key that several machines want to be the first to write."""

from __future__ import annotations

from docker_registry.storage.objects.store import Objects, Refused

TAKEN = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
"""What a write that wants to be the first is answered by Swift and by S3."""

UNHEARD_OF = frozenset({"501", "NotImplemented"})
"""The same, by stores that speak S3 without knowing it."""


async def claim(objects: Objects, key: str, content: bytes) -> None:
    """See `docker_registry.storage.interface.IClaims`."""
    try:
        await objects.put(key, [content], is_new=True)
    except Refused as error:
        if error.code in UNHEARD_OF:
            await objects.put(key, [content])
        elif error.code not in TAKEN:
            raise
