"""Writes down in the catalogue what happens in the registry, before the client hears of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from docker_registry.digest import Digest
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.registry import events
from docker_registry.registry.catalogue import Catalogue
from docker_registry.registry.database import DatabaseFailed
from docker_registry.registry.descriptions import LATEST, Descriptions
from docker_registry.registry.old import OldStore
from docker_registry.registry.records import Records, TagRecord
from docker_registry.registry.walk import Walk


class Recorder:
    """:param now: seconds since the epoch."""

    def __init__(
        self,
        catalogue: Catalogue,
        records: Records,
        walk: Walk,
        descriptions: Descriptions,
        old: OldStore,
        now: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._records = records
        self._walk = walk
        self._descriptions = descriptions
        self._old = old
        self._now = now

    async def hear(self, event: events.Event) -> None:
        """What cannot be written down is found in the store, later."""
        try:
            await self._note(event)
        except DatabaseFailed as error:
            self._catalogue.lost(error)

    async def _note(self, event: events.Event) -> None:
        match event:
            case events.ManifestPushed(repository, digest, _, document, tags):
                size = await self._descriptions.size(document) if tags else None
                await self._pushed(repository, tags, digest, TagRecord(str(digest), size, self._now()))
            case events.ManifestMade(repository, digest, _, document, tag):
                # It may have been pushed long ago, to docker-registry 0.x.
                pushed = (await self._old.set_at(repository, [tag.name])).get(tag.name, self._now())
                size = await self._descriptions.size(document)
                await self._pushed(repository, [tag], digest, TagRecord(str(digest), size, pushed))
            case events.TagSet(repository, tag, image):
                await self._pushed(repository, [tag], image, TagRecord(pushed=self._now()))
            case events.TagDeleted(repository, tag):
                await self._deleted(repository, [tag])
            case events.ManifestDeleted(repository, _, tags):
                await self._deleted(repository, tags)
            case events.RepositoryDeleted(repository):
                await self._records.remove(repository)
            case events.AccessChanged(repository, private):
                await self._records.set_private(repository, private)

    async def _pushed(
        self, repository: Repository, tags: Sequence[Tag], target: Digest | ImageId, record: TagRecord
    ) -> None:
        said = await self._descriptions.said_by(repository, target) if LATEST in tags else None
        change = await self._records.push(repository, dict.fromkeys(tags, record), said)
        if change is not None:
            await self.look(repository, change)

    async def look(self, repository: Repository, change: int) -> None:
        """Write down what the store says of a repository itself.

        :param change: the last one before the store is asked.
        """
        private = await self._old.is_private(repository)
        await self._records.look(repository, change, private, await self._descriptions.of(repository))

    async def _deleted(self, repository: Repository, tags: Sequence[Tag]) -> None:
        if await self._walk.holds_manifest(repository):
            await self._records.untag(repository, tags, "" if LATEST in tags else None)
        else:
            await self._records.remove(repository)
