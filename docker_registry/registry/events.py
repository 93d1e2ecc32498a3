"""What has changed in the registry, told to those who asked to hear of it.

Whoever changes something tells so when the store has it, and before the client is answered; under the lock of the
repository, so that what one process does to a repository is heard in the order in which it was done.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from docker_registry.complaints import log_failed
from docker_registry.digest import Digest
from docker_registry.names import ImageId, Repository, Tag
from docker_registry.registry.documents import Document


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to a repository."""

    repository: Repository


@dataclass(frozen=True, slots=True)
class BlobPushed(Event):
    """:ivar size: in bytes."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class BlobMounted(Event):
    """:ivar source: the repository that it was taken from."""

    digest: Digest
    size: int
    source: Repository


@dataclass(frozen=True, slots=True)
class BlobDeleted(Event):
    digest: Digest


@dataclass(frozen=True, slots=True)
class ManifestPushed(Event):
    """:ivar size: bytes of the manifest itself.
    :ivar tags: that stand for it from now on; there may be none.
    """

    digest: Digest
    size: int
    document: Document
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class ManifestDeleted(Event):
    """:ivar tags: that stood for it, and went with it."""

    digest: Digest
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class TagSet(Event):
    """By protocol v1: the tag stands for an image, and later for the manifest that the image makes."""

    tag: Tag
    target: ImageId


@dataclass(frozen=True, slots=True)
class ManifestMade(Event):
    """Of the image that a tag of protocol v1 stands for; the tag stands for the manifest from now on.

    :ivar size: bytes of the manifest itself.
    :ivar is_pushed: whether the tag was set just now. If not, docker-registry 0.x may have left it, and somebody pulls
        what it stands for.
    """

    digest: Digest
    size: int
    document: Document
    tag: Tag
    is_pushed: bool


@dataclass(frozen=True, slots=True)
class TagDeleted(Event):
    tag: Tag


@dataclass(frozen=True, slots=True)
class RepositoryDeleted(Event):
    """All its tags and manifests went."""


@dataclass(frozen=True, slots=True)
class AccessChanged(Event):
    private: bool


@dataclass(frozen=True, slots=True)
class Pulled(Event):
    """Something was read, and nothing changed: told by whoever answers, to those who asked to hear of it.

    :ivar size: in bytes, of the whole.
    """

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class ManifestPulled(Pulled):
    """:ivar tag: by which it was asked for; ``None`` if by its digest."""

    document: Document
    tag: Tag | None = None


@dataclass(frozen=True, slots=True)
class BlobPulled(Pulled):
    pass


Observer: TypeAlias = Callable[[Event], Coroutine[Deferred[Any], Any, None]]


class Events:
    log = Logger()

    def __init__(self) -> None:
        self._observers: list[Observer] = []
        self._of_pulls: list[Observer] = []

    def subscribe(self, observer: Observer, pulls: bool = False) -> None:
        """Let ``observer`` hear of every change. It is waited for: what it does must be short, and bounded.

        :param pulls: whether it hears of pulls as well.
        """
        self._observers.append(observer)
        if pulls:
            self._of_pulls.append(observer)

    @property
    def of_pulls(self) -> bool:
        """Whether anybody hears of pulls: most often nobody does, and there are many."""
        return bool(self._of_pulls)

    async def tell(self, event: Event) -> None:
        """Fires when all have heard it. What fails in one is logged: what happened has happened."""
        for observer in self._of_pulls if isinstance(event, Pulled) else self._observers:
            try:
                await observer(event)
            except CancelledError:
                raise
            except Exception:
                log_failed(self.log, "{event} of {repository} was not noted",
                           event=type(event).__name__, repository=str(event.repository))
