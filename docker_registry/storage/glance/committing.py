"""How an object comes to be in Glance, or in the alternate store while that fails.

It is acknowledged when Glance has said what it has, that was compared with what was sent, and the record of it is
durable; or when it is durable in the alternate store, at its own key, with a mark that it is to be moved.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.logger import Logger

from docker_registry.deferreds import Turns
from docker_registry.errors import Damaged, NotFound, StorageError, StoreUnavailable
from docker_registry.storage.flows import Flow
from docker_registry.storage.glance.diversion import Diversion
from docker_registry.storage.glance.records import Record, Records
from docker_registry.storage.glance.sending import Sending
from docker_registry.storage.glance.shelf import Load, Shelf, SourceFailed, Sum
from docker_registry.storage.interface import Digester, IReader, IStorage, IWriter
from docker_registry.threads import Runner

PIECE = 1 << 20
"""Bytes that are read at a time from the alternate store to be sent to Glance."""

HASTY = 64 << 10
"""Bytes that are hashed without a thread."""


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

    def new_sum(self) -> Sum:
        """For bytes that are going to be committed."""
        return self._shelf.new_sum()

    def send(self, key: str, length: int | None, sum: Sum) -> Sending | None:
        """Begin to send to Glance what is being written; ``None`` while that fails.

        :param sum: of all of it; the writer computes it.
        """
        if self._diversion.is_on:
            return None

        async def put(load: Load) -> Record:
            return await self._shelf.put_once(key, load)

        return Sending(put, length, sum)

    async def put(self, key: str, content: bytes) -> None:
        """A small object."""

        async def load() -> Load:
            sum = self._shelf.new_sum()
            if len(content) > HASTY:
                await self._runner.slow(sum.hash.update, content)
            else:
                sum.hash.update(content)
            return Load([content], len(content), sum)

        record = await self._shelved(key, load)
        async with self.turns.held(key):
            if record is not None:
                await self.record(key, record)
            else:
                await self._alternate.put(key, content)
                await self._mark(key)

    async def publish(self, key: str, writer: IWriter, source: str, sending: Sending | None, sum: Sum | None) -> None:
        """What was written to the alternate store.

        :param source: where it lies meanwhile.
        :param sending: has sent it to Glance as well, if that went well.
        :param sum: of all of it, if somebody has computed it.
        """
        record = None if sending is None else await self._sent(sending)
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

    async def _sent(self, sending: Sending) -> Record | None:
        """``None`` if it came to nothing, and may come to something when it is sent again."""
        try:
            return await sending.finish()
        except StoreUnavailable as error:
            self.log.debug("what was sent to Glance while it came is sent again: {error}", error=error)
            return None

    async def _shelved(self, key: str, load: Callable[[], Awaitable[Load]]) -> Record | None:
        """``None`` if Glance fails."""
        if self._diversion.is_on:
            return None
        try:
            return await self._shelf.put(key, load)
        except SourceFailed as failed:
            raise failed.error from None
        except StoreUnavailable as error:
            self._diversion.failed(error)
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

        async def read() -> Sequence[bytes]:
            try:
                piece = await reader.read(PIECE)
            except StorageError as error:
                raise SourceFailed(error) from error
            for each in seeing:
                await self._runner.slow(each.update, piece)
            return [piece] if piece else []

        return Load(Flow(read, size), size, sum, reader.close)

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
