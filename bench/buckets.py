"""Registries over a bucket: a real store on loopback, and a prefix of it for each."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Protocol

from docker_registry.test.servers.stores import Store, swift


class Place(Protocol):
    """Where a registry keeps its blobs, if not in a directory."""

    @property
    def ours(self) -> Mapping[str, object]:
        """Options of this registry."""

    @property
    def others(self) -> Mapping[str, Any]:
        """What stands below ``storage`` of the other one."""

    def forget(self, digest: str) -> None:
        """Give back the room of a blob that nobody asks for any more."""


class Bucket:
    """:param redirects: whether clients are sent to the store for blobs."""

    def __init__(self, redirects: bool) -> None:
        self._store: Store = swift()
        self._prefix = f"/{uuid.uuid4().hex}"
        self._redirects = redirects

    @property
    def ours(self) -> Mapping[str, object]:
        """Options of this registry: those of a new installation, but for where the bucket is."""
        return self._store.options(
            storage_path=self._prefix, storage_redirect=self._redirects, s3_part_size="8MiB"
        )

    @property
    def others(self) -> Mapping[str, Any]:
        """What stands below ``storage`` of the other one."""
        return {**self._store.theirs(self._prefix), "redirect": {"disable": not self._redirects}}

    def forget(self, digest: str) -> None:
        """Give back the room of a blob that nobody asks for any more."""
        algorithm, _, value = digest.partition(":")
        key = f"{self._prefix[1:]}/docker/registry/v2/blobs/{algorithm}/{value[:2]}/{value}/data"
        self._store.client().delete_object(Bucket=self._store.bucket, Key=key)
