"""The bytes of a v1 layer on their way into the store, and what is computed of them on that way."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from docker_registry.deferreds import together
from docker_registry.names import UploadId
from docker_registry.registry.archive_limits import ArchiveLimits
from docker_registry.registry.arriving import Source
from docker_registry.registry.checksums import LayerSums, RawSums, TarsumVersion, UnpackedSums
from docker_registry.registry.layers import Layer
from docker_registry.registry.uploads import PIECE
from docker_registry.storage import layout
from docker_registry.storage.interface import Digester, IReader, IStorage
from docker_registry.threads import Runner

Opener = Callable[[], Coroutine[Deferred[Any], Any, IReader]]


class Intake:
    """Archives are unpacked in threads, piece by piece, and never to the disk (T15, T16)."""

    def __init__(self, storage: IStorage, runner: Runner) -> None:
        self._storage = storage
        self._runner = runner
        self.stopped = False
        """Set when the daemon stops: what is stored can be read at another time."""
        self.bytes_read = 0
        """Of what was stored, and had to be read again: for whoever shows how far that is."""

    async def receive(self, source: Source, image_json: bytes) -> Layer:
        """Store what comes as a blob. When the source fails nothing of it is kept.

        The two sums have a thread each. Unpacking would take longer than both, and is left for later: `measure`.
        """
        sums = RawSums(image_json)
        writer = await self._storage.create(layout.layer_upload(UploadId.new()))
        try:
            while parts := await source.read():
                await together(
                    writer.write(parts, [sums.content]), self._runner.slow(_show, sums.with_json, parts)
                )
            size = writer.offset
            await writer.commit(layout.blob(sums.digest))
        except BaseException:
            await writer.abandon()
            raise
        return Layer(sums.digest, size, None, None, "", (sums.payload,))

    async def measure(
        self, opener: Opener, layer: Layer, image_json: bytes = b"", tarsums: Sequence[TarsumVersion] = ()
    ) -> Layer:
        """The same with what comes out when it is unpacked.

        :param tarsums: checksums over the members of the archive, as docker before 0.9 sent them; those are added that
            could be computed.
        """
        sums = UnpackedSums(image_json, tarsums, ArchiveLimits())
        await self.feed(opener, sums)
        await self._runner.slow(sums.finish)
        return replace(
            layer, diff_id=sums.diff_id, unpacked=sums.size, media_type=sums.media_type, sums=layer.sums + sums.sums
        )

    async def read(self, opener: Opener, image_json: bytes) -> Layer:
        """What `receive` and `measure` would have found, of bytes that are stored."""
        sums = LayerSums(image_json)

        async def show(piece: bytes) -> None:
            await together(
                self._runner.slow(sums.raw.update, piece), self._runner.slow(sums.unpacked.update, piece)
            )

        await self._each_piece(opener, show)
        return await self._runner.slow(sums.finish)

    async def feed(self, opener: Opener, digester: Digester) -> None:
        """Show stored bytes to ``digester``, off the reactor."""

        async def show(piece: bytes) -> None:
            await self._runner.slow(digester.update, piece)

        await self._each_piece(opener, show)

    async def _each_piece(self, opener: Opener, show: Callable[[bytes], Coroutine[Deferred[Any], Any, None]]) -> None:
        reader = await opener()
        try:
            while piece := await reader.read(PIECE):
                if self.stopped:
                    raise CancelledError()
                await show(piece)
                self.bytes_read += len(piece)
        finally:
            reader.close()


def _show(digester: Digester, parts: Sequence[bytes]) -> None:
    digester.update(b"".join(parts))        # each call gives the interpreter's lock away, and waits to have it back

