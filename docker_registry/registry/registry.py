"""The registry: what the protocols translate to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from docker_registry.deferreds import Shield
from docker_registry.registry.blobs import Blobs
from docker_registry.registry.catalogue import Catalogue
from docker_registry.registry.locks import Locks
from docker_registry.registry.manifests import Manifests
from docker_registry.registry.purge import UploadPurge
from docker_registry.registry.referrers import Referrers
from docker_registry.registry.settings import Settings
from docker_registry.registry.tags import Tags
from docker_registry.registry.uploads import Uploads
from docker_registry.storage.interface import IStorage
from docker_registry.threads import Runner


class Registry:
    """Everything that can be asked of the registry, by subject.

    :param clock: a reactor, or a `twisted.internet.task.Clock`.
    :param now: seconds since the epoch, by the wall clock.
    """

    def __init__(
        self, storage: IStorage, runner: Runner, clock: Any, settings: Settings, now: Callable[[], float]
    ) -> None:
        self._shield = Shield()
        locks = Locks()
        self.settings = settings
        self.catalogue = Catalogue(storage)
        self.tags = Tags(storage)
        self.blobs = Blobs(storage, now, self.catalogue)
        self.uploads = Uploads(storage, runner, now, settings, self.blobs, self._shield)
        self.manifests = Manifests(storage, runner, settings, self.blobs, self.tags, locks, self._shield)
        self.referrers = Referrers(storage, self.manifests, self.tags)
        self._purge = UploadPurge(storage, self.catalogue, self.uploads, clock, now, settings.upload_purge_age)

    def start(self) -> None:
        """Begin the periodic work."""
        self._purge.start()

    def stop(self) -> None:
        """End the periodic work; safe to call at any moment of it."""
        self._purge.stop()

    def idle(self) -> Deferred[None]:
        """Fires when nothing that must not be torn is running."""
        return self._shield.idle()
