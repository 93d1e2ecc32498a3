"""Whether Glance works, as far as this process knows (F12).

::

    works  --something of it was unavailable-->  fails
      ^                                            |
      '----- a probe wrote, read and deleted ------'

While it fails nobody waits for it, nor goes on waiting: what is written goes to the alternate store, and what only
Glance has is answered with "try again later". Probes are made ever more seldom.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from docker_registry.deferreds import Background
from docker_registry.errors import OutageKnown, StorageError, StoreUnavailable
from docker_registry.storage.http import Crowded, Silent

R = TypeVar("R")

FIRST, LONGEST = 1.0, 30.0
"""Seconds before the first probe, and between two of them at most; each time twice as many."""

KIND = "Glance fails"
"""What mail calls it."""


class Asked(Protocol):
    """`Diversion.asked`, or what takes its place."""

    def __call__(self, work: Coroutine[Deferred[Any], Any, R], /) -> Coroutine[Deferred[Any], Any, R]: ...


async def itself(work: Coroutine[Deferred[Any], Any, R], /) -> R:
    """What ``work`` comes to, whatever is known."""
    return await work


class Diversion:
    """:param probe: tries everything that is needed of Glance.
    :param now: seconds since the epoch.
    :ivar reason: why it fails; empty while it works.
    :ivar since: when that began.
    :ivar diverted: objects that this process wrote to the alternate store because of it.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, now: Callable[[], float], probe: Callable[[], Awaitable[None]]) -> None:
        self.reason = ""
        self.since = 0.0
        self.diverted = 0
        self._clock = clock
        self._now = now
        self._probe = probe
        self._probing = Background()
        self._waiting: list[Deferred[None]] = []
        self._asking: set[Deferred[Any]] = set()

    @property
    def is_on(self) -> bool:
        return bool(self.reason)

    def check(self) -> None:
        """:raises OutageKnown: it fails, as was found out a moment ago."""
        if self.reason:
            raise OutageKnown(self.reason)

    async def asked(self, work: Coroutine[Deferred[Any], Any, R]) -> R:
        """What ``work`` comes to, which asks Glance as often as that helps.

        :raises OutageKnown: it fails.
        :raises Crowded: there is no room to ask.
        """
        try:
            return await self.tried(work)
        except StoreUnavailable as error:
            self.failed(error)
            self.check()
            raise

    async def tried(self, work: Coroutine[Deferred[Any], Any, R]) -> R:
        """As `asked`, of what has one try: only that nobody answered in time tells that Glance fails.

        :raises OutageKnown: it fails, or was found to while ``work`` waited for it.
        :raises StoreUnavailable: the next try may succeed.
        """
        if self.reason:
            work.close()
            self.check()
        asking = Deferred.fromCoroutine(work)
        self._asking.add(asking)
        try:
            return await asking
        except CancelledError:
            if asking in self._asking:
                raise                           # by whoever waited
            raise OutageKnown(self.reason) from None
        except Silent as error:
            self.failed(error)
            raise
        finally:
            self._asking.discard(asking)

    def failed(self, error: StorageError) -> None:
        """Something could not be done, because Glance or Keystone could not be asked."""
        if self.reason or isinstance(error, Crowded):
            return
        self.reason = str(error)
        self.since = self._now()
        self.log.error(
            "Glance fails: {reason}. Pushes go to storage_alternate until it works again; what only Glance has cannot "
            "be pulled meanwhile", reason=self.reason, alert=KIND, alert_state="begun",
        )
        self._probing.begin(self._until_it_works())
        asking, self._asking = self._asking, set()
        for each in asking:
            each.cancel()

    async def _until_it_works(self) -> None:
        pause = FIRST
        while True:
            await deferLater(self._clock, pause)
            pause = min(2 * pause, LONGEST)
            try:
                await self._probe()
            except CancelledError:
                raise
            except StorageError as error:
                self.log.debug("Glance still fails: {error}", error=error)
                self.reason = str(error)
            except Exception:
                self.log.failure("Glance could not be probed")
            else:
                break
        self._works()

    def _works(self) -> None:
        seconds = self._now() - self.since
        self.reason, self.since = "", 0.0
        self.log.info("Glance works again after {seconds:.0f} s; in this time {count} objects were diverted by this "
                      "process", seconds=seconds, count=self.diverted, alert=KIND, alert_state="over")
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    async def over(self) -> None:
        """Wait until it works."""
        if self.reason:
            waiting: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(waiting)
            await waiting

    def stop(self) -> None:
        self._probing.stop()
