"""Which image holds what is at a key, and what is still to be moved to one: small objects in the alternate store.

A record is the one truth about what lies in Glance: nothing is found by listing images, whose lists may be late. It is
written when the image's bytes were compared, and is gone before the image is.

Records can be lost, with a part of the alternate store or where an older backup of it comes back. So an image without
one is no leftover for that alone: what becomes one is noted before its record goes.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

from docker_registry.deferreds import at_most
from docker_registry.errors import Damaged, NotFound
from docker_registry.storage import layout
from docker_registry.storage.asking import PAGE, is_there, pages, whole
from docker_registry.storage.interface import IReader, IStorage

T = TypeVar("T")

AT_ONCE = 8
"""Notes that are written at the same time."""


@dataclass(frozen=True, slots=True)
class Record:
    """:ivar image: its id.
    :ivar size: in bytes.
    :ivar algorithm: of ``hash``, which the bytes had when they were sent, and Glance said that they have.
    :ivar checksum: MD5 of the bytes, as Glance said then; with downloads it says it again.
    """

    image: str
    size: int
    algorithm: str
    hash: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What is at a key of the alternate store is to be in Glance.

    :ivar id: of this mark: a key that is written again has another one.
    :ivar since: seconds since the epoch.
    """

    key: str
    id: str
    since: float


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken out of service.

    :ivar image: that holds its bytes; empty if the record could not be read.
    """

    key: str
    image: str


class Records:
    """:param alternate: where they lie."""

    def __init__(self, alternate: IStorage) -> None:
        self._alternate = alternate

    async def find(self, key: str) -> tuple[Record, float] | None:
        """With the time when it was written or touched, in seconds since the epoch; ``None`` if there is none.

        :raises Damaged: it cannot be read.
        """
        try:
            reader: IReader = await self._alternate.open(layout.glance_image(key))
        except NotFound:
            return None
        return _parsed(Record, await whole(reader, key), key), reader.modified

    async def put(self, key: str, record: Record) -> None:
        await self._alternate.put(layout.glance_image(key), _bytes(record))

    async def remove(self, key: str) -> Record | None:
        """The one that there was, if it could be read; its image is given up.

        :raises NotFound: there was none.
        """
        try:
            found = await self.find(key)
        except Damaged:
            found = None
        if found is not None:
            await self.give_up(found[0].image)
        await self._alternate.delete(layout.glance_image(key))
        return None if found is None else found[0]

    async def touch(self, key: str) -> None:
        """:raises NotFound: there is none."""
        await self._alternate.touch(layout.glance_image(key))

    async def remove_tree(self, prefix: str) -> list[Record]:
        """Those of ``prefix`` itself and below it that there were, and could be read; their images are given up."""
        found = await self._below(prefix)
        await at_most(AT_ONCE, [partial(self.give_up, each.image) for each in found])
        await self._alternate.delete_tree(layout.glance_image(prefix))
        return found

    async def _below(self, prefix: str) -> list[Record]:
        found: list[Record] = []
        try:
            record = await self.find(prefix)
        except Damaged:
            record = None
        if record is not None:
            found.append(record[0])
        async for entries in pages(self._alternate, layout.glance_image(prefix)):
            for entry in entries:
                found += await self._below(f"{prefix}/{entry.name}")
        return found

    # Given up

    async def give_up(self, image: str) -> None:
        """Note that it holds nothing any more, or never did. A record that leads to it is the stronger one."""
        await self._alternate.put(layout.glance_given_up(image), b"")

    async def is_given_up(self, image: str) -> bool:
        return await is_there(self._alternate, layout.glance_given_up(image))

    async def given_up(self) -> set[str]:
        """All images of which that is noted, whether they are still there or not."""
        return {entry.name async for entries in pages(self._alternate, layout.glance_given_up()) for entry in entries}

    async def forget_given_up(self, image: str, before: float | None = None) -> None:
        """It is gone, or is not given up after all.

        :param before: leave a note that is younger: somebody is in the middle of it.
        """
        note = layout.glance_given_up(image)
        try:
            if before is None or (await self._alternate.stat(note)).modified < before:
                await self._alternate.delete(note)
        except NotFound:
            return

    # Whose they are, see `docker_registry.storage.layout.glance_store`

    async def store(self) -> str:
        """Empty if nobody says."""
        try:
            return (await self._alternate.get(layout.glance_store())).decode("ascii", "replace")
        except NotFound:
            return ""

    async def set_store(self, store: str) -> None:
        await self._alternate.put(layout.glance_store(), store.encode("ascii"))

    # Out of service

    async def take_out(self, key: str) -> Record | None:
        """Keep the record elsewhere; the image stays. It is returned if it could be read.

        :raises NotFound: there is none.
        """
        taken = layout.glance_quarantine(str(time.time_ns()))
        try:
            found = await self.find(key)
        except Damaged:
            await self._alternate.put(taken, _bytes(Taken(key, "")))
            await self._alternate.quarantine(layout.glance_image(key))
            return None
        if found is None:
            raise NotFound(key)
        await self._alternate.put(taken, _bytes(Taken(key, found[0].image)))
        await self._alternate.delete(layout.glance_image(key))
        return found[0]

    async def taken_out(self) -> set[str]:
        """The images whose records were; and, where nobody could read which one it was, their keys."""
        return {taken.image or taken.key async for taken in self._all(Taken, layout.glance_quarantine())}

    # What is to be moved

    async def mark(self, key: str, now: float) -> None:
        await self._alternate.put(layout.glance_diverted(key), _bytes(Mark(key, secrets.token_hex(8), now)))

    async def is_marked(self, key: str) -> bool:
        return await is_there(self._alternate, layout.glance_diverted(key))

    async def unmark(self, mark: Mark) -> None:
        """Unless the key was written again."""
        where = layout.glance_diverted(mark.key)
        try:
            if await self._alternate.get(where) == _bytes(mark):
                await self._alternate.delete(where)
        except NotFound:
            return

    async def forget_mark(self, key: str) -> None:
        """If there is one."""
        try:
            await self._alternate.delete(layout.glance_diverted(key))
        except NotFound:
            return

    def marks(self) -> AsyncIterator[Mark]:
        return self._all(Mark, layout.glance_all_diverted())

    async def count_marks(self, most: int = PAGE) -> int:
        """How many there are, up to ``most``."""
        return len(await self._alternate.list(layout.glance_all_diverted(), limit=most))

    async def _all(self, kind: type[T], prefix: str) -> AsyncIterator[T]:
        """What cannot be read is passed over."""
        async for entries in pages(self._alternate, prefix):
            for entry in entries:
                try:
                    yield _parsed(kind, await self._alternate.get(f"{prefix}/{entry.name}"), entry.name)
                except (NotFound, Damaged):
                    continue


def _bytes(value: Any) -> bytes:
    return json.dumps(asdict(value)).encode()


def _parsed(kind: type[T], content: bytes, key: str) -> T:
    """:raises Damaged: it is none."""
    try:
        fields = json.loads(content)
        value = kind(**fields)
    except (ValueError, TypeError, RecursionError):
        raise Damaged(f"what is said of {key} cannot be read") from None
    for name, wanted in kind.__annotations__.items():
        known: tuple[type, ...] = {"str": (str,), "int": (int,), "float": (int, float)}[wanted]
        if not isinstance(getattr(value, name), known):
            raise Damaged(f"what is said of {key} cannot be read")
    return value
