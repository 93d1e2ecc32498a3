"""Large objects: a list of segments at the key, and segments elsewhere, where they lie from the beginning.

So nothing is copied when an upload ends, whether its key was known before or not: a list is written, in one step. What
that takes is that no segment ever belongs to two lists, and that nobody deletes a segment that a list leads to.

::

    <prefix><key>                              the list, or the record of a session
    <prefix>.segments/<group>/<number>         segments; and lists of those, if there are more than one list may have

`docker_registry.storage.swift.groups` says whose they are.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from hashlib import md5
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from docker_registry.deferreds import Shield, at_most, together
from docker_registry.errors import Damaged, NotFound, StorageError, StorageFailed, StorageFull, StoreUnavailable
from docker_registry.storage.flows import Octets
from docker_registry.storage.objects.filling import Filling
from docker_registry.storage.objects.session import RECORD, Piece, Session
from docker_registry.storage.objects.store import Refused
from docker_registry.storage.swift.container import Container, Segment, SwiftHead
from docker_registry.storage.swift.groups import AT_ONCE, Groups, group_in, group_of

FEW = 10
"""Segments that every store takes in one list."""

_log = Logger()


class Segmented:
    """:param groups: of the segments.
    :param limit: how many of them the store takes in one list.
    """

    def __init__(self, container: Container, groups: Groups, limit: Callable[[], Awaitable[int]]) -> None:
        self.container = container
        self.groups = groups
        self._limit = limit
        self._tidying = Shield()

    def piece(self, key: str, run: str, number: int) -> str:
        return self.groups.segment(group_of(key, run), f"{number:06}")

    def tidy(self, work: Coroutine[Deferred[Any], Any, None]) -> None:
        """Do what nobody has to wait for, and what can be left undone: it ends with the connections."""
        self._tidying(work).addErrback(lambda failure: failure.trap(CancelledError))

    def tidied(self) -> Deferred[None]:
        """Fires when nothing of that is going on."""
        return self._tidying.idle()

    def path(self, key: str) -> str:
        """As lists have it."""
        return f"/{self.container.client.container}/{key}"

    # Uploads

    async def begin(self, key: str, run: str) -> None:
        await self.groups.note(group_of(key, run), key)

    async def send(self, piece: str, parts: Sequence[Octets]) -> None:
        await self.container.put_segment(piece, parts)

    async def join(self, session: Session, run: str, target: str) -> None:
        own, groups = group_of(session.key, run), _groups(session)
        segments = [Segment(self.path(piece.key), piece.size) for piece in session.pieces()]
        rest = sum(map(len, session.rest))
        claims = [partial(self.groups.claim, group, target) for group in sorted(groups)]
        if own not in groups and (rest or await self._are_many(segments)):
            claims.append(partial(self._begin_claimed, own, session.key, target))
        if set(await at_most(AT_ONCE, claims)) != {target}:
            raise StorageFailed(f"{session.key} was ended elsewhere")
        if rest:
            key = self.groups.segment(own, "rest")
            await self.container.put_segment(key, session.rest)
            segments.append(Segment(self.path(key), rest))
        await self.store(target, segments, own)

    async def _begin_claimed(self, group: str, key: str, target: str) -> str:
        """As `Groups.claim`, of a group in which there is nothing yet."""
        works: list[Deferred[Any]] = [
            Deferred.fromCoroutine(self.groups.note(group, key)),
            Deferred.fromCoroutine(self.groups.claim(group, target)),
        ]
        found: str = (await together(*works))[1]
        return found

    async def remove(self, session: Session, run: str, joined: bool) -> None:
        """What was joined keeps its claims: another process may still know of the session, and want to remove it."""
        if not joined:
            await self.give_up(session)
        await self.container.delete(session.key)

    async def give_up(self, session: Session) -> None:
        """Delete the pieces of a session that did not become an object. Those that others wrote, and that are not in it
        any more, are found by their age."""
        for group in sorted(_groups(session)):
            if await self.groups.claim(group, "") == "":
                await self.groups.delete(piece.key for piece in session.pieces() if group_in(piece.key) == group)

    async def publish(self, target: str, parts: Sequence[Octets]) -> None:
        async def put(is_new: bool) -> None:
            await self.container.put(target, parts, is_new=is_new)

        await self._over(target, "", [], put)

    def upload(self, target: str) -> SegmentsUpload:
        return SegmentsUpload(self, target)

    # Lists

    async def store(self, target: str, segments: Sequence[Segment], group: str) -> bool:
        """Make an object of segments, in one step.

        :param group: of the one who does.
        :returns: whether it took nobody's place.
        """
        wanted = [self._own(each.path) or "" for each in segments]
        if await self._are_many(segments):
            segments = await self._lists(segments, group)
            wanted += [self._own(each.path) or "" for each in segments]

        async def put(is_new: bool) -> None:
            await self.container.put_large(target, segments, group, is_new)

        return await self._over(target, group, wanted, put)

    async def _are_many(self, segments: Sequence[Segment]) -> bool:
        """Whether there are more than one list may have."""
        return len(segments) > FEW and len(segments) > await self._limit()

    async def _lists(self, segments: Sequence[Segment], group: str) -> Sequence[Segment]:
        """Lists of segments, in place of more of those than one list may have."""
        found: list[Segment] = []
        most = await self._limit()
        for at in range(0, len(segments), most):
            some = segments[at : at + most]
            key = self.groups.segment(group, f"list-{len(found):06}")
            await self.container.put_large(key, some, group)
            found.append(Segment(self.path(key), sum(each.size for each in some)))
        return found

    async def _over(
        self, target: str, group: str, wanted: Sequence[str], put: Callable[[bool], Awaitable[None]]
    ) -> bool:
        """Store an object in place of whatever stands there; the segments of that go afterwards.

        :param group: of the new one; empty if it has none.
        :param wanted: the segments of the new one: two processes may end one upload.
        :param put: told whether nothing may be there.
        :returns: whether nothing stood there.
        """
        try:
            await put(True)
            return True
        except Refused as error:
            if error.code != "412":
                raise
        old: list[str] = []
        try:
            head = await self.container.head(target)
            if group and head.group == group:
                return True                     # it was done, and nobody heard of it
            old = [each for each in await self.segments(target, head) if each not in set(wanted)]
        except NotFound:
            pass                                # deleted meanwhile
        await self._doom(old, target)
        await put(False)
        await self._tidy(old, wanted)
        return False

    def _own(self, path: str) -> str | None:
        """The key of what a list leads to, if it is a segment of ours."""
        key = path.removeprefix(self.path(""))
        return key if key != path and self.groups.is_segment(key) else None

    async def segments(self, key: str, head: SwiftHead) -> list[str]:
        """The keys of the segments that an object has for itself; those that others made are not touched."""
        if not head.is_large:
            return []
        found: list[str] = []
        for each in await self.container.segments(key):
            own = self._own(each.path)
            if own is not None:
                found += [own, *(await self.segments(own, head) if each.is_nested else [])]
        return found

    async def pieces(self, key: str, head: SwiftHead) -> Sequence[Piece]:
        """What an object consists of, as it was when ``head`` was read; nothing if that cannot be said of it, or if
        somebody else's segments are among them.
        """
        try:
            segments = await self.container.segments(key)
        except NotFound:
            return []
        pieces = [Piece(self._own(each.path) or "", each.size, each.tag) for each in segments]
        is_same = head.tag == md5("".join(each.tag for each in pieces).encode(), usedforsecurity=False).hexdigest()
        is_whole = head.size == sum(each.size for each in pieces)
        return pieces if is_same and is_whole and all(each.key and each.size for each in pieces) else []

    async def led(self, key: str) -> list[str]:
        """The segments to which an object leads, a list or a session; none if it is not there."""
        try:
            head = await self.container.head(key)
            if head.session:
                return [piece.key for piece in (await self._session(key)).pieces()]
            return await self.segments(key, head)
        except NotFound:
            return []

    async def _session(self, key: str) -> Session:
        content, head = await self.container.get(key, RECORD)
        return Session.read(key, self.piece, content, head)

    # Deleting

    async def delete(self, key: str) -> None:
        """Delete an object, and then its segments.

        :raises NotFound: nothing is there.
        """
        head = await self.container.head(key)
        if head.session:
            try:
                await self.give_up(await self._session(key))
            except Damaged as error:
                _log.warn("what {key} had is found by its age: {error}", key=key, error=error)
            return await self.container.delete(key)
        old = await self.segments(key, head)
        try:
            await self._doom(old, key)
        except StorageFull as error:            # else nobody could make room
            _log.debug("{key} is deleted without a note, for which there is no room: {error}", key=key, error=error)
        await self.container.delete(key)
        await self._tidy(old)
        return None

    async def _doom(self, segments: Sequence[str], key: str) -> None:
        await self.tidied()                     # what takes an earlier note away would take this one
        await self.groups.doom(segments, key)

    async def _tidy(self, segments: Sequence[str], wanted: Sequence[str] = ()) -> None:
        """Delete segments to which nothing leads any more, and what else their writers sent; never fails: what is left
        is found by its age."""
        try:
            for group in sorted(set(map(group_in, segments))):
                others = {row.key for row in await self.groups.rows(group)}
                doomed = others.union(each for each in segments if group_in(each) == group).difference(wanted)
                await self.groups.delete(sorted(doomed))
                await self.groups.forget([group])
        except StorageError as error:
            _log.warn("segments could not be removed, the purge will: {error}", error=error)

    async def quarantine(self, key: str, kept: str) -> None:
        """Have an object stand elsewhere, with its segments.

        :raises NotFound: nothing is there.
        """
        head = await self.container.head(key)
        segments = await self.segments(key, head)
        try:
            await self.container.copy(key, kept)
        except Refused:
            if not head.is_large:
                raise
            # A segment is not what it was: the store makes no such list again. What the list says is kept.
            await self.container.put(kept, [f"{each}\n".encode() for each in segments])
        await self.groups.forget(map(group_in, segments))       # nobody takes them for leftovers
        await self.container.delete(key)

    # What came to nothing

    async def orphans(self, group: str) -> list[str]:
        """The segments of a group that belong to nothing."""
        rows = await self.groups.rows(group)
        keys = await self.groups.keys(group)
        if keys is None:
            return []                           # whoever noted it has made an object of it
        led: set[str] = set()
        for key in keys:
            led.update(await self.led(key))
        return [row.key for row in rows if row.key not in led]


class SegmentsUpload:
    """Segments of an object whose key is known."""

    def __init__(self, segmented: Segmented, key: str) -> None:
        self._segmented = segmented
        self._groups = segmented.groups
        self._key = key
        self._group = group_of(key, secrets.token_hex(8))
        self._sizes: dict[int, int] = {}
        self._was_asked_for = False             # an object of them
        self._may_come = False                  # and nobody heard what became of that

    def _segment(self, number: int) -> str:
        return self._groups.segment(self._group, f"{number:06}")

    async def begin(self) -> None:
        await self._groups.note(self._group, self._key)

    async def part(self, number: int, parts: Sequence[Octets]) -> None:
        self._sizes[number] = sum(map(len, parts))
        await self._segmented.container.put_segment(self._segment(number), parts)

    async def stream(self, number: int, filling: Filling) -> None:
        self._sizes[number] = filling.size
        await self._segmented.container.put_filling(self._segment(number), filling)

    async def complete(self, size: int) -> None:
        path = self._segmented.path
        segments = [Segment(path(self._segment(number)), self._sizes[number]) for number in range(len(self._sizes))]
        if sum(each.size for each in segments) != size:
            raise StorageFailed(f"{self._key}: {len(segments)} segments are not {size} bytes")
        self._was_asked_for = True
        try:
            is_new = await self._segmented.store(self._key, segments, self._group)
        except (StoreUnavailable, CancelledError):
            self._may_come = True
            raise
        if is_new:                              # else another one may have taken the same place, and not seen this one
            self._segmented.tidy(self._forget())

    async def give_up(self) -> None:
        if self._may_come:
            _log.info("nobody knows whether {key} was stored: if not, the purge will remove its parts", key=self._key)
            return
        try:
            await self._groups.delete(await self._doomed())
        except StorageError as error:
            _log.warn("an upload to {key} could not be removed, the purge will: {error}", key=self._key, error=error)
        else:
            await self._forget()

    async def _doomed(self) -> set[str]:
        """What was sent, and nothing leads to."""
        sent = {self._segment(number) for number in self._sizes}
        if not self._was_asked_for:
            return sent
        sent.update(row.key for row in await self._groups.rows(self._group))
        return sent.difference(await self._segmented.led(self._key))

    async def _forget(self) -> None:
        """Never fails: the purge sees that all is as it should be."""
        try:
            await self._groups.forget_note(self._group)
        except StorageError as error:
            _log.debug("a note of {key} stays: {error}", key=self._key, error=error)


def _groups(session: Session) -> set[str]:
    return {group_of(session.key, each.name) for each in session.runs}
