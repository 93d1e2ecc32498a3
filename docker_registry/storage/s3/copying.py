"""Objects made of others, without sending their bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger

from docker_registry.deferreds import together
from docker_registry.errors import StorageError
from docker_registry.storage.flows import Octets
from docker_registry.storage.objects.parts import PARTS
from docker_registry.storage.objects.session import Piece
from docker_registry.storage.s3.bucket import COPIED, Bucket

AT_ONCE = 8
"""Parts that are copied at a time."""

RANGE = 1 << 30
"""Bytes of one part when a large object is copied."""


async def copy(
    bucket: Bucket, source: str, target: str, size: int, headers: Mapping[str, str] | None = None
) -> None:
    """Copy an object of any size.

    :param headers: of meta-data that takes the place of the source's.
    """
    if size <= COPIED:
        return await bucket.copy(source, target, headers)
    tag = (await bucket.head(source)).tag
    upload = await bucket.begin(target, headers)

    async def part(number: int) -> str:
        first = number * RANGE
        return await bucket.part_copy(target, upload, number + 1, source, tag, first, min(RANGE, size - first))

    return await _complete(bucket, target, upload, part, -(-size // RANGE), size)


async def join(bucket: Bucket, pieces: Sequence[Piece], rest: Sequence[Octets], target: str, scratch: str) -> None:
    """Make one object of several, and of bytes that are at hand, in one step.

    :param pieces: of 5 MiB at least each.
    :param scratch: what the keys of objects in between begin with: pieces that are smaller than others, and more than
        an object has parts, are joined in groups first.
    """
    pieces, rest = await _evened(bucket, pieces, rest, f"{scratch}-even")
    if len(pieces) >= PARTS:
        pieces = await _grouped(bucket, pieces, scratch)
    upload = await bucket.begin(target)

    async def part(number: int) -> str:
        if number == len(pieces):
            return await bucket.part(target, upload, number + 1, rest)
        return await bucket.part_copy(target, upload, number + 1, pieces[number].key)

    size = sum(piece.size for piece in pieces) + sum(map(len, rest))
    await _complete(bucket, target, upload, part, len(pieces) + bool(rest), size)


async def _evened(
    bucket: Bucket, pieces: Sequence[Piece], rest: Sequence[Octets], scratch: str
) -> tuple[Sequence[Piece], Sequence[Octets]]:
    """The same in pieces of one size, as some stores insist on: smaller ones are joined first, if that is possible."""
    largest = max(piece.size for piece in pieces)
    groups: list[list[Piece]] = [[]]
    for piece in pieces:
        groups[-1].append(piece)
        size = sum(each.size for each in groups[-1])
        if size > largest:
            return pieces, rest
        if size == largest:
            groups.append([])
    last = groups.pop()
    found = [await _one(bucket, group, [], f"{scratch}-{number:06}") for number, group in enumerate(groups)]
    if last:
        found.append(await _one(bucket, last, rest, f"{scratch}-last"))
        rest = []
    return found, rest


async def _one(bucket: Bucket, pieces: Sequence[Piece], rest: Sequence[Octets], key: str) -> Piece:
    if len(pieces) == 1 and not rest:
        return pieces[0]
    await join(bucket, pieces, rest, key, key)
    return Piece(key, sum(piece.size for piece in pieces) + sum(map(len, rest)))


async def _grouped(bucket: Bucket, pieces: Sequence[Piece], scratch: str) -> list[Piece]:
    count = COPIED // max(piece.size for piece in pieces)
    groups: list[Piece] = []
    for at in range(0, len(pieces), count):
        some = pieces[at : at + count]
        groups.append(await _one(bucket, some, [], f"{scratch}-{len(groups):06}"))
    return groups


async def _complete(
    bucket: Bucket, target: str, upload: str, part: Callable[[int], Awaitable[str]], count: int, size: int
) -> None:
    """Make all parts, a few at a time, and an object of them; nothing is left of it when that fails."""
    slots = DeferredSemaphore(AT_ONCE)

    async def made(number: int) -> str:
        await slots.acquire()
        try:
            return await part(number)
        finally:
            slots.release()

    try:
        tags = await together(*(Deferred.fromCoroutine(made(number)) for number in range(count)))
        await bucket.complete(target, upload, tags, size)
    except BaseException:
        await give_up(bucket, target, upload)
        raise


async def give_up(bucket: Bucket, key: str, upload: str) -> None:
    """Abort an upload; never fails: what is left of it is found by its age."""
    try:
        await bucket.abort(key, upload, brief=True)
    except StorageError as error:
        _log.warn("an upload to {key} could not be aborted, the purge will: {error}", key=key, error=error)


_log = Logger()
