"""Objects being written, in the three ways that there are.

=====================================  =======================================================
not longer than one part               one PUT to the final key, at the end
longer, and the final key is known     parts straight to where they stay; completed at the end
longer, and the final key is not       pieces of the upload, made one by the store at the end
=====================================  =======================================================
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from docker_registry.deferreds import Shared, deferred, together
from docker_registry.errors import StorageError, StorageFailed
from docker_registry.storage.files import showing
from docker_registry.storage.flows import Octets
from docker_registry.storage.interface import Digester, IWriter
from docker_registry.storage.objects.budget import Budget, Buffer
from docker_registry.storage.objects.filling import Filling
from docker_registry.storage.objects.large import Large, StreamingUpload
from docker_registry.storage.objects.parts import Parts, PieceSizes
from docker_registry.storage.objects.session import Run, Session
from docker_registry.storage.objects.store import Objects
from docker_registry.threads import Runner

_log = Logger()


class _Writer:
    """What both have in common.

    :param prefix: of all keys.
    :param key: whole: of the upload, or the final one.
    """

    def __init__(self, objects: Objects, large: Large, runner: Runner, prefix: str, key: str) -> None:
        self.offset = 0
        self.mark = ""
        self._objects = objects
        self._large = large
        self._runner = runner
        self._prefix = prefix
        self._key = key
        self._parts: Parts
        self._beginning: Shared[None, None] = Shared()
        self._was_begun = False                 # or at least tried to
        self._is_begun = False
        self._refusal: StorageError | None = None

    @deferred
    async def write(self, parts: Sequence[bytes], digesters: Sequence[Digester] = ()) -> None:
        """Cut and hash at the same time."""
        await together(
            *showing(self._runner, parts, digesters), Deferred.fromCoroutine(self._parts.write(parts))
        )
        self.offset += sum(map(len, parts))

    async def _begun(self) -> None:
        """What comes before the first part. It is waited for whoever gives up: what it made would be left there."""
        if self._refusal is not None:
            raise self._refusal                 # whoever gives up does not wait for another that comes to nothing
        if not self._is_begun:
            self._was_begun = True
            await self._beginning(None, lambda: Deferred.fromCoroutine(self._begin_once()))

    async def _begin_once(self) -> None:
        try:
            await self._begin()
        except StorageError as error:
            self._refusal = error
            raise
        self._is_begun = True

    async def _begin(self) -> None:
        raise NotImplementedError


@implementer(IWriter)
class SessionWriter(_Writer):
    """For bytes whose final key is told at the end, and that can be resumed.

    :param runs: of the pieces that are stored of it; ``None`` if it begins.
    """

    def __init__(
        self,
        objects: Objects,
        large: Large,
        runner: Runner,
        budget: Budget,
        prefix: str,
        key: str,
        sizes: PieceSizes,
        runs: Sequence[Run] | None,
    ) -> None:
        super().__init__(objects, large, runner, prefix, key)
        self._run = secrets.token_hex(6)
        self._runs = list(runs or ())
        self._is_recorded = runs is not None
        self._sizes = sizes
        self._parts = Parts(budget, lambda number: sizes.at(self._session([]).size), None, self._send)

    def begin(self, offset: int, mark: str, buffer: Buffer) -> None:
        """Go on behind what is stored.

        :param buffer: room for one piece, with what is behind the last one.
        """
        self.offset, self.mark = offset, mark
        self._parts.begin_with(buffer)

    async def _begin(self) -> None:
        beginning = [Deferred.fromCoroutine(self._large.begin(self._key, self._run))]
        if not self._is_recorded:
            # So that it is found though its writer comes to nothing.
            beginning.append(Deferred.fromCoroutine(self._record(Session(self._key, self._large.piece, (), []))))
        await together(*beginning)

    async def _send(self, number: int, parts: Sequence[Octets]) -> None:
        size = sum(map(len, parts))
        if number and self._runs[-1].size == size:
            self._runs[-1] = replace(self._runs[-1], count=self._runs[-1].count + 1)
        else:
            self._runs.append(Run(self._run, 1, size, number))
        await self._begun()
        await self._large.send(self._large.piece(self._key, self._run, number), parts)

    async def _record(self, session: Session) -> None:
        self.mark = await self._objects.put(self._key, *session.body())
        self._is_recorded = True

    def _session(self, rest: Sequence[Octets]) -> Session:
        return Session(self._key, self._large.piece, tuple(self._runs), rest)

    def _whole(self) -> Session:
        """All that was written."""
        return self._session(self._parts.rest)

    @deferred
    async def sync(self) -> int:
        # What is behind the last piece is read by whoever goes on. What is no more than one is one object in the end.
        least = self._sizes.least if self._runs else self._sizes.smallest + 1
        await self._parts.shed(self._sizes.smallest, least)
        await self._record(self._whole())
        return self.offset

    @deferred
    async def commit(self, key: str) -> None:
        await self._parts.settled()
        session, target = self._whole(), f"{self._prefix}{key}"
        if session.runs:
            await self._large.join(session, self._run, target)
        else:
            await self._large.publish(target, session.rest)
        await self._clean(joined=True)

    async def _clean(self, joined: bool) -> None:
        """Remove the upload; never fails: what is left of it is found by its age."""
        await self._parts.stop()
        try:
            await self._large.remove(self._whole(), self._run, joined)
        except StorageError as error:
            _log.warn("{key} could not be removed, the purge will: {error}", key=self._key, error=error)

    @deferred
    async def abandon(self) -> None:
        await self._clean(joined=False)

    @deferred
    async def close(self) -> None:
        await self._parts.stop()


@implementer(IWriter)
class DirectWriter(_Writer):
    """For bytes whose final key is known. They cannot be resumed.

    :param size: of the part that has a number, and begins at an offset.
    :param length: of all bytes, if that is known.
    """

    def __init__(
        self,
        objects: Objects,
        large: Large,
        runner: Runner,
        budget: Budget,
        prefix: str,
        key: str,
        size: Callable[[int, int], int],
        length: int | None,
    ) -> None:
        super().__init__(objects, large, runner, prefix, key)
        self._upload = large.upload(key)
        self._sent = 0                          # bytes, or on their way
        stream = self._stream if isinstance(self._upload, StreamingUpload) else None
        self._parts = Parts(budget, lambda number: size(number, self._sent), length, self._send, stream)

    async def _begin(self) -> None:
        await self._upload.begin()

    async def _send(self, number: int, parts: Sequence[Octets]) -> None:
        self._sent += sum(map(len, parts))
        await self._begun()
        await self._upload.part(number, parts)

    async def _stream(self, number: int, filling: Filling) -> None:
        assert isinstance(self._upload, StreamingUpload)
        self._sent += filling.size
        await self._begun()
        await self._upload.stream(number, filling)

    @deferred
    async def sync(self) -> int:
        return 0

    @deferred
    async def commit(self, key: str) -> None:
        if f"{self._prefix}{key}" != self._key:
            raise StorageFailed(f"{key} is not the key that this was written for")
        if self._parts.count:
            await self._parts.end()
            await self._upload.complete(self.offset)
            self._was_begun = False
        else:
            await self._large.publish(self._key, self._parts.rest)
        await self._parts.stop()

    @deferred
    async def abandon(self) -> None:
        await self._give_up()

    @deferred
    async def close(self) -> None:
        await self._give_up()

    async def _give_up(self) -> None:
        await self._parts.stop()
        if not self._was_begun:
            return
        try:
            await self._begun()
            await self._upload.give_up()
        except StorageError:
            _log.debug("no upload to {key} was begun", key=self._key)
        self._was_begun = False
