"""How an object comes to be in Glance, or in the alternate store while that fails.

It is acknowledged when Glance has said what it has, that was compared with what was sent, and the record of it is
durable; or when it is durable in the alternate store, at its own key, with a mark that it is to be moved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from docker_registry.deferreds import Turns
from docker_registry.errors import Damaged, NotFound, StorageError, StoreUnavailable
from docker_registry.storage.flows import Flow
from docker_registry.storage.glance.diversion import Diversion
from docker_registry.storage.glance.records import Record, Records
from docker_registry.storage.glance.sending import Sending
from docker_registry.storage.glance.shelf import Load, Shelf, SourceFailed, Sum
from docker_registry.storage.http import Crowded
from docker_registry.storage.interface import Digester, IReader, IStorage, IWriter
from docker_registry.threads import Runner

PIECE = 1 << 20
"""Bytes that are read at a time from the alternate store to be sent to Glance."""

AT_ONCE = 16
"""Objects that are sent while they come: slow clients would hold all that Glance has to serve others with. What is
beyond that is sent when it is committed."""

HASTY = 64 << 10
"""Bytes that are hashed without a thread."""


class Pieces:
    """What is read to be sent. It may be given up at any time: Glance may answer before it has all.

    :param size: bytes, no more of which are asked for.
    :param seeing: who else wants to see them.
    """

    def __init__(self, reader: IReader, size: int, seeing: Sequence[Digester], runner: Runner) -> None:
        self._reader = reader
        self._left = size
        self._seeing = seeing
        self._runner = runner
        self._is_reading = self._is_closed = False

    async def read(self) -> Sequence[bytes]:
        if not self._left:
            return []
        self._is_reading = True
        try:
            piece = b"" if self._is_closed else await self._reader.read(min(PIECE, self._left))
            for each in self._seeing:
                await self._runner.slow(each.update, piece)
        except StorageError as error:
            raise SourceFailed(error) from error
        finally:
            self._is_reading = False
            if self._is_closed:
                self._reader.close()
        if self._is_closed:
            await Deferred()                        # nobody takes it: until the connection is closed
        self._left -= len(piece)
        return [piece] if piece else []

    def close(self) -> None:
        self._is_closed = True
        if not self._is_reading:
            self._reader.close()                    # not under a thread that is reading


class Committing:
    """:param now: seconds since the epoch.
    :ivar turns: what is at a key changes in one way at a time.
    """

    log = Logger()

    def __init__(
        self, shelf: Shelf, alternate: IStorage, records: Records, diversion: Diversion, runner: Runner,
        now: Callable[[], float],
    ) -> None:
        self.turns: Turns[str] = Turns()
        self._shelf = shelf
        self._alternate = alternate
        self._records = records
        self._diversion = diversion
        self._runner = runner
        self._now = now
        self._sending = 0

    def new_sum(self) -> Sum:
        """For bytes that are going to be committed."""
        return self._shelf.new_sum()

    def send(self, key: str, length: int | None, sum: Sum) -> Sending | None:
        """Begin to send to Glance what is being written; ``None`` while that fails.

        :param key: empty if it is not known yet.
        :param sum: of all of it; the writer computes it.
        """
        if self._diversion.is_on:
            return None

        async def put(load: Load) -> Record:
            if self._sending >= AT_ONCE:
                raise Crowded("enough is sent to Glance while it comes")
            self._sending += 1
            try:
                return await self._diversion.tried(self._shelf.put_once(key, load))
            finally:
                self._sending -= 1

        return Sending(put, length, sum, self._shelf.discard, bool(key))

    async def put(self, key: str, content: bytes) -> None:
        """A small object."""

        async def load() -> Load:
            sum = self._shelf.new_sum()
            if len(content) > HASTY:
                await self._runner.slow(sum.hash.update, content)
            else:
                sum.hash.update(content)
            return Load([content], len(content), sum)

        held = await self._held(key, content)
        if held is not None:
            async with self.turns.held(key):
                if await self._is_recorded(key, held):      # nobody has deleted it meanwhile
                    await self.record(key, held)
                    return
        record = await self._shelved(key, load)
        async with self.turns.held(key):
            if record is not None:
                await self.record(key, record)
            else:
                await self._alternate.put(key, content)
                await self._mark(key)

    async def _held(self, key: str, content: bytes) -> Record | None:
        """The record of ``key``, if its image is there and has just this content: manifests are often put again."""
        if self._diversion.is_on:
            return None
        try:
            found = await self._records.find(key)
            if found is None or found[0].size != len(content):
                return None
            if await self._runner.slow(_hashed, found[0].algorithm, content) != found[0].hash:
                return None
            await self._diversion.asked(self._shelf.verify(key, found[0], anew=True))
        except StorageError as error:
            self.log.debug("{key} is put anew: {error}", key=key, error=error)
            return None
        return found[0]

    async def _is_recorded(self, key: str, record: Record) -> bool:
        try:
            found = await self._records.find(key)
        except Damaged:
            return False
        return found is not None and found[0] == record

    async def publish(self, key: str, writer: IWriter, source: str, sending: Sending | None, sum: Sum | None) -> None:
        """What was written to the alternate store.

        :param source: where it lies meanwhile.
        :param sending: has sent it to Glance as well, if that went well.
        :param sum: of all of it, if somebody has computed it.
        """
        record = None if sending is None else await self._sent(key, sending)
        if record is None and not self._diversion.is_on:
            size = await writer.sync()
            record = await self._shelved(key, lambda: self.load(source, size, sum))
        async with self.turns.held(key):
            if record is not None:
                await self.record(key, record)
                await writer.abandon()
            else:
                await writer.commit(key)
                await self._mark(key)

    async def _sent(self, key: str, sending: Sending) -> Record | None:
        """``None`` if it came to nothing, and may come to something when it is sent again."""
        record = None
        try:
            record = await sending.finish()
            if not sending.has_key:
                await self._diversion.tried(self._shelf.label(record.image, key))
        except (StoreUnavailable, NotFound) as error:
            self.log.debug("what was sent to Glance while it came is sent again: {error}", error=error)
            if record is not None:
                self._shelf.discard(record.image)
            return None
        return record

    async def _shelved(self, key: str, load: Callable[[], Awaitable[Load]]) -> Record | None:
        """``None`` if Glance fails."""
        if self._diversion.is_on:
            return None
        try:
            return await self._diversion.asked(self._shelf.put(key, load))
        except SourceFailed as failed:
            raise failed.error from None
        except StoreUnavailable as error:
            self.log.debug("{key} is diverted: {error}", key=key, error=error)
            return None

    async def load(self, source: str, size: int, sum: Sum | None, digester: Digester | None = None) -> Load:
        """What lies in the alternate store.

        :param sum: of it, if it is known.
        :param digester: wants to see it, too.
        """
        try:
            reader: IReader = await self._alternate.open(source)
        except StorageError as error:
            raise SourceFailed(error) from error
        seeing = [] if digester is None else [digester]
        if sum is None or sum.algorithm != self._shelf.algorithm:
            sum = self._shelf.new_sum()
            seeing.append(sum.hash)
        pieces = Pieces(reader, size, seeing, self._runner)
        return Load(Flow(pieces.read, size), size, sum, pieces.close)

    async def record(self, key: str, record: Record) -> None:
        """From now on that image holds what is at ``key``. When this fails nobody knows which one does: so none is
        deleted.
        """
        try:
            before = await self._records.find(key)
        except Damaged:
            before = None
        await self._records.put(key, record)
        try:
            await self._alternate.delete(key)
        except NotFound:
            self.log.debug("nothing was diverted to {key}", key=key)
        else:
            await self._records.forget_mark(key)
        if before is not None and before[0].image != record.image:
            self._shelf.discard(before[0].image)

    async def _mark(self, key: str) -> None:
        await self._records.mark(key, self._now())
        self._diversion.diverted += 1


def _hashed(algorithm: str, content: bytes) -> str:
    """In hexadecimal; empty if nobody here knows the algorithm."""
    return hashlib.new(algorithm, content).hexdigest() if algorithm in hashlib.algorithms_available else ""
