"""Upload sessions: bytes in, a blob out.

A session is two keys: the bytes, and a state that says how many of them are durable and what digest those have. The
state is written after the bytes are synced, so it never claims too much; what lies beyond it is cut off on resuming.
hashlib's states cannot be stored: a session that goes on in the process that wrote last keeps its hash in memory, any
other reads its bytes once more. The stored state tells whether the one in memory is still it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from docker_registry.deferreds import Shield, outcomes, together
from docker_registry.digest import CANONICAL, Digest, Hash, new_hash
from docker_registry.errors import (
    Damaged,
    DigestMismatch,
    NotFound,
    RangeInvalid,
    SizeInvalid,
    StorageError,
    StorageFull,
    StoreUnavailable,
    TooManyUploads,
    UploadUnknown,
)
from docker_registry.names import Repository, UploadId
from docker_registry.registry.blobs import Blobs
from docker_registry.registry.events import BlobPushed, Events
from docker_registry.registry.locks import Locks
from docker_registry.registry.settings import Settings
from docker_registry.registry.shared import Count
from docker_registry.registry.upload_state import State
from docker_registry.storage import layout
from docker_registry.storage.interface import IDirect, IStorage, IWriter
from docker_registry.threads import Runner

REMEMBERED = 1000
"""Sessions whose hash is kept in memory between two requests."""

PIECE = 1 << 20
"""Bytes read at a time when a session's bytes are hashed again."""


class Source(Protocol):
    """Where bytes come from: a request's body."""

    async def read(self) -> Sequence[bytes]:
        """The next parts, none at the end. Raises if the end does not come."""


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


