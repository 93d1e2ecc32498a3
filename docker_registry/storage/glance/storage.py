"""A store in two: content in Glance, an image for each object, and everything else in an alternate store.

In the alternate store lies what is small, what is not finished, which image holds what, and what was written while
Glance failed: that at its own key, as if there were no Glance, and marked to be moved.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import alsoProvides, implementer

from docker_registry.deferreds import deferred
from docker_registry.errors import NotFound, StorageError, StorageFailed, StoreUnavailable, Transient
from docker_registry.storage import layout
from docker_registry.storage.glance.committing import Committing
from docker_registry.storage.glance.diversion import Diversion
from docker_registry.storage.glance.finding import Finding
from docker_registry.storage.glance.leftovers import IMAGE, Lookout
from docker_registry.storage.glance.moving import Mover, Rounds
from docker_registry.storage.glance.records import Record, Records
from docker_registry.storage.glance.recovery import Recovery
from docker_registry.storage.glance.sending import Sending
from docker_registry.storage.glance.shelf import Shelf, Sum
from docker_registry.storage.glance.spares import Spares
from docker_registry.storage.glance.titles import Titles
from docker_registry.storage.glance.writer import Writer
from docker_registry.storage.interface import (
    Diverting,
    Entry,
    IChores,
    IClaims,
    IDirect,
    IDistant,
    IDiverts,
    IExplores,
    IFlat,
    ILeftovers,
    INames,
    IReader,
    IRecovers,
    IStorage,
    ITaken,
    IWriter,
    Leftover,
    Named,
    Stat,
)
from docker_registry.threads import Runner

Entries = list[Entry]
Names = list[str]
AllNamed = list[Named]
Leftovers = list[Leftover]


@dataclass(frozen=True, slots=True)
class Rule:
    """Which keys go to Glance.

    :ivar holds: whether what is committed there does.
    :ivar leads: whether a key of that kind can begin so.
    """

    holds: Callable[[str], bool] = layout.is_content
    leads: Callable[[str], bool] = layout.leads_to_content


@implementer(IStorage, IDirect, IDistant, ILeftovers, IDiverts, IChores, IRecovers)
class GlanceStorage:
    """:param alternate: yet to be started.
    :param close: gives up the connections of ``shelf``.
    :param check: whether Glance is tried before this is taken to be started.
    :param now: seconds since the epoch.
    :param titles: if images are called what tags are.
    :param diversion: if others know it, too.
    """

    log = Logger()

    def __init__(
        self,
        shelf: Shelf,
        alternate: IStorage,
        runner: Runner,
        clock: IReactorTime,
        close: Callable[[], Awaitable[None]],
        *,
        rule: Rule | None = None,
        check: bool = True,
        now: Callable[[], float] = time.time,
        titles: Titles | None = None,
        diversion: Diversion | None = None,
    ) -> None:
        self._shelf = shelf
        self._titles = titles
        self._alternate = alternate
        self._close_connections = close
        self._rule = rule or Rule()
        self._check = check
        self.records = shelf.notes = Records(alternate)
        self.diversion = diversion or Diversion(clock, now, shelf.probe)
        self._lookout = Lookout(shelf, self.records)
        self.recovery = Recovery(shelf, self.records, runner)
        self._spares = Spares(clock)
        self._finding = Finding(shelf, alternate, self.records, self.diversion)
        self._committing = Committing(shelf, alternate, self.records, self.diversion, runner, now)
        mover = Mover(shelf, alternate, self.records, self.diversion, self._committing)
        self.moving = Rounds(clock, self.records, self.diversion, mover)
        for kind in (ITaken, IExplores, IFlat):
            if kind.providedBy(alternate):
                alsoProvides(self, kind)
        if titles is not None:
            alsoProvides(self, INames)

    # Reading

    def stat(self, key: str) -> Deferred[Stat]:
        return self._finding.stat(key) if self._rule.holds(key) else self._alternate.stat(key)

    def get(self, key: str) -> Deferred[bytes]:
        return self._finding.get(key) if self._rule.holds(key) else self._alternate.get(key)

    def open(self, key: str, offset: int = 0) -> Deferred[IReader]:
        return self._finding.open(key, offset) if self._rule.holds(key) else self._alternate.open(key, offset)

    @deferred
    async def list(self, prefix: str, after: str = "", limit: int = 1000) -> Entries:
        is_top = prefix == ""
        entries = await self._alternate.list(prefix, after, limit + is_top)
        found = {entry.name: entry for entry in entries if not is_top or entry.name != layout.GLANCE}
        if self._rule.leads(prefix):
            for entry in await self._alternate.list(layout.glance_images(prefix), after, limit):
                known = found.get(entry.name)
                found[entry.name] = Entry(entry.name, entry.is_prefix or (known is not None and known.is_prefix))
        return [found[name] for name in sorted(found, key=str.encode)[:limit]]

    # Writing

    def put(self, key: str, content: bytes) -> Deferred[None]:
        if not self._rule.holds(key):
            return self._alternate.put(key, content)
        return Deferred.fromCoroutine(self._committing.put(key, content))

    @deferred
    async def create(self, key: str) -> IWriter:
        self._spares.drop(key)
        inner: IWriter = await self._alternate.create(key)
        sum = self._committing.new_sum()
        return Writer(self, key, inner, sum, self._committing.send("", None, sum))

    @deferred
    async def resume(self, key: str, offset: int) -> IWriter:
        spare = self._spares.take(key, await self._alternate.stat(key))
        try:
            inner: IWriter = await self._alternate.resume(key, offset)
        except BaseException:
            if spare is not None:
                spare.sending.give_up()
            raise
        if spare is not None and spare.stat.size == offset:
            return Writer(self, key, inner, spare.sum, spare.sending)
        if spare is not None:
            spare.sending.give_up()
        return Writer(self, key, inner, None if offset else self._committing.new_sum(), None)

    async def keep(self, source: str, sending: Sending, sum: Sum | None) -> None:
        """See `docker_registry.storage.glance.writer.Final`."""
        try:
            self._spares.keep(source, await self._alternate.stat(source), sending, sum)
        except StorageError:
            sending.give_up()

    @deferred
    async def create_direct(self, key: str, final: str, length: int | None) -> IWriter:
        inner: IWriter = await self._alternate.create(key)
        sum = self._committing.new_sum()
        sending = self._committing.send(final, length, sum) if self._rule.holds(final) else None
        return Writer(self, key, inner, sum, sending)

    async def publish(
        self, key: str, writer: IWriter, source: str, sending: Sending | None, sum: Sum | None
    ) -> None:
        """See `docker_registry.storage.glance.writer.Final`."""
        if self._rule.holds(key):
            await self._committing.publish(key, writer, source, sending, sum)
        else:
            await writer.commit(key)

    # Changing

    def touch(self, key: str) -> Deferred[None]:
        return self._touch(key) if self._rule.holds(key) else self._alternate.touch(key)

    @deferred
    async def _touch(self, key: str) -> None:
        try:
            await self.records.touch(key)
        except NotFound:
            await self._alternate.touch(key)

    def delete(self, key: str) -> Deferred[None]:
        return self._delete(key) if self._rule.holds(key) else self._alternate.delete(key)

    @deferred
    async def _delete(self, key: str) -> None:
        """The record first: its image is noted as given up, and removed by its age if this ends in the middle."""
        record = await self._both(key, self.records.remove, self._alternate.delete)
        if record is not None:
            self._shelf.discard(record.image, is_noted=True)

    def discard(self, key: str) -> Deferred[None]:
        return IFlat(self._alternate).discard(key)

    def quarantine(self, key: str) -> Deferred[None]:
        return self._quarantine(key) if self._rule.holds(key) else self._alternate.quarantine(key)

    @deferred
    async def _quarantine(self, key: str) -> None:
        record = await self._both(key, self.records.take_out, self._alternate.quarantine)
        if record is not None:
            self.log.warn("{key} is kept as image {image} of Glance", key=key, image=record.image)

    async def _both(
        self, key: str, record: Callable[[str], Awaitable[Record | None]], other: Callable[[str], Deferred[None]]
    ) -> Record | None:
        """What becomes of the record, and then the same to what was diverted.

        :raises NotFound: there is neither.
        """
        async with self._committing.turns.held(key):
            found, missing = None, False
            try:
                found = await record(key)
            except NotFound:
                missing = True
            try:
                await other(key)
            except NotFound:
                if missing:
                    raise
            else:
                await self.records.forget_mark(key)
            return found

    @deferred
    async def delete_tree(self, prefix: str) -> None:
        """Marks of what was there are found to be of nothing when their turn comes."""
        self._spares.drop_below(prefix)
        records = await self.records.remove_tree(prefix) if self._rule.leads(prefix) else []
        await self._alternate.delete_tree(prefix)
        for record in records:
            self._shelf.discard(record.image, is_noted=True)

    # What is left, and what was diverted

    @deferred
    async def leftovers(self, before: float) -> Leftovers:
        found: Leftovers = []
        if ILeftovers.providedBy(self._alternate):
            found += await ILeftovers(self._alternate).leftovers(before)
        try:
            self.diversion.check()
            found += await self._lookout.leftovers(before)
        except StoreUnavailable as error:
            self.log.warn("what is left in Glance is not looked for now: {error}", error=error)
        return found

    @deferred
    async def remove_leftover(self, leftover: Leftover) -> None:
        if leftover.id.startswith(IMAGE):
            if await self._lookout.is_left(leftover):
                image = leftover.id.removeprefix(IMAGE)
                await self._shelf.remove(image)
                await self.records.forget_given_up(image)
        else:
            await ILeftovers(self._alternate).remove_leftover(leftover)

    def begin_chores(self) -> None:
        self.moving.begin()

    def diverting(self) -> Diverting:
        return Diverting(
            self.diversion.reason, self.diversion.since, self.diversion.diverted, self.moving.moved,
            self.moving.waiting,
        )

    @deferred
    async def waiting(self) -> int:
        return await self.records.count_marks()

    # What people see in Glance

    @deferred
    async def set_name(self, name: str, group: str, key: str | None) -> None:
        """:raises StoreUnavailable: Glance fails, or what is at ``key`` is not there yet."""
        assert self._titles is not None
        self.diversion.check()
        image = None if key is None else await self._image_at(key)
        await self._titles.set(name, group, image)

    async def _image_at(self, key: str) -> str | None:
        found = await self.records.find(key)
        if found is None and await self.records.is_marked(key):
            raise StoreUnavailable(f"{key} was diverted, and is not in Glance yet")
        return None if found is None else found[0].image

    @deferred
    async def names(self, group: str) -> Names:
        assert self._titles is not None
        self.diversion.check()
        return await self._titles.names(group)

    @deferred
    async def named(self) -> AllNamed:
        assert self._titles is not None
        return await self._titles.all()

    def explored(self) -> Deferred[None]:
        return IExplores(self._alternate).explored()

    # Life

    @deferred
    async def start(self) -> None:
        """:raises StorageError: the alternate store cannot be used, or Glance never will as things are; the text says
            what to do. That Glance fails now is no hindrance.
        """
        try:
            await self._alternate.start()
            self._shelf.store = await self._name()
            if self._check:
                await self._try()
        except BaseException:
            await self.close()
            raise

    async def _name(self) -> str:
        """Of this store: of several machines that start over an empty one, the first says it."""
        if not await self.records.store():
            shared = IClaims.providedBy(self._alternate)    # a directory is one daemon's
            write = IClaims(self._alternate).claim if shared else self._alternate.put
            await write(layout.glance_store(), secrets.token_hex(16).encode())
        return await self.records.store()

    async def _try(self) -> None:
        try:
            await self._shelf.probe()
        except Transient as error:
            self.diversion.failed(error)
        except StorageError as error:
            raise StorageFailed(f"storage glance: {error}") from error

    def keeper(self) -> int:
        return ITaken(self._alternate).keeper()

    def settle(self, process: int) -> Deferred[None]:
        return ITaken(self._alternate).settle(process)

    @deferred
    async def close(self) -> None:
        self.moving.stop()
        self.diversion.stop()
        self._spares.stop()
        await self._shelf.stop()
        await self._close_connections()
        await self._alternate.close()
