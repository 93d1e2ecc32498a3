"""An upload that somebody goes on with: what is behind its last piece gets into memory that was taken for it."""

from __future__ import annotations

from dataclasses import dataclass

from docker_registry.errors import Damaged, NotFound, StorageFailed, Transient
from docker_registry.storage.objects.budget import Buffer
from docker_registry.storage.objects.reader import ObjectReader
from docker_registry.storage.objects.session import Naming, Run, cut, read_runs, rest_size
from docker_registry.storage.objects.store import Objects

STEP = 256 << 10
"""Bytes that are read at a time."""

LIST = 1 << 20
"""Longest list of pieces."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """:ivar runs: of the pieces that stay.
    :ivar mark: of what is stored.
    :ivar behind: bytes behind those pieces; if there is no room for so many, nobody has read them.
    """

    runs: tuple[Run, ...]
    mark: str
    behind: int


async def go_on(objects: Objects, key: str, naming: Naming, offset: int, buffer: Buffer) -> Beginning:
    """The first ``offset`` bytes of an upload.

    :param buffer: an empty one, for what is behind the last piece that stays.
    :raises NotFound: no upload was begun there.
    :raises Damaged: it is not what was stored, or less than that.
    """
    answer, head = await objects.stream(key)
    reader = ObjectReader(objects, key, answer, head, 0)
    try:
        if not head.session:
            raise NotFound(key)
        rest = rest_size(key, head)
        if rest > buffer.size:
            return Beginning((), head.tag, rest)
        await _fill(reader, buffer, rest)
        runs = read_runs(key, await _list(reader, key))
    finally:
        reader.close()
    stored = sum(run.count * run.size for run in runs) + rest
    if offset > stored:
        raise Damaged(f"{key} has {stored} bytes instead of {offset}")
    kept, behind, piece = cut(runs, offset)
    if piece is None:
        buffer.cut(behind)
    elif behind <= buffer.size:
        buffer.cut(0)
        await _fill_from(objects, naming(key, *piece), buffer, behind)
    return Beginning(kept, head.tag, behind)


async def _fill_from(objects: Objects, key: str, buffer: Buffer, count: int) -> None:
    if count:
        answer, head = await objects.stream(key)
        reader = ObjectReader(objects, key, answer, head, 0)
        try:
            await _fill(reader, buffer, count)
        finally:
            reader.close()


async def _fill(reader: ObjectReader, buffer: Buffer, count: int) -> None:
    """:raises Damaged: fewer are there."""
    while count:
        piece = await _read(reader, min(STEP, count))
        if not piece:
            raise Damaged("an upload has fewer bytes than its list says")
        buffer.add(memoryview(piece))
        count -= len(piece)


async def _read(reader: ObjectReader, count: int) -> bytes:
    """:raises Transient: the rest did not come; the upload stands where it stood."""
    try:
        return await reader.read(count)
    except StorageFailed as error:
        raise Transient(str(error)) from error


async def _list(reader: ObjectReader, key: str) -> bytes:
    parts, size = [], 0
    while part := await _read(reader, STEP):
        parts.append(part)
        size += len(part)
        if size > LIST:
            raise Damaged(key)
    return b"".join(parts)