@dataclass(slots=True)
class _Session:
    """A session while a request works on it.

    :ivar hasher: has seen the bytes up to the offset; ``None`` if another process wrote them.
    """

    repository: Repository
    id: UploadId
    state: State
    hasher: Hash | None

    def begin_again(self) -> None:
        """Stand at the beginning, whatever was there."""
        self.hasher = new_hash(self.state.digest.algorithm)
        self.state = State(0, Digest(self.state.digest.algorithm, self.hasher.hexdigest()), self.state.active)

    @property
    def data(self) -> str:
        return layout.upload_data(self.repository, self.id)


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
        self._known: OrderedDict[UploadId, _Session] = OrderedDict()

    async def start(self, repository: Repository, algorithm: str = CANONICAL) -> UploadId:
        """Open a session.

        :param algorithm: of the digest that the blob will be given, if the client says so beforehand.
        :raises DigestInvalid: an unsupported algorithm.
        :raises TooManyUploads: as many sessions are open as may be.
        """
        if self.open >= self._settings.max_uploads:
            raise TooManyUploads()
        session = self._new(repository, algorithm)
        await self._shield(self._begin(session))
        return session.id

    async def offset(self, repository: Repository, upload: UploadId) -> int:
        """Bytes that the session holds durably.

        :raises UploadUnknown: no such session in this repository.
        """
        return (await self._load(repository, upload)).state.offset

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
        self._known.pop(upload, None)
        await self._storage.delete_tree(layout.upload(repository, upload))

    # What follows runs to its end, though the client may go away.

    async def _begin(self, session: _Session) -> None:
        with self.held(session.id):         # else it would look abandoned while it has no state yet
            await self._record(session, session.state)
        self._count.add(1)

    async def _append(self, repository: Repository, upload: UploadId, source: Source, chunk: Chunk) -> int:
        async with self._working(repository, upload) as session:
            _check_place(session, chunk)
            writer = await self._receive(session, source, chunk)
            await self._settle(session, writer)
            return session.state.offset

    async def _finish(
        self, repository: Repository, upload: UploadId, digest: Digest, source: Source, chunk: Chunk
    ) -> None:
        async with self._working(repository, upload) as session:
            _check_place(session, chunk)
            writer = await self._receive(session, source, chunk, digest)
            if await self._digest(session, writer, digest.algorithm) != digest:
                await self._settle(session, writer)
                raise DigestMismatch(str(digest))
            await self._publish(session, writer, digest)
            self._count.add(-1)

    async def _take(self, repository: Repository, digest: Digest, source: Source, chunk: Chunk) -> None:
        session = self._new(repository, digest.algorithm)
        with self.held(session.id):
            await self._take_in(session, digest, source, chunk)

    async def _take_in(self, session: _Session, digest: Digest, source: Source, chunk: Chunk) -> None:
        try:
            _check_place(session, chunk)
            writer = await self._receive(session, source, chunk, digest)
            if await self._digest(session, writer, digest.algorithm) != digest:
                await writer.abandon()
                raise DigestMismatch(str(digest))
            await self._publish(session, writer, digest)
        except StoreUnavailable:
            raise                               # what is left is found by its age: asking once more would take as long
        except BaseException:
            await self.forget(session.repository, session.id)
            raise

    async def _cancel(self, repository: Repository, upload: UploadId) -> None:
        async with self._working(repository, upload):
            await self.forget(repository, upload)
            self._count.add(-1)

    @asynccontextmanager
    async def _working(self, repository: Repository, upload: UploadId) -> AsyncIterator[_Session]:
        """The session, for one request at a time (D3)."""
        with self.held(upload) as free:
            session = await self._load(repository, upload)
            if not free:
                raise RangeInvalid(session.state.offset)
            yield session

    def _new(self, repository: Repository, algorithm: str) -> _Session:
        hasher = new_hash(algorithm)
        return _Session(
            repository, UploadId.new(), State(0, Digest(algorithm, hasher.hexdigest()), self._now()), hasher
        )

    async def _load(self, repository: Repository, upload: UploadId) -> _Session:
        content, data = await outcomes(
            self._storage.get(layout.upload_state(repository, upload)),
            self._storage.stat(layout.upload_data(repository, upload)),
        )
        for found in (content, data):
            if isinstance(found, Exception) and not isinstance(found, (NotFound, Damaged)):
                raise found
        if isinstance(content, Exception):
            raise UploadUnknown(str(upload))
        state = State.from_bytes(content)
        known = self._known.get(upload)
        if known is not None and known.repository == repository and known.state == state:
            session = known
        else:
            session = _Session(repository, upload, state, None)
        if state.offset == 0 or isinstance(data, Exception) or data.size < state.offset or data.mark != state.mark:
            # Also after a crash between publishing the bytes and removing the session, and when two machines wrote.
            session.begin_again()
        return session

    async def _receive(
        self, session: _Session, source: Source, chunk: Chunk, digest: Digest | None = None
    ) -> IWriter:
        """Write what comes, and let the session's hash follow.

        When the source fails, what came is kept if it can be; when the bytes are not those announced or cannot be
        stored, the session stands where it stood.

        :param digest: of the blob, if these are its last bytes.
        """
        start = session.state.offset
        writer = await self._writer(session, chunk, digest)
        self._known.pop(session.id, None)       # until its state is recorded again
        try:
            while parts := await self._next(session, writer, source):
                if session.hasher is None:
                    session.hasher = await self._rehash(session, session.state.digest.algorithm, start)
                if chunk.length is not None and writer.offset - start + sum(map(len, parts)) > chunk.length:
                    raise SizeInvalid(f"more than the {chunk.length} bytes announced")
                await writer.write(parts, [session.hasher])
            if chunk.length is not None and writer.offset - start != chunk.length:
                raise SizeInvalid(f"{writer.offset - start} bytes instead of the {chunk.length} announced")
        except (SizeInvalid, StorageFull):
            await self._cut_back(session, writer, start)
            raise
        except BaseException:
            await writer.close()
            raise
        return writer

    async def _writer(self, session: _Session, chunk: Chunk, digest: Digest | None) -> IWriter:
        """:raises RangeInvalid: another machine wrote to the session meanwhile."""
        writer: IWriter
        if session.state.offset:
            writer = await self._storage.resume(session.data, session.state.offset)
            if writer.mark != session.state.mark:
                await writer.close()
                raise RangeInvalid(session.state.offset)
        elif digest is not None and digest.algorithm == session.state.digest.algorithm and IDirect.providedBy(
            self._storage
        ):
            writer = await IDirect(self._storage).create_direct(session.data, layout.blob(digest), chunk.length)
        else:
            writer = await self._storage.create(session.data)
        return writer

    async def _cut_back(self, session: _Session, writer: IWriter, offset: int) -> None:
        """Give back the room of what is not kept: on a full disk others need it."""
        if offset:
            await writer.close()
            await (await self._storage.resume(session.data, offset)).close()
        else:
            await writer.abandon()

    async def _next(self, session: _Session, writer: IWriter, source: Source) -> Sequence[bytes]:
        try:
            return await source.read()
        except BaseException:
            await self._settle(session, writer)
            raise

    async def _digest(self, session: _Session, writer: IWriter, algorithm: str) -> Digest:
        """The digest of all that was written."""
        if session.hasher is not None and session.state.digest.algorithm == algorithm:
            return Digest(algorithm, session.hasher.hexdigest())
        if session.hasher is None and session.state.digest.algorithm == algorithm:
            return session.state.digest
        hasher = await self._rehash(session, algorithm, await self._sync(session, writer))
        return Digest(algorithm, hasher.hexdigest())

    async def _rehash(self, session: _Session, algorithm: str, size: int) -> Hash:
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

    async def _sync(self, session: _Session, writer: IWriter) -> int:
        try:
            return await writer.sync()
        except (StorageFull, StoreUnavailable):
            await writer.close()
            raise
        except StorageError:
            # What the system failed to write it may have dropped, and another fsync would not tell (C5).
            self.log.error("upload {upload} to {repository} is lost: its bytes could not be made durable",
                           upload=str(session.id), repository=str(session.repository))
            await writer.abandon()
            await self.forget(session.repository, session.id)
            raise

    async def _settle(self, session: _Session, writer: IWriter) -> None:
        """Make what came durable, and say so in the state."""
        digest = await self._digest(session, writer, session.state.digest.algorithm)
        offset = await self._sync(session, writer)
        if offset < writer.offset:              # of a writer whose bytes cannot be resumed
            session.begin_again()
            offset, digest = session.state.offset, session.state.digest
        await writer.close()
        await self._record(session, State(offset, digest, self._now(), writer.mark))

    async def _record(self, session: _Session, state: State) -> None:
        await self._storage.put(layout.upload_state(session.repository, session.id), state.to_bytes())
        session.state = state
        self._known[session.id] = session
        self._known.move_to_end(session.id)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def _publish(self, session: _Session, writer: IWriter, digest: Digest) -> None:
        try:
            await writer.commit(layout.blob(digest))
        except (StorageFull, StoreUnavailable):
            await writer.close()
            raise
        except StorageError:
            await writer.abandon()
            await self.forget(session.repository, session.id)
            raise
        await together(
            Deferred.fromCoroutine(self.forget(session.repository, session.id)),
            Deferred.fromCoroutine(self._blobs.link(session.repository, digest)),
        )
        await self._events.tell(BlobPushed(session.repository, digest, writer.offset))


def _check_place(session: _Session, chunk: Chunk) -> None:
    """A chunk begins where the session stands (distribution-spec 1.1, "Pushing a blob in chunks")."""
    if chunk.first == 0 and session.state.offset == 1:
        # ``Range: 0-0`` is what a session of one byte answers, and one of none as well: the client took it for none.
        session.begin_again()
    if chunk.first is not None and chunk.first != session.state.offset:
        raise RangeInvalid(session.state.offset)
    if None not in (chunk.length, chunk.sent) and chunk.length != chunk.sent:
        raise SizeInvalid(f"{chunk.sent} bytes instead of the {chunk.length} announced")
