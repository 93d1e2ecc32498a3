"""Blobs, as a repository sees them: a link says that it holds one, the bytes lie once for all.

Knowing a digest is no right: whatever is asked, the repository's own link decides (T30).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from docker_registry.deferreds import outcomes
from docker_registry.digest import ALGORITHMS, Digest
from docker_registry.errors import BlobUnknown, Damaged, NotFound, expect
from docker_registry.names import Repository
from docker_registry.registry.catalogue import Catalogue
from docker_registry.registry.events import BlobMounted, Events
from docker_registry.registry.recent import Recent
from docker_registry.storage import layout
from docker_registry.storage.asking import whole
from docker_registry.storage.files import SmallReader
from docker_registry.storage.interface import IDistant, IReader, IRedirects, IStorage, Stat

LEASE = 3600.0
"""Seconds after which a link that is asked for is touched: its age is what collection goes by."""

SMALL = 64 << 10
"""Longest blob that is kept in memory where the store is another machine: configurations, and layers of a line of a
Dockerfile."""

ROOM = 16 << 20
"""Bytes of memory for those."""

OVERHEAD = 500
"""Bytes that each takes besides."""

HINTS = 10_000
"""Digests of which is remembered where they were seen last, and links of which, that they are there."""


class Blobs:
    """:param belief: seconds for which a link that was there is taken to be there, when a blob is read."""

    log = Logger()

    def __init__(
        self, storage: IStorage, now: Callable[[], float], catalogue: Catalogue, events: Events, belief: float
    ) -> None:
        self._storage = storage
        self._now = now
        self._catalogue = catalogue
        self._events = events
        self._seen: Recent[Digest, Repository] = Recent(HINTS)
        self._belief = belief
        self._believed: Recent[str, tuple[float, Stat]] = Recent(HINTS)
        self._small: Recent[Digest, tuple[bytes, float]] = Recent(ROOM)
        self._gone = 0                          # how often links went: what was asked before is not believed

    async def size(self, repository: Repository, digest: Digest) -> int:
        """Bytes in the blob; renews the repository's lease on it.

        :raises BlobUnknown: the repository does not hold it.
        """
        (size,) = await self.sizes(repository, [digest])
        if size is None:
            raise BlobUnknown(str(digest))
        return size

    async def sizes(self, repository: Repository, digests: Sequence[Digest]) -> list[int | None]:
        """As `size`, for many in one go; ``None`` for those that the repository does not hold."""
        links = [layout.layer_link(repository, digest) for digest in digests]
        contents = [layout.blob(digest) for digest in digests]
        found = await outcomes(*(self._storage.stat(key) for key in [*links, *contents]))
        sizes: list[int | None] = []
        for digest, link, lease, stat in zip(digests, links, found[: len(links)], found[len(links) :], strict=True):
            if isinstance(lease, Exception):
                expect(lease, NotFound, Damaged)
                sizes.append(None)
                continue
            if isinstance(stat, NotFound):
                stat = await self._stat_elsewhere(digest)
            if isinstance(stat, Exception) or _is_hollow(digest, stat.size):
                await self._lost(digest, stat)
                sizes.append(None)
            else:
                await self._renew(link, lease)
                sizes.append(stat.size)
        return sizes

    async def open(self, repository: Repository, digest: Digest, offset: int = 0) -> IReader:
        """Open a blob for reading from ``offset`` on; whoever called closes it.

        :raises BlobUnknown: the repository does not hold it.
        """
        lease, reader = await outcomes(self._lease(repository, digest), self._open(digest, offset))
        if isinstance(reader, NotFound) and not isinstance(lease, Exception):
            (reader,) = await outcomes(Deferred.fromCoroutine(self._open_elsewhere(digest, offset)))
        if isinstance(reader, Exception):
            if not isinstance(lease, Exception):
                await self._lost(digest, reader)
        elif isinstance(lease, Exception):
            reader.close()
        elif _is_hollow(digest, reader.size):
            reader.close()
            await self._lost(digest, reader)
        else:
            return await self._kept(digest, reader, offset)
        if isinstance(lease, Exception):
            expect(lease, NotFound, Damaged)
        raise BlobUnknown(str(digest))

    def _open(self, digest: Digest, offset: int) -> Deferred[IReader]:
        kept = self._small.get(digest)
        if kept is None:
            return self._storage.open(layout.blob(digest), offset)
        content, modified = kept
        return succeed(SmallReader(content[offset:], len(content), modified))

    async def _kept(self, digest: Digest, reader: IReader, offset: int) -> IReader:
        """What reads the same bytes: they are kept, if they are few and were not before.

        :raises BlobUnknown: they have another digest.
        """
        if offset or reader.size > SMALL or not IDistant.providedBy(self._storage) or self._small.get(digest):
            return reader
        content = await whole(reader, layout.blob(digest))
        if Digest.of(content, digest.algorithm) != digest:
            await self._lost(digest, Damaged(layout.blob(digest)))
            raise BlobUnknown(str(digest))
        self._small.keep(digest, (content, reader.modified), len(content) + OVERHEAD)
        return SmallReader(content, len(content), reader.modified)

    async def link_to(self, repository: Repository, digest: Digest) -> str | None:
        """Where clients read the blob themselves; ``None`` if it has to come through here.

        :raises BlobUnknown: the repository does not hold it.
        """
        if not IRedirects.providedBy(self._storage):
            return None
        lease, stat = await outcomes(self._lease(repository, digest), self._storage.stat(layout.blob(digest)))
        if isinstance(lease, Exception) or isinstance(stat, Exception) or _is_hollow(digest, stat.size):
            await self.size(repository, digest)         # which knows what to make of it
            return await self.link_to_content(digest)
        url: str = await IRedirects(self._storage).link(layout.blob(digest))
        return url

    def _lease(self, repository: Repository, digest: Digest) -> Deferred[Stat]:
        """Of the repository's link to a blob that is read, as it was a moment ago if that was asked for then."""
        link = layout.layer_link(repository, digest)
        if not self._belief:
            return self._storage.stat(link)
        believed = self._believed.get(link)
        if believed is not None and self._now() < believed[0]:
            return succeed(believed[1])
        return self._storage.stat(link).addCallback(self._believe, link, self._gone)

    def _believe(self, lease: Stat, link: str, gone: int) -> Stat:
        if gone == self._gone:
            self._believed.keep(link, (self._now() + self._belief, lease))
        return lease

    def forget_links(self) -> None:
        """Ask for each again: some have gone."""
        self._gone += 1
        self._believed.clear()

    async def link_to_content(self, digest: Digest) -> str | None:
        """As `link_to`, of a blob that is known to be there."""
        if not IRedirects.providedBy(self._storage):
            return None
        try:
            key, _ = await self._elsewhere(digest)
        except (NotFound, Damaged):
            key = layout.blob(digest)
        url: str = await IRedirects(self._storage).link(key)
        return url

    async def open_content(self, digest: Digest, offset: int = 0) -> IReader:
        """Open a blob that an image of protocol v1 has, whatever repository holds it.

        :raises BlobUnknown: its bytes are not there, or are not what they were.
        """
        try:
            return await self._storage.open(layout.blob(digest), offset)
        except NotFound:
            (reader,) = await outcomes(Deferred.fromCoroutine(self._open_elsewhere(digest, offset)))
        except Damaged as error:
            reader = error
        if isinstance(reader, Exception):
            await self._lost(digest, reader)
            raise BlobUnknown(str(digest))
        opened: IReader = reader
        return opened

    async def adopt(self, digest: Digest, key: str, size: int) -> None:
        """Let the bytes at ``key``, which docker-registry 0.x stored, be this blob."""
        try:
            await self._storage.stat(layout.blob(digest))
        except (NotFound, Damaged):
            await self._storage.put(layout.blob_at(digest), json.dumps({"key": key, "size": size}).encode())

    async def link(self, repository: Repository, digest: Digest) -> None:
        """Let the repository hold a blob whose bytes are there."""
        await self._storage.put(layout.layer_link(repository, digest), str(digest).encode())
        self._seen.keep(digest, repository)

    async def unlink(self, repository: Repository, digest: Digest) -> None:
        """:raises BlobUnknown: the repository does not hold it."""
        try:
            await self._storage.delete(layout.layer_link(repository, digest))
            self.forget_links()
        except NotFound:
            raise BlobUnknown(str(digest)) from None

    async def mount(self, repository: Repository, digest: Digest, source: Repository | None) -> bool:
        """Link a blob that another repository holds.

        :param source: where it is said to be, or ``None`` for wherever it is.
        :returns: whether it was there.
        """
        if source is None:
            source = await self._find(digest)
        (size,) = await self.sizes(source, [digest]) if source is not None else (None,)
        if source is None or size is None:
            return False
        await self.link(repository, digest)
        await self._events.tell(BlobMounted(repository, digest, size, source))
        return True

    async def _find(self, digest: Digest) -> Repository | None:
        """A repository that holds ``digest``: most often the one that was pushed to last."""
        try:
            await self._storage.stat(layout.blob(digest))
        except (NotFound, Damaged):
            return None
        hint = self._seen.get(digest)
        if hint is not None and (await self.sizes(hint, [digest])) != [None]:
            return hint
        after = ""
        while names := await self._catalogue.page(after, 100):
            found = await outcomes(*(self._storage.stat(layout.layer_link(name, digest)) for name in names))
            for name, lease in zip(names, found, strict=True):
                if not isinstance(lease, Exception):
                    return name
            after = names[-1].name
        return None

    async def _elsewhere(self, digest: Digest) -> tuple[str, int]:
        """The key that the blob's bytes lie at, if not at its own, and how many they are.

        :raises NotFound: nowhere.
        """
        content = await self._storage.get(layout.blob_at(digest))
        try:
            place = json.loads(content)
            key, size = place["key"], place["size"]
            if not isinstance(key, str) or not isinstance(size, int):
                raise TypeError(key)
        except (ValueError, KeyError, TypeError):
            raise NotFound(layout.blob_at(digest)) from None
        return key, size

    async def _stat_elsewhere(self, digest: Digest) -> Stat | Exception:
        try:
            key, size = await self._elsewhere(digest)
            stat = await self._storage.stat(key)
        except (NotFound, Damaged) as error:
            return error
        return stat if stat.size == size else Damaged(key)

    async def _open_elsewhere(self, digest: Digest, offset: int) -> IReader:
        key, size = await self._elsewhere(digest)
        reader = await self._storage.open(key, offset)
        if reader.size != size:
            reader.close()
            raise Damaged(key)
        return reader

    async def _renew(self, link: str, lease: Stat) -> None:
        if self._now() - lease.modified > LEASE:
            try:
                await self._storage.touch(link)
            except NotFound:
                self.log.debug("{link} went while its lease was renewed", link=link)

    async def _lost(self, digest: Digest, found: object) -> None:
        """The link is there, and the bytes are not, or are not what they were: so that the next push heals it (C7)."""
        if isinstance(found, Exception) and not isinstance(found, Damaged):
            expect(found, NotFound)
            return
        key = layout.blob(digest)
        self._small.forget(digest)
        self.log.error("{key} is damaged: moved to quarantine; push an image that has {digest} to heal it",
                       key=key, digest=str(digest), alert="damaged content")
        try:
            await self._storage.quarantine(key)
        except NotFound:
            self.log.debug("{key} went before it could be moved", key=key)


def _is_hollow(digest: Digest, size: int) -> bool:
    """A file cut to nothing, as a power cut leaves it under a registry that does not sync."""
    return size == 0 and digest != _EMPTY.get(digest.algorithm)


_EMPTY = {algorithm: Digest.of(b"", algorithm) for algorithm in ALGORITHMS}
