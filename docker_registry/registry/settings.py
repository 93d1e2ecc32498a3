"""The registry's limits and switches, as the core sees them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """:ivar max_manifest_bytes: longest manifest, or document of protocol v1; clients count on 4 MiB
        (distribution-spec 1.1, "Pushing manifests").
    :ivar max_references: descriptors in one manifest.
    :ivar max_page: entries in one page of a listing; who asks for more gets a link to the next.
    :ivar max_uploads: open upload sessions.
    :ivar upload_purge_age: seconds without a byte after which a session is removed.
    :ivar delete_enabled: whether tags, manifests and blobs may be deleted.
    :ivar allow_missing_children: whether an index may name manifests that the repository does not hold.
    :ivar catalogue_refresh: seconds after which the catalogue is read from the store again, because others write to it
        as well; 0 is never.
    :ivar link_belief: seconds for which who reads a blob is spared the question whether its repository still holds it;
        0 where others may remove it.
    """

    max_manifest_bytes: int = 4 << 20
    max_references: int = 10_000
    max_page: int = 1000
    max_uploads: int = 10_000
    upload_purge_age: float = 7 * 24 * 3600.0
    delete_enabled: bool = True
    allow_missing_children: bool = False
    catalogue_refresh: float = 0.0
    link_belief: float = 0.0
