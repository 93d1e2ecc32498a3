"""What refers to a manifest: signatures, attestations (distribution-spec 1.1, "Listing Referrers")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from docker_registry.deferreds import outcomes
from docker_registry.digest import Digest
from docker_registry.errors import NotFound
from docker_registry.names import Repository, Tag
from docker_registry.registry.documents import Document
from docker_registry.registry.manifests import Manifest, Manifests
from docker_registry.registry.tags import Tags
from docker_registry.storage import layout
from docker_registry.storage.interface import IStorage

ALGORITHMS = ("sha256", "sha512")


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

    async def page(self, repository: Repository, subject: Digest, after: str, limit: int) -> list[Referrer]:
        """At most ``limit`` manifests that refer to ``subject``, ordered by their digests as text, beyond ``after``.

        Neither the repository nor the subject need exist.
        """
        found = dict.fromkeys(await self._linked(repository, subject, after, limit))
        for digest in await self._tagged(repository, subject):
            if str(digest) > after:
                found[digest] = None
        digests = sorted(found, key=str)[:limit]
        return [Referrer.of(manifest) for digest in digests if (manifest := await self._held(repository, digest))]

    async def _linked(self, repository: Repository, subject: Digest, after: str, limit: int) -> list[Digest]:
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

    async def _tagged(self, repository: Repository, subject: Digest) -> list[Digest]:
        """What clients listed under the tag that stands in where a registry cannot list referrers.

        distribution-spec 1.1, "Referrers Tag Schema": the digest cut to 32 and 64 characters, with a dash.
        """
        tag = Tag(f"{subject.algorithm[:32]}-{subject.hex[:64]}")
        try:
            manifest = await self._manifests.read(await self._tags.resolve(repository, tag))
        except NotFound:
            return []
        return [child.digest for child in manifest.document.children]

    async def _held(self, repository: Repository, digest: Digest) -> Manifest | None:
        (link,) = await outcomes(self._storage.stat(layout.revision_link(repository, digest)))
        if isinstance(link, NotFound):
            return None
        if isinstance(link, Exception):
            raise link
        try:
            return await self._manifests.read(digest)
        except NotFound:
            return None
