"""Manifests and indexes: checked when they are pushed, immutable by digest, found by tag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from docker_registry.deferreds import Shield, outcomes, together
from docker_registry.digest import ALGORITHMS, CANONICAL, Digest
from docker_registry.errors import (
    BlobInUse,
    Damaged,
    DeletionDisabled,
    DigestMismatch,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    NotFound,
    expect,
)
from docker_registry.names import Repository, Tag
from docker_registry.registry import documents
from docker_registry.registry.blobs import Blobs
from docker_registry.registry.documents import Descriptor, Document
from docker_registry.registry.events import (
    BlobDeleted,
    Events,
    ManifestDeleted,
    ManifestPushed,
    RepositoryDeleted,
    TagDeleted,
)
from docker_registry.registry.locks import Locks
from docker_registry.registry.recent import Recent
from docker_registry.registry.settings import Settings
from docker_registry.registry.tags import Tags
from docker_registry.storage import layout
from docker_registry.storage.asking import pages
from docker_registry.storage.interface import IStorage
from docker_registry.threads import Runner

CACHE = 64 << 20
"""Bytes of memory for manifests. They never change; whether a repository holds one is asked of the store."""

BULK = 5
"""How many times its bytes a manifest takes in memory, with what was read from it."""

SLICE = 200
"""References checked in one turn of the reactor."""

HASTY = 64 << 10
"""Bytes up to which a manifest is hashed and parsed without a thread."""

PARSING = 1
"""Manifests beyond that are parsed at a time: the interpreter would not do more, and each takes its memory."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """:ivar digest: as it was asked for, or as its tag was made: its algorithm is the client's choice."""

    digest: Digest
    content: bytes
    document: Document


