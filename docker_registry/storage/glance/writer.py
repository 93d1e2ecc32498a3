"""Objects being written: to the alternate store, from where they can be resumed, and to Glance.

What has a final key beforehand is sent to Glance at the same time, so that it is there when its last byte has come.
Everything else is sent when it is committed. Where Glance fails the alternate store has all of it, and keeps it.

Glance is the slower of the two, as a rule, and mostly on the same processors where there are few: so the copy goes easy
on them, and on the disk, as long as Glance is waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from zope.interface import implementer

from docker_registry.deferreds import deferred, together
from docker_registry.storage.glance.sending import Sending
from docker_registry.storage.glance.shelf import Sum
from docker_registry.storage.interface import Digester, ICopying, IWriter


class Final(Protocol):
    """What a writer asks of its store."""

    async def publish(
        self, key: str, writer: IWriter, source: str, sending: Sending | None, sum: Sum | None
    ) -> None:
        """Let ``key`` have what was written, in Glance or in the alternate store.

        :param writer: of the alternate store, to which all was written.
        :param source: the key in the alternate store at which it lies meanwhile.
        :param sending: has sent all of it to Glance, if that went well.
        :param sum: of all of it, if somebody has computed it.
        """

    async def keep(self, source: str, sending: Sending, sum: Sum | None) -> None:
        """What was written, and was sent to Glance as well, may be all: until somebody says so."""


@implementer(IWriter)
class Writer:
    """:param inner: of the alternate store.
    :param sum: of nothing yet; ``None`` if something was written before.
    :param sending: to Glance, if the final key is known.
    """

    def __init__(self, store: Final, key: str, inner: IWriter, sum: Sum | None, sending: Sending | None) -> None:
        self._store = store
        self._key = key
        self._inner = inner
        self._copying = ICopying(inner) if ICopying.providedBy(inner) else None
        self._sum = sum
        self._sending = sending
        self._synced = -1

    @property
    def offset(self) -> int:
        return self._inner.offset

    @property
    def mark(self) -> str:
        return self._inner.mark

    @deferred
    async def write(self, parts: Sequence[bytes], digesters: Sequence[Digester] = ()) -> None:
        if self._sending is not None and self._sending.is_all and any(parts):
            self._give_up()                         # it was not all
        seen = digesters if self._sum is None else (*digesters, self._sum.hash)
        sending = self._sending
        if self._copying is not None:
            # Without a key there will be a `sync`, which would have to wait for the disk.
            self._copying.is_spare = sending is not None and sending.has_key and not sending.is_lost
            self._copying.in_turn = self._copying.in_turn and sending is not None
        writing = self._inner.write(parts, seen)
        if sending is None:
            await writing
        else:
            sent = Deferred.fromCoroutine(self._send(sending, parts))
            await together(writing.addCallback(self._wrote, sent), sent)

    async def _send(self, sending: Sending, parts: Sequence[bytes]) -> None:
        await sending.write(parts)

    def _wrote(self, _: None, sent: Deferred[None]) -> None:
        if self._copying is not None:
            self._copying.in_turn = not sent.called

    @deferred
    async def sync(self) -> int:
        self._synced = await self._inner.sync()
        return self._synced

    @deferred
    async def commit(self, key: str) -> None:
        sending, self._sending = self._sending, None
        try:
            await self._store.publish(key, self._inner, self._key, sending, self._sum)
        finally:
            if sending is not None:
                sending.give_up()

    @deferred
    async def abandon(self) -> None:
        self._give_up()
        await self._inner.abandon()

    @deferred
    async def close(self) -> None:
        sending, self._sending = self._sending, None
        await self._inner.close()
        if sending is None:
            return
        if not sending.has_key and self._synced == self.offset > 0:
            await self._store.keep(self._key, sending, self._sum)
        else:
            sending.give_up()

    def _give_up(self) -> None:
        if self._sending is not None:
            self._sending.give_up()
            self._sending = None
