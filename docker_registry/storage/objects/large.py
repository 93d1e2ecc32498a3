"""How a store makes a large object of parts: what `docker_registry.storage.objects.writer` needs to know of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from docker_registry.storage.flows import Octets
from docker_registry.storage.objects.filling import Filling
from docker_registry.storage.objects.session import Session


class Upload(Protocol):
    """An object in the making, at a key that is known."""

    async def begin(self) -> None:
        """Comes before the first part."""

    async def part(self, number: int, parts: Sequence[Octets]) -> None:
        """Send a part, the first one having number 0."""

    async def complete(self, size: int) -> None:
        """Make an object of the parts, in one step.

        :param size: of all of them.
        """

    async def give_up(self) -> None:
        """Remove the parts; never fails: what is left of them is found by its age."""


@runtime_checkable
class StreamingUpload(Upload, Protocol):
    """That of a store that takes parts whose bytes are still coming."""

    async def stream(self, number: int, filling: Filling) -> None:
        """Send such a part. Whoever cancels that has sent none."""


class Large(Protocol):
    """Where the pieces of uploads lie whose digest is not known yet, and what becomes of them."""

    def piece(self, key: str, run: str, number: int) -> str:
        """Of a `docker_registry.storage.objects.session.Naming`."""

    async def begin(self, key: str, run: str) -> None:
        """Comes before the first piece of a run.

        :param key: of the upload.
        """

    async def send(self, piece: str, parts: Sequence[Octets]) -> None:
        """Store a piece.

        :param piece: its key.
        """

    async def join(self, session: Session, run: str, target: str) -> None:
        """Make one object of what an upload consists of, in one step.

        :param run: of the writer, which may have no piece yet.
        """

    async def remove(self, session: Session, run: str, joined: bool) -> None:
        """Remove what is left of an upload, and what may stand at its key.

        :param joined: whether its pieces are those of an object now.
        """

    async def publish(self, target: str, parts: Sequence[Octets]) -> None:
        """Store an object of one part, in place of whatever stands there."""

    def upload(self, target: str) -> Upload:
        """A new one."""
