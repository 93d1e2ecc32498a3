"""What refers to a manifest: signatures, attestations (distribution-spec 1.1, "Listing Referrers")."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from docker_registry.deferreds import outcomes
from docker_registry.digest import ALGORITHMS, Digest
from docker_registry.errors import Damaged, NotFound, expect
from docker_registry.names import Repository, Tag
from docker_registry.registry.documents import Document
from docker_registry.registry.manifests import Manifest, Manifests
from docker_registry.registry.tags import Tags
from docker_registry.storage import layout
from docker_registry.storage.interface import IStorage

SLICE = 200
"""Digests listed at a time."""


@dataclass(frozen=True, slots=True)
class Referrer:
    """One entry of the list.

    :ivar size: of the manifest, in bytes.
    :ivar artifact_type: ``""`` is none.
    """

    digest: Digest
    media_type: str
    size: int
    artifact_type: str
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest: Manifest) -> Referrer:
        document: Document = manifest.document
        return cls(
            manifest.digest, document.media_type, len(manifest.content), document.artifact_type, document.annotations
        )


class Referrers:
    def __init__(self, storage: IStorage, manifests: Manifests, tags: Tags) -> None:
        self._storage = storage
        self._manifests = manifests
        self._tags = tags

    def find(self, repository: Repository, subject: Digest, after: str = "") -> Search:
        """What refers to ``subject``, beyond ``after`` (a digest as text, which need not be one of them).

        Neither the repository nor the subject need exist.
        """
        return Search(self, repository, subject, after)

    async def linked(self, repository: Repository, subject: Digest, after: str, limit: int) -> list[Digest]:
        """At most ``limit`` manifests that were pushed as referring to ``subject``; they may be gone since."""
        found: list[Digest] = []
        for algorithm in ALGORITHMS:
            prefix = f"{layout.referrers(repository, subject)}/{algorithm}"
            last = after.removeprefix(f"{algorithm}:") if after.startswith(f"{algorithm}:") else ""
            if f"{algorithm}:g" > after:            # g: beyond every digest of this algorithm
                entries = await self._storage.list(prefix, after=last, limit=limit - len(found))
                found += [Digest(algorithm, entry.name) for entry in entries if entry.is_prefix]
            if len(found) >= limit:
                break
        return found

    async def tagged(self, repository: Repository, subject: Digest) -> list[Digest]:
        """What clients listed under the tag that stands in where a registry cannot list referrers.

        distribution-spec 1.1, "Referrers Tag Schema": the digest cut to 32 and 64 characters, with a dash.
        """
        tag = Tag(f"{subject.algorithm[:32]}-{subject.hex[:64]}")
        try:
            manifest = await self._manifests.read(await self._tags.resolve(repository, tag))
        except NotFound:
            return []
        return [child.digest for child in manifest.document.children]

    async def held(self, repository: Repository, digest: Digest) -> Manifest | None:
        """The manifest, if the repository holds it."""
        (link,) = await outcomes(self._storage.stat(layout.revision_link(repository, digest)))
        expect(link, NotFound, Damaged)
        if isinstance(link, Exception):
            return None
        try:
            return await self._manifests.read(digest)
        except NotFound:
            return None


class Search:
    """Referrers of one subject, one after the other, ordered by their digests as text."""

    def __init__(self, referrers: Referrers, repository: Repository, subject: Digest, after: str) -> None:
        self._referrers = referrers
        self._repository = repository
        self._subject = subject
        self._after = after
        self._tagged: list[Digest] | None = None
        self._some: deque[Digest] = deque()

    async def next(self) -> Referrer | None:
        """``None`` after the last."""
        while self._some or await self._look_on():
            manifest = await self._referrers.held(self._repository, self._some.popleft())
            if manifest is not None:
                return Referrer.of(manifest)
        return None

    async def _look_on(self) -> bool:
        """Whether there are more."""
        if self._tagged is None:
            self._tagged = await self._referrers.tagged(self._repository, self._subject)
        linked = await self._referrers.linked(self._repository, self._subject, self._after, SLICE)
        tagged = [digest for digest in self._tagged if str(digest) > self._after]
        self._some.extend(sorted({*linked, *tagged}, key=str)[:SLICE])
        if self._some:
            self._after = str(self._some[-1])
        return bool(self._some)
