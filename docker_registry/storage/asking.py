"""What is asked of any store in more than one step."""

from __future__ import annotations

from collections.abc import AsyncIterator

from docker_registry.deferreds import outcomes, together
from docker_registry.errors import Damaged, NotFound, expect
from docker_registry.storage.interface import SMALL, Entry, IFlat, IReader, IStorage

PAGE = 1000


async def is_there(storage: IStorage, key: str) -> bool:
    """Whether something is stored at ``key``, be it damaged."""
    try:
        await storage.stat(key)
    except Damaged:
        return True
    except NotFound:
        return False
    return True


async def discard(storage: IStorage, *keys: str) -> None:
    """Remove small objects of ours that are no content. What is not there, or is no object, is no error."""
    if IFlat.providedBy(storage):
        await together(*(IFlat(storage).discard(key) for key in keys))
    else:
        for found in await outcomes(*(storage.delete(key) for key in keys)):
            expect(found, NotFound, Damaged)


async def pages(storage: IStorage, prefix: str, size: int = PAGE) -> AsyncIterator[list[Entry]]:
    """All that is directly below ``prefix``. What was told may be deleted before the next page is asked for.

    :param size: entries of a page, about.
    """
    after = ""
    while entries := await storage.list(prefix, after=after, limit=size):
        yield entries
        after = entries[-1].name


async def whole(reader: IReader, key: str) -> bytes:
    """All that is left to be read, which is closed then.

    :param key: what it is called in errors.
    :raises Damaged: it has more than `SMALL` bytes, or ends early.
    """
    try:
        if reader.size > SMALL:
            raise Damaged(f"{key} has {reader.size} bytes")
        parts = []
        while part := await reader.read(SMALL):
            parts.append(part)
        return b"".join(parts)
    finally:
        reader.close()