class Manifests:
    log = Logger()

    def __init__(
        self,
        storage: IStorage,
        runner: Runner,
        settings: Settings,
        blobs: Blobs,
        tags: Tags,
        locks: Locks,
        shield: Shield,
        events: Events,
    ) -> None:
        self._storage = storage
        self._runner = runner
        self._settings = settings
        self._blobs = blobs
        self._tags = tags
        self._locks = locks
        self._shield = shield
        self._events = events
        self._cache: Recent[Digest, Manifest] = Recent(CACHE)
        self._parsing = DeferredSemaphore(PARSING)

    async def get(self, repository: Repository, reference: Tag | Digest) -> Manifest:
        """:raises ManifestUnknown: no such tag or manifest in this repository."""
        try:
            if isinstance(reference, Tag):
                digest = await self._tags.resolve(repository, reference)
            else:
                digest = reference
                await self._storage.stat(layout.revision_link(repository, digest))
            return self._cache.get(digest) or await self._read(digest)
        except (NotFound, Damaged):
            raise ManifestUnknown(str(reference)) from None

    async def put(
        self,
        repository: Repository,
        reference: Tag | Digest,
        content: bytes,
        content_type: str | None,
        tags: Sequence[Tag] = (),
    ) -> Manifest:
        """Store a manifest and point tags at it.

        :param tags: to be made besides, when ``reference`` is a digest.
        :raises DigestMismatch: ``reference`` is not the content's digest.
        :raises ManifestInvalid: see `documents.read`.
        :raises ManifestTooLarge: longer than the limit.
        :raises ManifestBlobUnknown: refers to what the repository does not hold.
        """
        if len(content) > self._settings.max_manifest_bytes:
            raise ManifestTooLarge(f"a manifest has at most {self._settings.max_manifest_bytes} bytes")
        if isinstance(reference, Tag):
            algorithm, tags = CANONICAL, [reference]
        else:
            algorithm = reference.algorithm
        manifest = await self._parse(content, algorithm, content_type)
        if isinstance(reference, Digest) and manifest.digest != reference:
            raise DigestMismatch(str(reference))
        await self._shield(self._put(repository, manifest, tags))
        return manifest

    async def untag(self, repository: Repository, tag: Tag) -> None:
        """Remove a tag; the manifest stays.

        :raises ManifestUnknown: no such tag.
        :raises DeletionDisabled: deleting is switched off.
        """
        self.check_deletion()
        await self._shield(self._untag(repository, tag))

    async def delete(self, repository: Repository, digest: Digest) -> None:
        """Remove a manifest from the repository, with all tags that point at it.

        :raises ManifestUnknown: the repository does not hold it.
        :raises DeletionDisabled: deleting is switched off.
        """
        self.check_deletion()
        await self._shield(self._delete(repository, digest))

    async def delete_all(self, repository: Repository) -> None:
        """Empty a repository: its tags, its manifests, and its hold on blobs.

        :raises DeletionDisabled: deleting is switched off.
        """
        self.check_deletion()
        await self._shield(self._delete_all(repository))

    async def delete_blob(self, repository: Repository, digest: Digest) -> None:
        """Remove a blob from the repository; other repositories keep it.

        :raises BlobUnknown: the repository does not hold it.
        :raises BlobInUse: a manifest in the repository refers to it.
        :raises DeletionDisabled: deleting is switched off.
        """
        self.check_deletion()
        await self._shield(self._delete_blob(repository, digest))

    async def digests(self, repository: Repository) -> list[Digest]:
        """All manifests that the repository holds."""
        found: list[Digest] = []
        for algorithm in ALGORITHMS:
            async for entries in pages(self._storage, layout.revisions(repository, algorithm)):
                digests = [Digest(algorithm, entry.name) for entry in entries if entry.is_prefix]
                for at in range(0, len(digests), SLICE):
                    some = digests[at : at + SLICE]
                    links = await outcomes(
                        *(self._storage.stat(layout.revision_link(repository, digest)) for digest in some)
                    )
                    found += [each for each, link in zip(some, links, strict=True) if not isinstance(link, NotFound)]
        return found

    # Reading

    async def read(self, digest: Digest) -> Manifest:
        """A manifest that some repository is known to hold.

        :raises NotFound: its bytes are not there, or are not what they were.
        """
        return self._cache.get(digest) or await self._read(digest)

    async def glance(self, digest: Digest) -> Manifest:
        """As `read`, for those who go through all of them: what others need stays in memory instead."""
        return self._cache.get(digest) or await self._read(digest, keep=False)

    async def _read(self, digest: Digest, keep: bool = True) -> Manifest:
        key = layout.blob(digest)
        try:
            content = await self._storage.get(key)
            manifest = await self._parse(content, digest.algorithm, None)
            if manifest.digest != digest:
                raise Damaged(key)
        except (Damaged, ManifestInvalid):
            self.log.error("{key} is damaged: moved to quarantine; push the image again to heal it", key=key,
                           alert="damaged content")
            await self._storage.quarantine(key)
            raise NotFound(key) from None
        if keep:
            self._remember(manifest)
        return manifest

    def _remember(self, manifest: Manifest) -> None:
        self._cache.keep(manifest.digest, manifest, BULK * len(manifest.content))

    async def _parse(self, content: bytes, algorithm: str, content_type: str | None) -> Manifest:
        def parse() -> Manifest:
            try:
                document = documents.read(content, content_type, self._settings.max_references)
            except ManifestInvalid as error:
                problem = str(error)            # without the traceback, which holds all that was parsed
            else:
                return Manifest(Digest.of(content, algorithm), content, document)
            raise ManifestInvalid(problem)

        if len(content) <= HASTY:
            return parse()
        await self._parsing.acquire()
        try:
            return await self._runner.slow(parse)
        finally:
            self._parsing.release()

    # Writing: runs to its end, though the client may go away.

    async def _put(self, repository: Repository, manifest: Manifest, tags: Sequence[Tag]) -> None:
        async with self._locks.held(repository):
            await self._store(repository, manifest, tags)
            await self._events.tell(
                ManifestPushed(repository, manifest.digest, len(manifest.content), manifest.document, tuple(tags))
            )

    async def put_made(self, repository: Repository, content: bytes) -> Manifest:
        """Store a manifest that was made here. Whoever calls has the lock of the repository, is not cancelled, and
        tells of it."""
        manifest = await self._parse(content, CANONICAL, None)
        await self._store(repository, manifest, ())
        return manifest

    async def _store(self, repository: Repository, manifest: Manifest, tags: Sequence[Tag]) -> None:
        digest, link = manifest.digest, str(manifest.digest).encode()
        await self._check(repository, manifest.document)
        contents = {layout.blob(digest): manifest.content}
        if manifest.document.subject is not None:
            contents[layout.referrer_link(repository, manifest.document.subject.digest, digest)] = link
        await together(*(self._storage.put(key, content) for key, content in contents.items()))
        # From here on the repository holds it, and lists it among the referrers of its subject.
        await self._storage.put(layout.revision_link(repository, digest), link)
        await self._tags.point(repository, tags, digest)
        self._remember(manifest)
        self.log.info(
            "pushed {repository} {digest} {tags}",
            repository=repository.name, digest=str(digest), tags=",".join(tag.name for tag in tags),
        )

    async def _check(self, repository: Repository, document: Document) -> None:
        """What the manifest refers to is in the repository, and as long as it says."""
        blobs = await self._blob_sizes(repository, document.blobs)
        children = await self._child_sizes(repository, document.children)
        missing = [
            each for each, size in zip(document.blobs, blobs, strict=True) if size is None and each.is_distributed
        ]
        if not self._settings.allow_missing_children:
            missing += [each for each, size in zip(document.children, children, strict=True) if size is None]
        if missing:
            raise ManifestBlobUnknown(list(dict.fromkeys(str(each.digest) for each in missing)))
        for each, size in zip((*document.blobs, *document.children), (*blobs, *children), strict=True):
            if size is not None and size != each.size:
                raise ManifestInvalid(f"{each.digest} has {size} bytes, not {each.size}")

    async def _blob_sizes(self, repository: Repository, blobs: Sequence[Descriptor]) -> list[int | None]:
        sizes: list[int | None] = []
        for at in range(0, len(blobs), SLICE):
            await self._turn(at)
            sizes += await self._blobs.sizes(repository, [each.digest for each in blobs[at : at + SLICE]])
        return sizes

    async def _child_sizes(self, repository: Repository, children: Sequence[Descriptor]) -> list[int | None]:
        sizes: list[int | None] = []
        for at in range(0, len(children), SLICE):
            await self._turn(at)
            some = [each.digest for each in children[at : at + SLICE]]
            links = [layout.revision_link(repository, digest) for digest in some]
            found = await outcomes(*(self._storage.stat(key) for key in [*links, *map(layout.blob, some)]))
            for link, stat in zip(found[: len(some)], found[len(some) :], strict=True):
                expect(link, NotFound, Damaged)
                expect(stat, NotFound, Damaged)
                sizes.append(None if isinstance(link, Exception) or isinstance(stat, Exception) else stat.size)
        return sizes

    async def _turn(self, done: int) -> None:
        """After each slice of what is looked at, let others have a turn: what is in memory is found without waiting."""
        if done and done % SLICE == 0:
            await self._runner.quick(_nothing)

    async def _untag(self, repository: Repository, tag: Tag) -> None:
        async with self._locks.held(repository):
            try:
                await self._tags.remove(repository, tag)
            except NotFound:
                raise ManifestUnknown(str(tag)) from None
            await self._events.tell(TagDeleted(repository, tag))
        self.log.info("deleted {repository}:{tag}", repository=repository.name, tag=tag.name)

    async def _delete(self, repository: Repository, digest: Digest) -> None:
        """The tags go before the link, so that a crash between leaves none that points at nothing. What lists it as a
        referrer goes after it: that counts only as long as the link is there."""
        async with self._locks.held(repository):
            subject = await self._subject(repository, digest)
            tags = await self._tags.remove_all(repository, digest)
            await self._storage.delete_tree(layout.revision(repository, digest))
            if subject is not None:
                await self._storage.delete_tree(layout.referrer(repository, subject, digest))
            await self._tidy(repository)
            await self._events.tell(ManifestDeleted(repository, digest, tuple(tags)))
        self.log.info("deleted {repository} {digest}", repository=repository.name, digest=str(digest))

    async def _tidy(self, repository: Repository) -> None:
        """Directories that hold nothing any more would go on being a repository in listings and searches."""
        places = [layout.tags(repository), *(layout.revisions(repository, each) for each in ALGORITHMS)]
        listed = await together(*[self._storage.list(place, limit=1) for place in places])
        if not any(listed):
            await self._storage.delete_tree(layout.manifests(repository))

    async def _delete_all(self, repository: Repository) -> None:
        """What an old store says goes first: it would count again. Otherwise in the order of `_delete`."""
        held = [layout.revisions(repository, each) for each in ALGORITHMS]
        async with self._locks.held(repository):
            await self._tags.forget_old_repository(repository)
            for tree in (layout.tags(repository), *held, layout.manifests(repository), layout.layers(repository)):
                await self._storage.delete_tree(tree)
            self._blobs.forget_links()
            await self._events.tell(RepositoryDeleted(repository))
        self.log.info("deleted {repository}", repository=repository.name)

    async def _subject(self, repository: Repository, digest: Digest) -> Digest | None:
        """:raises ManifestUnknown: the repository does not hold the manifest."""
        try:
            await self._storage.stat(layout.revision_link(repository, digest))
        except (NotFound, Damaged):
            raise ManifestUnknown(str(digest)) from None
        try:
            document = (await self.read(digest)).document
        except NotFound:                # its bytes were lost: the link goes all the same
            return None
        return document.subject.digest if document.subject else None

    async def _delete_blob(self, repository: Repository, digest: Digest) -> None:
        async with self._locks.held(repository):
            await self._blobs.size(repository, digest)
            for at, each in enumerate(await self.digests(repository)):
                await self._turn(at)
                try:
                    manifest = await self.read(each)
                except NotFound:
                    continue
                if manifest.document.mentions(digest):
                    raise BlobInUse(str(each))
            await self._blobs.unlink(repository, digest)
            await self._events.tell(BlobDeleted(repository, digest))
        self.log.info("deleted blob {repository} {digest}", repository=repository.name, digest=str(digest))

    def check_deletion(self) -> None:
        """:raises DeletionDisabled: deleting is switched off."""
        if not self._settings.delete_enabled:
            raise DeletionDisabled()


def _nothing() -> None:
    """To come back from a thread is to come back in another turn of the reactor."""
