"""Tags that the store has lost, made again of what objects are called (`docker_registry.registry.naming`)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from docker_registry.deferreds import at_most
from docker_registry.digest import Digest
from docker_registry.errors import (
    Damaged,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestTooLarge,
    NameInvalid,
    NotFound,
    OutOfService,
    TagInvalid,
)
from docker_registry.names import Repository, Tag
from docker_registry.registry.registry import Registry
from docker_registry.storage import layout
from docker_registry.storage.interface import INames, IStorage, Named

DEEPEST = 10
"""Indexes that lead to each other: nobody makes more than two."""

AT_ONCE = 8
"""Blobs that are looked for at the same time."""

SHOWN = 3
"""Digests that are named in one line."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A tag that nobody knows of but the name of an object.

    :ivar digest: of the manifest that it stood for.
    """

    repository: Repository
    tag: Tag
    digest: Digest


class Restoring:
    """For a store whose content is there."""

    def __init__(self, storage: IStorage, names: INames, registry: Registry) -> None:
        self._storage = storage
        self._names = names
        self._tags = registry.tags
        self._blobs = registry.blobs
        self._manifests = registry.manifests

    async def missing(self) -> list[Missing]:
        """In the order of their names."""
        named = await self._names.named()
        found = [each for each in map(_read, sorted(named, key=lambda each: each.name)) if each is not None]
        return [each for each in found if not await self._is_there(each)]

    async def _is_there(self, tag: Missing) -> bool:
        try:
            await self._tags.resolve(tag.repository, tag.tag)
        except NotFound:
            return False
        return True

    async def restore(self, tag: Missing) -> str:
        """Let the tag stand for its manifest, and the repository hold all that this refers to.

        :returns: why it cannot be; empty if it is.
        :raises StoreUnavailable: another try may succeed.
        """
        try:
            await self._put(tag.repository, tag.digest, [tag.tag], set(), 0)
        except (NotFound, Damaged):
            return f"the bytes of {tag.digest} are lost"
        except ManifestBlobUnknown as error:
            return f"what it refers to is lost: {', '.join(error.digests[:SHOWN])}"
        except (ManifestInvalid, ManifestTooLarge, OutOfService) as error:
            return str(error)
        return ""

    async def _put(
        self, repository: Repository, digest: Digest, tags: Sequence[Tag], done: set[Digest], depth: int
    ) -> None:
        """:param done: what was put below the same tag."""
        if depth > DEEPEST:
            raise ManifestInvalid(f"more than {DEEPEST} indexes lead to each other")
        manifest = await self._manifests.read(digest)
        for child in manifest.document.children:
            if child.digest not in done:
                done.add(child.digest)
                with suppress(NotFound, Damaged):       # it is judged below whether there may be fewer
                    await self._put(repository, child.digest, (), done, depth + 1)
        blobs = [each.digest for each in manifest.document.blobs]
        await at_most(AT_ONCE, [partial(self._hold, repository, each) for each in blobs])
        await self._manifests.put(repository, digest, manifest.content, None, tags)

    async def _hold(self, repository: Repository, blob: Digest) -> None:
        """If its bytes are there."""
        with suppress(NotFound, Damaged):
            await self._storage.stat(layout.blob(blob))
            await self._blobs.link(repository, blob)


def _read(named: Named) -> Missing | None:
    """``None`` if it is no name of a tag that this registry has given."""
    repository, _, tag = named.name.rpartition(":")
    digest = layout.content_digest(named.key)
    try:
        found = Repository.parse(repository), Tag.parse(tag)
    except (NameInvalid, TagInvalid):
        return None
    return Missing(*found, digest) if repository == named.group and digest is not None else None
