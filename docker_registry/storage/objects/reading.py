"""Asking a store for objects, which S3 and Swift do alike: HEAD, GET, and GET of a range."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Protocol, TypeVar

from docker_registry.errors import Damaged, StorageFailed
from docker_registry.storage.http import Answer
from docker_registry.storage.interface import SMALL
from docker_registry.storage.objects.store import Head, Refused

H = TypeVar("H", bound=Head)
R = TypeVar("R")

_QUOTE = '"'
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")


class Asking(Protocol):
    """A client of the store."""

    async def ask(
        self,
        method: str,
        key: str,
        read: Callable[[Answer], Awaitable[R]],
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        stream: bool = False,
    ) -> R:
        """What ``read`` makes of a successful answer, which is closed when that fails.

        :param stream: whether ``read`` leaves the body to somebody who reads it as slowly as he likes.
        """


def whole_size(answer: Answer, key: str) -> int:
    """Of the whole object, in bytes.

    :raises StorageFailed: the answer does not say.
    """
    found = answer.length
    if answer.status == 206:
        match = _RANGE.fullmatch(answer.header("content-range") or "")
        found = None if match is None else int(match[2])
    if found is None:
        raise StorageFailed(f"{key}: the store does not say how long it is")
    return found


class Reading(Generic[H]):
    """:param head: what an answer says of the object at a key; raises `StorageFailed` if that is too little."""

    def __init__(self, asking: Asking, head: Callable[[Answer, str], H]) -> None:
        self._asking = asking
        self._read_head = head

    async def head(self, key: str) -> H:
        """:raises NotFound: nothing is there."""

        async def read(answer: Answer) -> H:
            await answer.discard()
            return self._read_head(answer, key)

        return await self._asking.ask("HEAD", key, read)

    async def get(self, key: str, limit: int = SMALL) -> tuple[bytes, H]:
        """:raises NotFound: nothing is there.
        :raises Damaged: it has more than ``limit`` bytes.
        """

        async def read(answer: Answer) -> tuple[bytes, H]:
            head = self._read_head(answer, key)
            if head.size > limit:
                raise Damaged(f"{key} has {head.size} bytes")
            return await answer.content(limit), head

        return await self._asking.ask("GET", key, read)

    async def stream(self, key: str, offset: int = 0, tag: str = "") -> tuple[Answer, H]:
        """An object from ``offset`` on; whoever called reads the answer, or closes it.

        :param tag: of what it has to be.
        :raises NotFound: nothing is there.
        :raises OutOfRange: ``offset`` is beyond its end.
        :raises Refused: it is another than the one with ``tag``.
        """

        async def read(answer: Answer) -> tuple[Answer, H]:
            head = self._read_head(answer, key)
            begins = _RANGE.fullmatch(answer.header("content-range") or "")
            if offset and (answer.status != 206 or begins is None or int(begins[1]) != offset):
                raise StorageFailed(f"{key}: the store does not send the range that it was asked for")
            if tag and head.tag.strip(_QUOTE) != tag.strip(_QUOTE):
                raise Refused("another object", f"{key} was asked for with If-Match")
            return answer, head

        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if tag:
            headers["If-Match"] = f'"{tag.strip(_QUOTE)}"'      # some stores say it with quotes, some without
        return await self._asking.ask("GET", key, read, headers=headers, stream=True)
