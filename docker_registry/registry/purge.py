"""Upload sessions that nobody came back to are removed."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from docker_registry.complaints import log_failed
from docker_registry.deferreds import Background, outcomes
from docker_registry.errors import StorageError, UploadUnknown
from docker_registry.names import Repository, UploadId
from docker_registry.registry.catalogue import Catalogue
from docker_registry.registry.uploads import Uploads
from docker_registry.storage import layout
from docker_registry.storage.asking import pages
from docker_registry.storage.interface import ILeftovers, IStorage

INTERVAL = 3600.0
"""Seconds between two rounds."""

PAGE = 100


class UploadPurge:
    """Rounds over all sessions, one an hour, beginning when the daemon starts.

    A session's age counts from its last byte. A clock that was set forward between two rounds makes every session look
    old: the jump is not held against those that were active before it (D12).

    :param clock: measures the time between two rounds.
    :param now: seconds since the epoch, by the wall clock.
    :param age: seconds without a byte after which a session goes.
    """

    log = Logger()

    def __init__(
        self,
        storage: IStorage,
        catalogue: Catalogue,
        uploads: Uploads,
        clock: IReactorTime,
        now: Callable[[], float],
        age: float,
    ) -> None:
        self._storage = storage
        self._catalogue = catalogue
        self._uploads = uploads
        self._clock = clock
        self._now = now
        self._age = age
        self._seen = now()
        self._jumps: list[tuple[float, float]] = []
        self._next: IDelayedCall | None = None
        self._round = Background()

    def start(self) -> None:
        self._next = None
        self._round.begin(self._go())

    def stop(self) -> None:
        """No further round; one that is running ends at its next step."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._round.stop()

    async def _go(self) -> None:
        try:
            await self.run()
        except StorageError:
            log_failed(self.log, "looking for abandoned uploads failed; the next attempt is in an hour")
        self._next = self._clock.callLater(INTERVAL, self.start)

    async def run(self) -> int:
        """One round; the number of sessions that went."""
        self._notice_jump()
        removed = left = 0
        after = ""
        while names := await self._catalogue.with_uploads(after, PAGE):
            for repository in names:
                gone, stayed = await self._purge(repository)
                removed += gone
                left += stayed
            after = names[-1].name
        self._uploads.counted(left)
        removed += await self._purge_layers()
        removed += await self._purge_leftovers()
        if removed:
            self.log.info("removed {removed} abandoned uploads", removed=removed)
        return removed

    def _notice_jump(self) -> None:
        now = self._now()
        jump = now - self._seen - 2 * INTERVAL
        if jump > 0:
            self.log.warn("the clock went forward by {hours:.0f} hours", hours=jump / 3600)
            self._jumps.append((self._seen, jump))
        self._seen = now

    async def _purge(self, repository: Repository) -> tuple[int, int]:
        gone = stayed = 0
        last: UploadId | None = None
        async for entries in pages(self._storage, layout.uploads(repository), PAGE):
            for entry in entries:
                try:
                    upload = layout.upload_called(entry.name)
                except UploadUnknown:
                    continue
                if upload == last:              # its bytes, and then its state
                    continue
                last = upload
                if await self._is_old(repository, upload) and await self._remove(repository, upload):
                    gone += 1
                else:
                    stayed += 1
        return gone, stayed

    async def _remove(self, repository: Repository, upload: UploadId) -> bool:
        """Whether it is still abandoned, and is gone now: a client may have come back while it was judged."""
        with self._uploads.held(upload) as free:
            if not free or not await self._is_old(repository, upload):
                return False
            await self._uploads.forget(repository, upload)
        return True

    async def _purge_layers(self) -> int:
        """Layers of protocol v1 whose push was cut off by the end of a process."""
        gone = 0
        async for entries in pages(self._storage, layout.layer_uploads(), PAGE):
            for entry in entries:
                key = f"{layout.layer_uploads()}/{entry.name}"
                (stat,) = await outcomes(self._storage.stat(key))
                if not isinstance(stat, Exception) and self._is_too_old(stat.modified):
                    await self._storage.delete_tree(key)
                    gone += 1
        return gone

    async def _purge_leftovers(self) -> int:
        """Halves of objects whose writer ended with its process, where a store keeps such (F5)."""
        if not ILeftovers.providedBy(self._storage):
            return 0
        forgiven = sum(jump for _, jump in self._jumps)
        store = ILeftovers(self._storage)
        found = await store.leftovers(self._now() - self._age - forgiven)
        for each in found:
            await store.remove_leftover(each)
        return len(found)

    async def _is_old(self, repository: Repository, upload: UploadId) -> bool:
        session = layout.upload(repository, upload)
        keys = [f"{session}/{entry.name}" for entry in await self._storage.list(session)]
        stats = await outcomes(*(self._storage.stat(key) for key in [*keys, layout.upload_state(repository, upload)]))
        return self._is_too_old(max((stat.modified for stat in stats if not isinstance(stat, Exception)), default=0.0))

    def _is_too_old(self, active: float) -> bool:
        forgiven = sum(jump for before, jump in self._jumps if active <= before)
        return self._now() - active - forgiven > self._age
