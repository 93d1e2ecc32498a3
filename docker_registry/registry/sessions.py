"""Upload sessions, as they are stored, and what is remembered of them between two requests.

hashlib's states cannot be stored: a session that goes on in the process that wrote last keeps its hash in memory, any
other reads its bytes once more. The stored state tells whether the one in memory is still it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from twisted.internet.defer import Deferred

from docker_registry.deferreds import outcomes, together
from docker_registry.digest import Digest, Hash, new_hash
from docker_registry.errors import Damaged, NotFound, UploadUnknown, expect
from docker_registry.names import Repository, UploadId
from docker_registry.registry.recent import Recent
from docker_registry.registry.upload_state import State
from docker_registry.storage import layout
from docker_registry.storage.asking import discard
from docker_registry.storage.interface import IStorage, Stat

REMEMBERED = 1000
"""Sessions whose hash is kept in memory between two requests."""


@dataclass(slots=True)
class Session:
    """A session while a request works on it.

    :ivar hasher: has seen the bytes up to the offset; ``None`` if another process wrote them.
    :ivar is_stored: whether anything is, as far as this process knows.
    :ivar has_data: whether there may be bytes beside the state.
    """

    repository: Repository
    id: UploadId
    state: State
    hasher: Hash | None
    is_stored: bool = True
    has_data: bool = True

    def begin_again(self) -> None:
        """Stand at the beginning, whatever was there."""
        self.hasher = new_hash(self.state.digest.algorithm)
        self.state = State(0, Digest(self.state.digest.algorithm, self.hasher.hexdigest()), self.state.active)

    @property
    def data(self) -> str:
        return layout.upload_data(self.repository, self.id)

    @property
    def is_written(self) -> bool:
        """Whether its bytes lie beside the state."""
        return self.state.offset > len(self.state.content)

    def hash_content(self) -> None:
        """Let the hasher be one that has seen what the state has with it."""
        self.hasher = new_hash(self.state.digest.algorithm)
        self.hasher.update(self.state.content)


class Sessions:
    """:param now: seconds since the epoch."""

    def __init__(self, storage: IStorage, now: Callable[[], float]) -> None:
        self._storage = storage
        self._now = now
        self._known: Recent[UploadId, Session] = Recent(REMEMBERED)

    def new(self, repository: Repository, algorithm: str) -> Session:
        hasher = new_hash(algorithm)
        state = State(0, Digest(algorithm, hasher.hexdigest()), self._now())
        return Session(repository, UploadId.new(), state, hasher, is_stored=False, has_data=False)

    def is_new(self, repository: Repository, upload: UploadId) -> bool:
        """Whether this process has begun it, and knows of no byte that it has. Another one may have sent it some, or
        ended it."""
        known = self._known.get(upload)
        return known is not None and known.repository == repository and not known.state.offset and not known.has_data

    async def load(self, repository: Repository, upload: UploadId) -> Session:
        """:raises UploadUnknown: no such session in this repository."""
        known = self._known.get(upload)
        if known is not None and known.repository != repository:
            known = None
        state, data = await self._stored(repository, upload, known is None or known.has_data)
        if known is None or (state.offset and known.state != state):
            session = Session(repository, upload, state, None)
        else:
            session = replace(known, state=state)
        if state.content:
            session.hash_content()
        elif state.offset == 0 or data is None or data.size < state.offset or data.mark != state.mark:
            # Also after a crash between publishing the bytes and removing the session, and when two machines wrote.
            session.begin_again()
        return session

    async def _stored(self, repository: Repository, upload: UploadId, has_data: bool) -> tuple[State, Stat | None]:
        """:param has_data: whether bytes beside the state are looked for, at the same time."""
        asked = [self._storage.stat(layout.upload_data(repository, upload))] if has_data else []
        content, *found = await outcomes(self._storage.get(layout.upload_state(repository, upload)), *asked)
        for each in (content, *found):
            expect(each, NotFound, Damaged)
        if isinstance(content, Exception):
            raise UploadUnknown(str(upload))
        state = State.from_bytes(content)
        if state.offset and not state.content and not has_data:
            return await self._stored(repository, upload, True)     # another process wrote meanwhile
        return state, next((each for each in found if isinstance(each, Stat)), None)

    async def record(self, session: Session, state: State) -> None:
        await self._storage.put(layout.upload_state(session.repository, session.id), state.to_bytes())
        session.state = state.without_content()
        session.is_stored = True
        self._known.keep(session.id, session)

    def distrust(self, session: Session) -> None:
        """What is remembered of it is no longer so."""
        self._known.forget(session.id)

    async def forget(self, repository: Repository, upload: UploadId) -> None:
        """Remove everything about a session, if there is anything."""
        self._known.forget(upload)
        await together(
            self._storage.delete_tree(layout.upload(repository, upload)),
            Deferred.fromCoroutine(discard(self._storage, layout.upload_state(repository, upload))),
        )

    async def end(self, session: Session) -> None:
        """Forget what there is of it."""
        if session.has_data:
            await self.forget(session.repository, session.id)
        elif session.is_stored:
            self._known.forget(session.id)
            await discard(self._storage, layout.upload_state(session.repository, session.id))
