"""Whose segments are whose.

Each writer has a group of segments, in which nobody else writes. Before the first of them a note says at which key
somebody will lead to them: that of a session, or of an object. A session may be known to several processes, one of
which ends it as an object while another one gives it up: whoever is the first to store a claim to a group decides what
becomes of it, and there is no second one. So whatever was left by a process that ended in between is found by notes
and claims, without reading the whole container, and nothing is taken from an object.

::

    <prefix>.unfinished/<group>         the note: a key
    <prefix>.unfinished/<group>.claim   the key of the object that the group belongs to; empty if it is given up
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import partial

from docker_registry.deferreds import at_most
from docker_registry.errors import NotFound
from docker_registry.storage.objects.store import Refused
from docker_registry.storage.swift.container import Container, Row
from docker_registry.storage.swift.settings import SEGMENTS, UNFINISHED

AT_ONCE = 8
"""Objects that are deleted at a time."""

CLAIM = ".claim"

LONGEST = 4 << 10
"""Bytes of a note."""


def group_of(key: str, run: str) -> str:
    """The name of what one writer sends for a key; nobody else has it."""
    return f"{hashlib.sha256(key.encode()).hexdigest()[:32]}-{run}"


def group_in(segment: str) -> str:
    """The group of a segment, by its key."""
    return segment.rpartition("/")[0].rpartition("/")[2]


class Groups:
    """:param prefix: of all keys."""

    def __init__(self, container: Container, prefix: str) -> None:
        self._container = container
        self._segments = f"{prefix}{SEGMENTS}/"
        self._unfinished = f"{prefix}{UNFINISHED}/"

    def segment(self, group: str, name: str) -> str:
        return f"{self._segments}{group}/{name}"

    def is_segment(self, key: str) -> bool:
        return key.startswith(self._segments)

    async def note(self, group: str, key: str) -> None:
        """Where somebody will lead to the segments of a group, or did."""
        await self._container.put(f"{self._unfinished}{group}", [key.encode()])

    async def claim(self, group: str, target: str) -> str:
        """The object that a group belongs to: ``target`` unless somebody else was first; empty if it is given up."""
        try:
            await self._container.put(f"{self._unfinished}{group}{CLAIM}", [target.encode()], is_new=True)
        except Refused as error:
            if error.code != "412":
                raise
            return await self._text(f"{group}{CLAIM}") or ""
        return target

    async def doom(self, segments: Iterable[str], key: str) -> None:
        """Note that segments are to be deleted, before nothing leads to them any more."""
        for group in sorted(set(map(group_in, segments))):
            await self.note(group, key)

    async def delete(self, segments: Iterable[str]) -> None:
        """What is not there is no error."""
        await at_most(AT_ONCE, [partial(self._container.delete, key) for key in segments])

    async def forget(self, groups: Iterable[str]) -> None:
        """All segments that are left have a list for good, or there are none."""
        names = [f"{self._unfinished}{group}{what}" for group in sorted(set(groups)) for what in (CLAIM, "")]
        await self.delete(names)

    async def forget_note(self, group: str) -> None:
        """The same of a group that nobody had to claim, without a second try: it must not come late, when there may be
        another note."""
        await self._container.delete(f"{self._unfinished}{group}", brief=True)

    async def keys(self, group: str) -> list[str] | None:
        """Where a group may have somebody who leads to its segments; ``None`` if it has neither a note nor a claim: it
        was forgotten, and lists are late."""
        texts = [await self._text(group), await self._text(f"{group}{CLAIM}")]
        return None if texts == [None, None] else [text for text in texts if text]

    async def _text(self, name: str) -> str | None:
        try:
            content, _ = await self._container.get(f"{self._unfinished}{name}", LONGEST)
        except NotFound:
            return None
        return content.decode("utf-8", "replace")

    async def rows(self, group: str) -> list[Row]:
        """The segments of a group."""
        return await self._container.rows(self.segment(group, ""))

    async def unfinished(self) -> dict[str, float]:
        """The groups of which there is a note or a claim, each with the time when the last of these came."""
        found: dict[str, float] = {}
        for row in await self._container.rows(self._unfinished):
            group = row.key.removeprefix(self._unfinished).removesuffix(CLAIM)
            found[group] = max(found.get(group, 0.0), row.modified)
        return found
