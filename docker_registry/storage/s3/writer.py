"""Objects being written, in the three ways that there are.

=====================================  =======================================================
not longer than one part               one PUT to the final key, at the end
longer, and the final key is known     parts straight to the final key; completed at the end
longer, and the final key is not       pieces at the upload's key, joined by the store at the end
=====================================  =======================================================
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from docker_registry.deferreds import Shared, deferred, together
from docker_registry.errors import StorageError, StorageFailed
from docker_registry.storage.budget import Budget
from docker_registry.storage.interface import Digester, IWriter
from docker_registry.storage.s3.bucket import Bucket
from docker_registry.storage.s3.copying import give_up, join
from docker_registry.storage.s3.parts import Parts, sizes
from docker_registry.storage.s3.session import Run, Session, piece_key
from docker_registry.storage.s3.tree import delete_tree
from docker_registry.threads import Runner

_log = Logger()


def _show(parts: Sequence[bytes], digesters: Sequence[Digester]) -> None:
    for digester in digesters:
        for part in parts:
            digester.update(part)


class _Writer:
    """What both have in common.

    :param prefix: of all keys.
    :param key: whole: of the upload, or the final one.
    """

    def __init__(self, bucket: Bucket, runner: Runner, prefix: str, key: str) -> None:
        self.offset = 0
        self.mark = ""
        self._bucket = bucket
        self._runner = runner
        self._prefix = prefix
        self._key = key
        self._parts: Parts

    @deferred
    async def write(self, parts: Sequence[bytes], digesters: Sequence[Digester] = ()) -> None:
        """Cut and hash at the same time."""
        await together(
            self._runner.slow(_show, parts, digesters), Deferred.fromCoroutine(self._parts.write(parts))
        )
        self.offset += sum(map(len, parts))


@implementer(IWriter)
class SessionWriter(_Writer):
    """For bytes whose final key is told at the end, and that can be resumed.

    :param session: what is stored of it; ``None`` if it begins.
    """

    def __init__(
        self, bucket: Bucket, runner: Runner, budget: Budget, prefix: str, key: str, size: int, session: Session | None
    ) -> None:
        super().__init__(bucket, runner, prefix, key)
        # All pieces of a run are of one size, and so is the first: it may begin with what was behind larger ones.
        self._size = size = max(size, 0 if session is None else sum(map(len, session.rest)))
        self._run = secrets.token_hex(6)
        self._before = () if session is None else session.runs
        self._is_recorded = session is not None
        self._parts = Parts(budget, lambda number: size, None, self._send)

    def begin(self, session: Session, mark: str, taken: int) -> None:
        """Go on behind what is stored.

        :param taken: of the budget, for what is behind the last piece.
        """
        self.offset, self.mark = session.size, mark
        self._parts.begin_with(session.rest, taken)

    async def _send(self, number: int, parts: Sequence[bytes]) -> None:
        if number == 0 and not self._is_recorded:
            await self._record(self._before, [])       # so that it is found though its writer comes to nothing
        await self._bucket.put(piece_key(self._key, self._run, number), parts)

    async def _record(self, runs: tuple[Run, ...], rest: Sequence[bytes]) -> None:
        body, meta = Session(self._key, runs, rest).body()
        self.mark = await self._bucket.put(self._key, body, meta)
        self._is_recorded = True

    def _runs(self) -> tuple[Run, ...]:
        own = (Run(self._run, self._parts.count, self._size),) if self._parts.count else ()
        return (*self._before, *own)

    @deferred
    async def sync(self) -> int:
        await self._parts.settled()
        await self._record(self._runs(), list(self._parts.rest))
        return self.offset

    @deferred
    async def commit(self, key: str) -> None:
        await self._parts.settled()
        rest, target = list(self._parts.rest), f"{self._prefix}{key}"
        pieces = Session(self._key, self._runs(), []).pieces()
        if pieces:
            await join(self._bucket, pieces, rest, target, f"{self._key}/{self._run}-group")
        else:
            await self._bucket.put(target, rest)
        await self._clean()

    async def _clean(self) -> None:
        """Remove the upload; never fails: what is left of it is found by its age."""
        await self._parts.stop()
        try:
            if self._parts.count or self._before:
                await delete_tree(self._bucket, self._key)
            elif self._is_recorded:
                await self._bucket.delete(self._key)
        except StorageError as error:
            _log.warn("{key} could not be removed, the purge will: {error}", key=self._key, error=error)

    @deferred
    async def abandon(self) -> None:
        await self._clean()

    @deferred
    async def close(self) -> None:
        await self._parts.stop()


@implementer(IWriter)
class DirectWriter(_Writer):
    """For bytes whose final key is known. They cannot be resumed: a store completes parts at one key only.

    :param length: of all bytes, if that is known.
    """

    def __init__(
        self, bucket: Bucket, runner: Runner, budget: Budget, prefix: str, key: str, size: int, length: int | None
    ) -> None:
        super().__init__(bucket, runner, prefix, key)
        self._upload = ""
        self._beginning: Shared[None, None] = Shared()
        self._is_begun = False
        self._tags: dict[int, str] = {}
        self._parts = Parts(budget, sizes(size, length), length, self._send)

    async def _send(self, number: int, parts: Sequence[bytes]) -> None:
        upload = await self._begun()
        self._tags[number] = await self._bucket.part(self._key, upload, number + 1, parts)

    async def _begun(self) -> str:
        """The upload's id. That the store makes one is waited for whoever gives up: it would be left there."""
        if not self._upload:
            self._is_begun = True
            await self._beginning(None, lambda: Deferred.fromCoroutine(self._begin()))
        return self._upload

    async def _begin(self) -> None:
        self._upload = await self._bucket.begin(self._key)

    @deferred
    async def sync(self) -> int:
        return 0

    @deferred
    async def commit(self, key: str) -> None:
        if f"{self._prefix}{key}" != self._key:
            raise StorageFailed(f"{key} is not the key that this was written for")
        await self._parts.settled()
        rest = list(self._parts.rest)
        if self._parts.count:
            await self._send(self._parts.count, rest)
            tags = [self._tags[number] for number in range(len(self._tags))]
            await self._bucket.complete(self._key, self._upload, tags, self.offset)
            self._is_begun = False
        else:
            await self._bucket.put(self._key, rest)
        await self._parts.stop()

    @deferred
    async def abandon(self) -> None:
        await self._give_up()

    @deferred
    async def close(self) -> None:
        await self._give_up()

    async def _give_up(self) -> None:
        await self._parts.stop()
        if not self._is_begun:
            return
        try:
            await give_up(self._bucket, self._key, await self._begun())
        except StorageError:
            _log.debug("no upload to {key} was begun", key=self._key)
        self._is_begun = False
