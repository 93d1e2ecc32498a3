"""The registry: what the protocols translate to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from docker_registry import deferreds
from docker_registry.complaints import log_failed
from docker_registry.deferreds import Shield
from docker_registry.errors import Damaged, StorageError
from docker_registry.names import Repository, UploadId
from docker_registry.registry import records
from docker_registry.registry.blobs import Blobs
from docker_registry.registry.catalogue import Catalogue
from docker_registry.registry.contents import Contents
from docker_registry.registry.database import Database
from docker_registry.registry.descriptions import Descriptions
from docker_registry.registry.events import AccessChanged, Events
from docker_registry.registry.imagelists import ImageLists
from docker_registry.registry.imagepushes import ImagePushes
from docker_registry.registry.images import Images
from docker_registry.registry.imagetags import ImageTags
from docker_registry.registry.intake import Intake
from docker_registry.registry.locks import Locks
from docker_registry.registry.manifests import Manifests
from docker_registry.registry.old import OldStore
from docker_registry.registry.purge import UploadPurge
from docker_registry.registry.recorder import Recorder
from docker_registry.registry.records import Records
from docker_registry.registry.referrers import Referrers
from docker_registry.registry.rounds import Rounds
from docker_registry.registry.settings import Settings
from docker_registry.registry.shared import Shared
from docker_registry.registry.tags import Tags
from docker_registry.registry.untold import Untold
from docker_registry.registry.uploads import Uploads
from docker_registry.registry.walk import Walk
from docker_registry.storage import layout
from docker_registry.storage.interface import IChores, IDiverts, IStorage
from docker_registry.threads import Runner

PATIENCE = 4.0
"""Seconds in which a store that works has proved it."""


class Registry:
    """Everything that can be asked of the registry, by subject.

    :param clock: a reactor, or a `twisted.internet.task.Clock`.
    :param now: seconds since the epoch, by the wall clock.
    :param shared: with the other processes of the daemon, if there are any.
    :param cache: the directory for what can be found out again; ``None`` is in memory.
    """

    log = Logger()

    def __init__(
        self,
        storage: IStorage,
        runner: Runner,
        clock: Any,
        settings: Settings,
        now: Callable[[], float],
        shared: Shared | None = None,
        cache: Path | None = None,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._shield = Shield()
        self._probing: deferreds.Shared[None, None] = deferreds.Shared()
        shared = shared or Shared()
        locks = self._locks = Locks(clock, shared.exclusion)
        self.settings = settings
        self.events = Events()
        self.old = OldStore(storage)
        walk = Walk(storage, self.old)
        # What one of several processes has in its own memory the others do not know.
        self._has_catalogue = cache is not None or shared.exclusion is None
        self._database = Database(cache, runner, records.SCHEMA, records.VERSION)
        written = Records(self._database)
        self.catalogue = Catalogue(walk, written, self.old)
        untold = Untold(storage)
        self.tags = Tags(storage, self.old, untold)
        self.blobs = Blobs(storage, now, self.catalogue, self.events, settings.link_belief)
        self.uploads = Uploads(
            storage, runner, now, settings, self.blobs, self._shield, locks, shared.uploads, self.events
        )
        self.manifests = Manifests(
            storage, runner, settings, self.blobs, self.tags, locks, self._shield, self.events
        )
        self._intake = Intake(storage, runner)
        self.images = Images(storage, self.blobs, self._intake, locks, self._shield)
        self.image_pushes = ImagePushes(storage, self.images, self.blobs, self._intake, locks, self._shield)
        self.contents = Contents(storage, runner, self.images, self._intake, self._shield)
        self.image_lists = ImageLists(self.old, locks, self._shield)
        self.image_tags = ImageTags(
            storage, self.images, self.image_pushes, self.manifests, self.tags, self.blobs, self.old, self.catalogue,
            locks, self._shield, self.events, untold,
        )
        self.image_pushes.completed = self.image_tags.completed
        self.tags.prepare = self.image_tags.prepare
        self.referrers = Referrers(storage, self.manifests, self.tags)
        descriptions = Descriptions(storage, runner, self.manifests, self.images, self.tags, self.old)
        self.catalogue.describe = descriptions.of
        recorder = Recorder(self.catalogue, written, walk, descriptions, self.old, now)
        self.events.subscribe(recorder.hear)
        self._rounds = Rounds(
            clock, self._database, self.catalogue, written, walk, self.tags, descriptions, recorder,
            settings.catalogue_refresh,
        )
        self._purge = UploadPurge(storage, self.catalogue, self.uploads, clock, now, settings.upload_purge_age)

    @property
    def bytes_read(self) -> int:
        """Of layers that were stored, and had to be read again."""
        return self._intake.bytes_read

    async def set_private(self, repository: Repository, private: bool) -> None:
        """Say who may find a repository: everybody, or those who know its name."""
        await self._shield(self._set_private(repository, private))

    async def _set_private(self, repository: Repository, private: bool) -> None:
        async with self._locks.held(repository):
            await self.old.set_private(repository, private)
            await self.events.tell(AccessChanged(repository, private))

    async def check(self) -> dict[str, str]:
        """What does not work, by service: the store is written, read and deleted, once for all who ask meanwhile."""
        probing = self._probing(None, lambda: Deferred.fromCoroutine(self.probe()))
        try:
            await probing.addTimeout(PATIENCE, self._clock)
        except (StorageError, TimeoutError) as error:
            log_failed(self.log, "the store does not work")
            return {"storage": type(error).__name__}
        return {}

    async def diverting(self) -> dict[str, object]:
        """Whether the store writes elsewhere because it fails, and how much is still to be moved back; nothing of a
        store that does no such thing.
        """
        if not IDiverts.providedBy(self._storage):
            return {}
        store = IDiverts(self._storage)
        found = store.diverting()
        waiting: int | None = None
        try:
            waiting = await store.waiting().addTimeout(PATIENCE, self._clock)
        except (StorageError, TimeoutError) as error:
            self.log.warn("what is to be moved back could not be counted: {error}", error=error)
        return {"diverting": bool(found.reason), "since": found.since or None, "to_be_moved": waiting}

    async def probe(self) -> None:
        """Write, read and delete something small.

        :raises StorageError: the store does not work.
        """
        key = layout.probe(UploadId.new())
        await self._storage.put(key, b"probe")
        content = await self._storage.get(key)
        await self._storage.delete(key)
        if content != b"probe":
            raise Damaged(key)

    def start(self, periodic: bool = True) -> None:
        """Begin what goes on beside requests.

        :param periodic: whether what one process does for all of a daemon's is for this one to do.
        """
        if self._has_catalogue:
            self._rounds.start()
        elif periodic:
            self.log.warn("listings and searches go through the store, slowly: several workers need cache_path")
        if periodic:
            self._purge.start()
            if IChores.providedBy(self._storage):
                IChores(self._storage).begin_chores()

    def stop(self) -> None:
        """End what goes on beside requests; safe to call at any moment of it."""
        self._rounds.stop()
        self._purge.stop()
        self._intake.stopped = True

    def idle(self) -> Deferred[None]:
        """Fires when nothing that must not be torn is running."""
        return self._shield.idle()

    async def close(self) -> None:
        """Let go of what it holds beside the store, when it is idle."""
        await self._database.close()
