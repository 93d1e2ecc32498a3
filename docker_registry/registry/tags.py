"""Tags: one link each, and that link is the one truth."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from docker_registry.deferreds import outcomes, together
from docker_registry.digest import Digest
from docker_registry.errors import DigestInvalid, NotFound
from docker_registry.names import Repository, Tag
from docker_registry.storage import layout
from docker_registry.storage.interface import IStorage

SLICE = 200
"""Tags looked at in one turn of the reactor."""


class Tags:
    log = Logger()

    def __init__(self, storage: IStorage) -> None:
        self._storage = storage

    async def resolve(self, repository: Repository, tag: Tag) -> Digest:
        """The digest that a tag stands for, with the algorithm that it was made with.

        :raises NotFound: no such tag.
        """
        link = await self._storage.get(layout.tag_link(repository, tag))
        try:
            return Digest.parse(link.decode("ascii").strip())
        except (DigestInvalid, UnicodeDecodeError):
            self.log.error("{repository}:{tag} is unreadable: push it again", repository=repository.name, tag=tag.name)
            raise NotFound(str(tag)) from None

    async def page(self, repository: Repository, after: str, limit: int) -> list[str]:
        """At most ``limit`` tags beyond ``after`` (which need not exist), in byte order."""
        found: list[str] = []
        while len(found) < limit:
            wanted = min(limit - len(found), SLICE)
            entries = await self._storage.list(layout.tags(repository), after=after, limit=wanted)
            names = [entry.name for entry in entries if entry.is_prefix]
            links = await outcomes(*(self._storage.stat(layout.tag_link(repository, Tag(name))) for name in names))
            found += [name for name, link in zip(names, links, strict=True) if not isinstance(link, NotFound)]
            if len(entries) < wanted:
                break
            after = entries[-1].name
        return found

    async def point(self, repository: Repository, tags: Sequence[Tag], digest: Digest) -> None:
        """Let ``tags`` stand for ``digest``, from one moment to the next."""
        link = str(digest).encode()
        await together(*(self._storage.put(layout.tag_index_link(repository, tag, digest), link) for tag in tags))
        await together(*(self._storage.put(layout.tag_link(repository, tag), link) for tag in tags))

    async def remove(self, repository: Repository, tag: Tag) -> None:
        """:raises NotFound: no such tag."""
        await self._storage.delete(layout.tag_link(repository, tag))
        await self._storage.delete_tree(layout.tag(repository, tag))

    async def remove_all(self, repository: Repository, digest: Digest) -> None:
        """Remove every tag that stands for ``digest``."""
        after = ""
        while names := await self.page(repository, after, SLICE):
            tags = [Tag(name) for name in names]
            links = await outcomes(*(self._storage.get(layout.tag_link(repository, tag)) for tag in tags))
            for tag, link in zip(tags, links, strict=True):
                if link == str(digest).encode():
                    await self.remove(repository, tag)
            after = names[-1]
