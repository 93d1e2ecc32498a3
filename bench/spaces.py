"""A prefix of a container of a real Swift on loopback: for a registry, and for curl."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from bench.curl import curl
from bench.failures import LoadFailed
from docker_registry.storage import layout
from docker_registry.test.servers.stores import Container, container


class Space:
    """See `bench.buckets.Place`."""

    def __init__(self) -> None:
        self._prefix = uuid.uuid4().hex

    @cached_property
    def _store(self) -> Container:
        """Started when it is needed."""
        return container()

    @property
    def ours(self) -> Mapping[str, object]:
        return self._store.options(storage_path=f"/{self._prefix}", swift_segment_size="8MiB")

    @property
    def others(self) -> Mapping[str, Any]:
        return self._store.theirs(self._prefix)

    def forget(self, digest: str) -> None:
        algorithm, _, value = digest.partition(":")
        key = f"{self._prefix}/{layout.CONTENT}{algorithm}/{value[:2]}/{value}/data"
        self._store.ask("DELETE", f"/{self._store.name}/{key}?multipart-manifest=delete")

    def make(self, data: bytes) -> str:
        """An object that is there from the start."""
        name = uuid.uuid4().hex
        status, _, _ = self._store.ask("PUT", self._path(name), data)
        if status != 201:
            raise LoadFailed(f"Swift does not take {len(data)} bytes: {status}")
        return name

    def push(self, files: Sequence[str], at_once: int) -> float:
        """What curl takes to make an object of each file, so many at a time, in seconds."""
        names = [uuid.uuid4().hex for _ in files]
        seconds = curl(self._store.token(), at_once, [
            [self._url(name), "-T", file] for name, file in zip(names, files, strict=True)
        ])
        for name in names:
            self._store.ask("DELETE", self._path(name))
        return seconds

    def pull(self, names: Sequence[str], at_once: int) -> float:
        """What it takes to read them and throw them away."""
        return curl(self._store.token(), at_once, [[self._url(name)] for name in names])

    def _path(self, name: str) -> str:
        return f"/{self._store.name}/plain/{self._prefix}/{name}"

    def _url(self, name: str) -> str:
        return f"{self._store.url}{self._path(name)}"
