"""A registry over memory, whose time stands still until a test moves it."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.digest import Digest
from docker_registry.names import Repository, Tag
from docker_registry.registry.documents import OCI_INDEX, OCI_MANIFEST
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.registry.uploads import Chunk
from docker_registry.storage.memory import MemoryStorage

P = ParamSpec("P")
R = TypeVar("R")

REPOSITORY = Repository("library/busybox")
OTHER = Repository("other")
LATEST = Tag("latest")


class Direct:
    """The `Runner` that runs at once."""

    def quick(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Deferred[R]:
        return execute(function, *args, **kwargs)

    slow = quick


class Parts:
    """A source whose bytes are at hand.

    :param error: what happens after the last of them.
    """

    def __init__(self, *parts: bytes, error: Exception | None = None) -> None:
        self._parts = list(parts)
        self._error = error

    async def read(self) -> Sequence[bytes]:
        if self._parts:
            return [self._parts.pop(0)]
        if self._error is not None:
            raise self._error
        return []


class Held:
    """A source that waits until the test gives it something."""

    def __init__(self) -> None:
        self.waiting: Deferred[Sequence[bytes]] | None = None

    async def read(self) -> Sequence[bytes]:
        self.waiting = Deferred()
        return await self.waiting

    def give(self, *parts: bytes) -> None:
        waiting, self.waiting = self.waiting, None
        assert waiting is not None
        waiting.callback(parts)

    def fail(self, error: Exception) -> None:
        waiting, self.waiting = self.waiting, None
        assert waiting is not None
        waiting.errback(error)


class RegistryCase(SynchronousTestCase):
    settings = Settings()

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.storage = MemoryStorage(self.clock)
        self.registry = self.open()

    def open(self) -> Registry:
        """Another process over the same store."""
        return Registry(self.storage, Direct(), self.clock, self.settings, self.clock.seconds)

    def now(self, work: Coroutine[Deferred[Any], Any, R]) -> R:
        """What ``work`` comes to, without waiting."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def fails(self, work: Coroutine[Deferred[Any], Any, Any], error: type[Exception]) -> Any:
        """The error that ``work`` ends with."""
        return self.failureResultOf(Deferred.fromCoroutine(work), error).value

    def push_blob(self, content: bytes, repository: Repository = REPOSITORY) -> Digest:
        digest = Digest.of(content)
        self.now(self.registry.uploads.take(repository, digest, Parts(content), Chunk()))
        return digest

    def push(
        self, content: bytes, reference: Tag | Digest | None = LATEST, repository: Repository = REPOSITORY
    ) -> Digest:
        reference = reference or Digest.of(content)
        return self.now(self.registry.manifests.put(repository, reference, content, None)).digest

    def image(self, *layers: bytes, repository: Repository = REPOSITORY, **members: Any) -> bytes:
        """The manifest of an image whose blobs are pushed."""
        described = [self.describe(layer, repository) for layer in layers]
        return json.dumps({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": self.describe(b"{}", repository),
            "layers": described, **members,
        }).encode()

    def describe(self, content: bytes, repository: Repository = REPOSITORY) -> dict[str, Any]:
        digest = self.push_blob(content, repository)
        return {"mediaType": "application/octet-stream", "digest": str(digest), "size": len(content)}


def index(*manifests: bytes, **members: Any) -> bytes:
    described = [
        {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(each)), "size": len(each)} for each in manifests
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": described, **members}).encode()
