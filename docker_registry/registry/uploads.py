"""Upload sessions: bytes in, a blob out.

A session is two keys: the bytes, and a state that says how many of them are durable and what digest those have. The
state is written after the bytes are synced, so it never claims too much; what lies beyond it is cut off on resuming.
As long as the bytes are few, the state has them with it, and there is one key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from docker_registry.deferreds import Shield, together
from docker_registry.digest import CANONICAL, Digest, Hash, new_hash
from docker_registry.errors import (
    Damaged,
    DigestMismatch,
    RangeInvalid,
    SizeInvalid,
    StorageError,
    StorageFull,
    StoreUnavailable,
    TooManyUploads,
)
from docker_registry.names import Repository, UploadId
from docker_registry.registry.arriving import FEW, Ahead, Arriving, Source
from docker_registry.registry.blobs import Blobs
from docker_registry.registry.events import BlobPushed, Events
from docker_registry.registry.locks import Locks
from docker_registry.registry.sessions import Session, Sessions
from docker_registry.registry.settings import Settings
from docker_registry.registry.shared import Count
from docker_registry.registry.upload_state import State
from docker_registry.storage import layout
from docker_registry.storage.interface import IDirect, IDistant, IFlat, IStorage, IWriter
from docker_registry.threads import Runner

PIECE = 1 << 20
"""Bytes read at a time when a session's bytes are hashed again."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The bytes that a request announces.

    :ivar first: their place in the blob; ``None`` is wherever the session stands.
    :ivar length: how many they are said to be, ``None`` if nobody said.
    :ivar sent: how many will come, ``None`` if that is not known before they end.
    """

    first: int | None = None
    length: int | None = None
    sent: int | None = None

    @property
    def may_be_small_blob(self) -> bool:
        """Whether the request says that there are few, and does not say that others came before."""
        return 0 < (self.length or 0) <= FEW and self.sent in (None, self.length) and not self.first


class Uploads:
    log = Logger()

    def __init__(
        self,
        storage: IStorage,
        runner: Runner,
        now: Callable[[], float],
        settings: Settings,
        blobs: Blobs,
        shield: Shield,
        locks: Locks,
        count: Count,
        events: Events,
    ) -> None:
        self._storage = storage
        self._runner = runner
        self._now = now
        self._settings = settings
        self._blobs = blobs
        self._shield = shield
        self._locks = locks
        self._count = count
        self._events = events
        self._sessions = Sessions(storage, now)

    async def start(self, repository: Repository, algorithm: str = CANONICAL) -> UploadId:
        """Open a session.

        :param algorithm: of the digest that the blob will be given, if the client says so beforehand.
        :raises DigestInvalid: an unsupported algorithm.
        :raises TooManyUploads: as many sessions are open as may be.
        """
        if self.open >= self._settings.max_uploads:
            raise TooManyUploads()
        session = self._sessions.new(repository, algorithm)
        await self._shield(self._begin(session))
        return session.id

    async def offset(self, repository: Repository, upload: UploadId) -> int:
        """Bytes that the session holds durably.

        :raises UploadUnknown: no such session in this repository.
        """
        return (await self._sessions.load(repository, upload)).state.offset

    async def append(self, repository: Repository, upload: UploadId, source: Source, chunk: Chunk) -> int:
        """Take more bytes; fires with the offset when they are durable.

        :raises UploadUnknown: no such session in this repository.
        :raises RangeInvalid: not where the session stands, or another request is writing to it.
        :raises SizeInvalid: not as many bytes as announced; none are kept.
        """
        return await self._shield(self._append(repository, upload, source, chunk))

    async def finish(
        self, repository: Repository, upload: UploadId, digest: Digest, source: Source, chunk: Chunk
    ) -> None:
        """Take the last bytes, if there are any, and publish the blob in the repository.

        :raises DigestMismatch: the bytes have another digest; the session stays.
        :raises UploadUnknown, RangeInvalid, SizeInvalid: as `append`.
        """
        await self._shield(self._finish(repository, upload, digest, source, chunk))

    async def take(self, repository: Repository, digest: Digest, source: Source, chunk: Chunk) -> None:
        """Publish a blob from one body, without a session that anybody could come back to.

        :raises DigestMismatch: the bytes have another digest.
        """
        await self._shield(self._take(repository, digest, source, chunk))

    async def cancel(self, repository: Repository, upload: UploadId) -> None:
        """End a session and free its space.

        :raises UploadUnknown: no such session in this repository.
        :raises RangeInvalid: a request is writing to it.
        """
        await self._shield(self._cancel(repository, upload))

    @property
    def open(self) -> int:
        """Sessions that are known to be."""
        return self._count.total()

    def held(self, upload: UploadId) -> AbstractContextManager[bool]:
        """Whether no request works on the session; then none does in the block."""
        return self._locks.tried(upload)

    def counted(self, number: int) -> None:
        """So many sessions were found in the store."""
        self._count.correct(number)

    async def forget(self, repository: Repository, upload: UploadId) -> None:
        """Remove everything about a session, if there is anything."""
        await self._sessions.forget(repository, upload)

    # What follows runs to its end, though the client may go away.

    async def _begin(self, session: Session) -> None:
        with self.held(session.id):         # else it would look abandoned while it has no state yet
            await self._sessions.record(session, session.state)
        self._count.add(1)

    async def _append(self, repository: Repository, upload: UploadId, source: Source, chunk: Chunk) -> int:
        async with self._working(repository, upload) as session:
            _check_place(session, chunk)
            await self._settle(session, await self._receive(session, source, chunk))
            return session.state.offset

    async def _finish(
        self, repository: Repository, upload: UploadId, digest: Digest, source: Source, chunk: Chunk
    ) -> None:
        ahead, meanwhile = Ahead(source), None
        if (chunk.may_be_small_blob and IDistant.providedBy(self._storage)
                and self._sessions.is_new(repository, upload)):
            source, meanwhile = ahead, partial(self._store, ahead, digest, chunk)
        async with self._working(repository, upload, meanwhile) as session:
            _check_place(session, chunk)
            if ahead.stored and not session.state.offset:       # they are all that there is
                await self._publish(session, digest, ahead.stored)
            else:
                await self._receive_last(session, digest, source, chunk)
            self._count.add(-1)

    async def _receive_last(self, session: Session, digest: Digest, source: Source, chunk: Chunk) -> None:
        arriving = await self._receive(session, source, chunk, digest)
        if await self._digest(session, arriving, digest.algorithm) != digest:
            await (self._settle(session, arriving) if session.is_stored else arriving.abandon())
            raise DigestMismatch(str(digest))
        await self._commit(session, arriving, digest)
        await self._publish(session, digest, arriving.offset)

    async def _store(self, ahead: Ahead, digest: Digest, chunk: Chunk) -> None:
        """Store a small blob, while the store is asked whether its session still stands: what no repository has a link
        to is collected."""
        content = await ahead.blob(digest)
        if content is not None and len(content) == chunk.length:
            await self._storage.put(layout.blob(digest), content)
            ahead.stored = len(content)

    async def _take(self, repository: Repository, digest: Digest, source: Source, chunk: Chunk) -> None:
        session = self._sessions.new(repository, digest.algorithm)
        with self.held(session.id):
            await self._take_in(session, digest, source, chunk)

    async def _take_in(self, session: Session, digest: Digest, source: Source, chunk: Chunk) -> None:
        try:
            _check_place(session, chunk)
            await self._receive_last(session, digest, source, chunk)
        except StoreUnavailable:
            raise                               # what is left is found by its age: asking once more would take as long
        except BaseException:
            await self._sessions.end(session)
            raise

    async def _cancel(self, repository: Repository, upload: UploadId) -> None:
        async with self._working(repository, upload):
            await self.forget(repository, upload)
            self._count.add(-1)

    @asynccontextmanager
    async def _working(
        self,
        repository: Repository,
        upload: UploadId,
        meanwhile: Callable[[], Coroutine[Deferred[Any], Any, None]] | None = None,
    ) -> AsyncIterator[Session]:
        """The session, for one request at a time (D3).

        :param meanwhile: what can be done while it is looked for.
        """
        with self.held(upload) as free:
            works: list[Deferred[Any]] = [Deferred.fromCoroutine(self._sessions.load(repository, upload))]
            if free and meanwhile is not None:
                works.append(Deferred.fromCoroutine(meanwhile()))
            session: Session = (await together(*works))[0]
            if not free:
                raise RangeInvalid(session.state.offset)
            yield session

    async def _receive(
        self, session: Session, source: Source, chunk: Chunk, digest: Digest | None = None
    ) -> Arriving:
        """Take what comes, and let the session's hash follow.

        When the source fails, what came is kept if it can be; when the bytes are not those announced or cannot be
        stored, the session stands where it stood.

        :param digest: of the blob, if these are its last bytes.
        """
        start = session.state.offset
        arriving = await self._arriving(session, chunk, digest)
        self._sessions.distrust(session)        # until its state is recorded again
        try:
            while parts := await self._next(session, arriving, source):
                if session.hasher is None:
                    session.hasher = await self._rehash(session, session.state.digest.algorithm, start)
                if chunk.length is not None and arriving.offset - start + sum(map(len, parts)) > chunk.length:
                    raise SizeInvalid(f"more than the {chunk.length} bytes announced")
                await arriving.write(parts, session.hasher)
            if chunk.length is not None and arriving.offset - start != chunk.length:
                raise SizeInvalid(f"{arriving.offset - start} bytes instead of the {chunk.length} announced")
        except (SizeInvalid, StorageFull):
            await self._cut_back(session, arriving)
            raise
        except BaseException:
            await arriving.close()
            raise
        return arriving

    async def _arriving(self, session: Session, chunk: Chunk, digest: Digest | None) -> Arriving:
        """:raises RangeInvalid: another machine wrote to the session meanwhile."""
        state = session.state
        if not session.is_written:

            async def begin() -> IWriter:
                session.has_data = True
                is_whole = digest is not None and not state.offset and digest.algorithm == state.digest.algorithm
                if digest is not None and is_whole and IDirect.providedBy(self._storage):
                    return await IDirect(self._storage).create_direct(session.data, layout.blob(digest), chunk.length)
                return await self._storage.create(session.data)

            return Arriving(self._storage, state.content, begin)
        writer = await self._storage.resume(session.data, state.offset)
        if writer.mark != state.mark:
            await writer.close()
            raise RangeInvalid(state.offset)
        return Arriving.further(self._storage, writer)

    async def _cut_back(self, session: Session, arriving: Arriving) -> None:
        """Give back the room of what is not kept: on a full disk others need it."""
        if session.is_written:
            await arriving.close()
            await (await self._storage.resume(session.data, session.state.offset)).close()
        else:
            await arriving.abandon()

    async def _next(self, session: Session, arriving: Arriving, source: Source) -> Sequence[bytes]:
        try:
            return await source.read()
        except BaseException:
            await self._settle(session, arriving)
            raise

    async def _digest(self, session: Session, arriving: Arriving, algorithm: str) -> Digest:
        """The digest of all that came."""
        if session.hasher is not None and session.state.digest.algorithm == algorithm:
            return Digest(algorithm, session.hasher.hexdigest())
        if session.hasher is None and session.state.digest.algorithm == algorithm:
            return session.state.digest
        if arriving.are_few:
            return Digest.of(arriving.content, algorithm)
        hasher = await self._rehash(session, algorithm, await self._sync(session, arriving))
        return Digest(algorithm, hasher.hexdigest())

    async def _rehash(self, session: Session, algorithm: str, size: int) -> Hash:
        """Read back the first ``size`` bytes."""
        hasher = new_hash(algorithm)
        reader = await self._storage.open(session.data)
        try:
            while size and (piece := await reader.read(min(size, PIECE))):
                await self._runner.slow(hasher.update, piece)
                size -= len(piece)
        finally:
            reader.close()
        if size:
            raise Damaged(session.data)
        return hasher

    async def _sync(self, session: Session, arriving: Arriving) -> int:
        try:
            return await arriving.sync()
        except (StorageFull, StoreUnavailable):
            await arriving.close()
            raise
        except StorageError:
            # What the system failed to write it may have dropped, and another fsync would not tell (C5).
            self.log.error("upload {upload} to {repository} is lost: its bytes could not be made durable",
                           upload=str(session.id), repository=str(session.repository))
            await arriving.abandon()
            await self.forget(session.repository, session.id)
            raise

    async def _settle(self, session: Session, arriving: Arriving) -> None:
        """Make what came durable, and say so in the state."""
        digest = await self._digest(session, arriving, session.state.digest.algorithm)
        offset = await self._sync(session, arriving)
        if offset < arriving.offset:            # of a writer whose bytes cannot be resumed
            session.begin_again()
            offset, digest = session.state.offset, session.state.digest
        await arriving.close()
        await self._sessions.record(session, State(offset, digest, self._now(), arriving.mark, arriving.content))

    async def _commit(self, session: Session, arriving: Arriving, digest: Digest) -> None:
        try:
            await arriving.commit(layout.blob(digest))
        except (StorageFull, StoreUnavailable):
            await arriving.close()
            raise
        except StorageError:
            if not arriving.are_few:            # else the state has those that were durable, and still has them
                await arriving.abandon()
                await self.forget(session.repository, session.id)
            raise
        if IFlat.providedBy(self._storage):
            session.has_data = False

    async def _publish(self, session: Session, digest: Digest, size: int) -> None:
        """Let the repository hold what is stored."""
        await together(
            Deferred.fromCoroutine(self._sessions.end(session)),
            Deferred.fromCoroutine(self._blobs.link(session.repository, digest)),
        )
        await self._events.tell(BlobPushed(session.repository, digest, size))


def _check_place(session: Session, chunk: Chunk) -> None:
    """A chunk begins where the session stands (distribution-spec 1.1, "Pushing a blob in chunks")."""
    if chunk.first == 0 and session.state.offset == 1:
        # ``Range: 0-0`` is what a session of one byte answers, and one of none as well: the client took it for none.
        session.begin_again()
    if chunk.first is not None and chunk.first != session.state.offset:
        raise RangeInvalid(session.state.offset)
    if None not in (chunk.length, chunk.sent) and chunk.length != chunk.sent:
        raise SizeInvalid(f"{chunk.sent} bytes instead of the {chunk.length} announced")
