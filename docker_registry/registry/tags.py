"""Tags: one link each, and that link is the one truth.

While there is no link, a tag that docker-registry 0.x left counts, until it is set or deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from docker_registry.deferreds import outcomes, together
from docker_registry.digest import Digest
from docker_registry.errors import Damaged, DigestInvalid, ImageIdInvalid, NotFound
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.registry.old import OldStore
from docker_registry.registry.untold import Untold
from docker_registry.storage import layout
from docker_registry.storage.asking import discard
from docker_registry.storage.interface import IStorage

SLICE = 200
"""Tags looked at in one turn of the reactor."""


class Tags:
    log = Logger()

    def __init__(self, storage: IStorage, old: OldStore, untold: Untold) -> None:
        self._storage = storage
        self._old = old
        self._untold = untold
        self.prepare: Callable[[Repository, Tag], Coroutine[Deferred[Any], Any, Digest]] | None = None
        """Makes the manifest of an old tag, or raises `NotFound`."""

    async def resolve(self, repository: Repository, tag: Tag) -> Digest:
        """The digest that a tag stands for, with the algorithm that it was made with.

        :raises NotFound: no such tag.
        """
        try:
            return await self.linked(repository, tag)
        except NotFound:
            if self.prepare is None:
                raise
        return await self.prepare(repository, tag)

    async def linked(self, repository: Repository, tag: Tag) -> Digest:
        """As `resolve`, without the tags of old stores."""
        try:
            link = await self._storage.get(layout.tag_link(repository, tag))
            return Digest.parse(link.decode("ascii").strip())
        except (Damaged, DigestInvalid, UnicodeDecodeError):
            self.log.error("{repository}:{tag} is unreadable: push it again", repository=repository.name, tag=tag.name,
                           alert="damaged content")
            raise NotFound(str(tag)) from None

    async def page(self, repository: Repository, after: str, limit: int) -> list[str]:
        """At most ``limit`` tags beyond ``after`` (which need not exist), in byte order."""
        old, linked = await self._pages(repository, after, limit)
        return sorted({*old, *linked})[:limit] if old else list(linked)

    async def dated_page(self, repository: Repository, after: str, limit: int) -> dict[str, float | None]:
        """As `page`, with when each was set, in seconds since the epoch; ``None`` if that cannot be read.

        What an old store says of a tag is older than the link that was made of it.
        """
        old, linked = await self._pages(repository, after, limit)
        names = sorted({*old, *linked})[:limit]
        times = linked | await self._old.set_at(repository, [name for name in names if name in old])
        return {name: times.get(name) for name in names}

    async def _pages(
        self, repository: Repository, after: str, limit: int
    ) -> tuple[set[str], dict[str, float | None]]:
        """Of the tags in old stores, and of those that have a link."""
        old, linked = await outcomes(
            Deferred.fromCoroutine(self._old.tags(repository, after, limit)),
            Deferred.fromCoroutine(self._linked_page(repository, after, limit)),
        )
        for each in (old, linked):
            if isinstance(each, Exception):
                raise each
        return set(old), linked

    async def _linked_page(self, repository: Repository, after: str, limit: int) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        while len(found) < limit:
            wanted = min(limit - len(found), SLICE)
            entries = await self._storage.list(layout.tags(repository), after=after, limit=wanted)
            names = [entry.name for entry in entries if entry.is_prefix]
            links = await outcomes(*(self._storage.stat(layout.tag_link(repository, Tag(name))) for name in names))
            for name, link in zip(names, links, strict=True):
                if not isinstance(link, NotFound):
                    found[name] = None if isinstance(link, Exception) else link.modified
            if len(entries) < wanted:
                break
            after = entries[-1].name
        return found

    async def point(self, repository: Repository, tags: Sequence[Tag], digest: Digest) -> None:
        """Let ``tags`` stand for ``digest``, from one moment to the next."""
        await self.adopt(repository, tags, digest)
        for tag in tags:
            await self._forget_old(repository, tag)

    async def adopt(self, repository: Repository, tags: Sequence[Tag], digest: Digest) -> None:
        """As `point`, leaving what an old store says of them, which no longer counts."""
        link = str(digest).encode()
        await together(*(self._storage.put(layout.tag_index_link(repository, tag, digest), link) for tag in tags))
        await together(*(self._storage.put(layout.tag_link(repository, tag), link) for tag in tags))

    async def remove(self, repository: Repository, tag: Tag) -> None:
        """The old store's goes first: it would count again.

        :raises NotFound: no such tag.
        """
        was_old = await self._forget_old(repository, tag)
        try:
            await self._storage.delete(layout.tag_link(repository, tag))
        except NotFound:
            if not was_old:
                raise
        await self._storage.delete_tree(layout.tag(repository, tag))

    async def release(self, repository: Repository, tag: Tag) -> None:
        """Take the link away, if there is one, so that what an old store says of the tag counts."""
        await discard(self._storage, layout.tag_link(repository, tag))

    async def forget_old_repository(self, repository: Repository) -> None:
        """Remove what docker-registry 0.x said of a repository."""
        await self._old.remove_repository(repository)

    async def _forget_old(self, repository: Repository, tag: Tag) -> bool:
        try:
            await self._old.remove_tag(repository, tag)
        except NotFound:
            return False
        await self._untold.forget(repository, tag)
        return True

    async def remove_all(self, repository: Repository, digest: Digest) -> list[Tag]:
        """Remove every tag that stands for ``digest``; those that went."""
        removed: list[Tag] = []
        after = ""
        while names := await self.page(repository, after, SLICE):
            tags = [Tag(name) for name in names]
            links = await outcomes(*(self._storage.get(layout.tag_link(repository, tag)) for tag in tags))
            for tag, link in zip(tags, links, strict=True):
                if isinstance(link, NotFound):
                    link = await self._old_link(repository, tag)
                if link == str(digest).encode():
                    await self.remove(repository, tag)
                    removed.append(tag)
            after = names[-1]
        return removed

    async def _old_link(self, repository: Repository, tag: Tag) -> bytes | None:
        """What the link of an old tag would be, if that is known: otherwise the manifest was never made."""
        try:
            image = ImageId.parse_old(await self._old.tag(repository, tag))
            return await self._storage.get(layout.image_manifest(image))
        except (NotFound, Damaged, ImageIdInvalid):
            return None
