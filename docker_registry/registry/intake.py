"""The bytes of a v1 layer on their way into the store, and what is computed of them on that way."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from docker_registry.deferreds import together
from docker_registry.names import UploadId
from docker_registry.registry.archive_limits import ArchiveLimits
from docker_registry.registry.checksums import LayerSums, TarsumVersion, UnpackedSums
from docker_registry.registry.layers import Layer
from docker_registry.registry.uploads import PIECE, Source
from docker_registry.storage import layout
from docker_registry.storage.interface import Digester, IReader, IStorage
from docker_registry.threads import Runner

Opener = Callable[[], Coroutine[Deferred[Any], Any, IReader]]


class Intake:
    """Archives are unpacked in threads, piece by piece, and never to the disk (T15, T16)."""

    def __init__(self, storage: IStorage, runner: Runner) -> None:
        self._storage = storage
        self._runner = runner

    async def receive(self, source: Source, image_json: bytes) -> Layer:
        """Store what comes as a blob. When the source fails nothing of it is kept.

        The blob's own digest and the unpacking take a thread each: either costs about as much as the other.
        """
        sums = LayerSums(image_json)
        writer = await self._storage.create(layout.layer_upload(UploadId.new()))
        try:
            while parts := await source.read():
                await together(writer.write(parts, [sums.raw]), self._runner.slow(_show, sums.unpacked, parts))
            layer = await self._runner.slow(sums.finish)
            await writer.commit(layout.blob(layer.digest))
        except BaseException:
            await writer.abandon()
            raise
        return layer

    async def read(self, opener: Opener, image_json: bytes) -> Layer:
        """What `receive` would have computed, of bytes that are stored."""
        sums = LayerSums(image_json)

        async def show(piece: bytes) -> None:
            await together(
                self._runner.slow(sums.raw.update, piece), self._runner.slow(sums.unpacked.update, piece)
            )

        await self._each_piece(opener, show)
        return await self._runner.slow(sums.finish)

    async def tarsums(self, opener: Opener, image_json: bytes) -> tuple[str, ...]:
        """The checksums over the members of the archive, as docker before 0.9 sent them; none if it is no archive."""
        sums = UnpackedSums(image_json, list(TarsumVersion), ArchiveLimits())
        await self.feed(opener, sums)
        await self._runner.slow(sums.finish)
        return sums.sums

    async def feed(self, opener: Opener, digester: Digester) -> None:
        """Show stored bytes to ``digester``, off the reactor."""

        async def show(piece: bytes) -> None:
            await self._runner.slow(digester.update, piece)

        await self._each_piece(opener, show)

    async def _each_piece(self, opener: Opener, show: Callable[[bytes], Coroutine[Deferred[Any], Any, None]]) -> None:
        reader = await opener()
        try:
            while piece := await reader.read(PIECE):
                await show(piece)
        finally:
            reader.close()


def _show(digester: Digester, parts: Sequence[bytes]) -> None:
    digester.update(b"".join(parts))        # each call gives the interpreter's lock away, and waits to have it back

