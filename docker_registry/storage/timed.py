"""A store whose actions are timed. It adds no `Deferred` to what is answered at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from docker_registry.errors import NotFound
from docker_registry.storage.interface import Digester, Entry, IReader, IStorage, IWriter, Stat

R = TypeVar("R")

Observe = Callable[[str, float, bool], None]
"""Told of an action, the seconds that it took, and whether it failed otherwise than by finding nothing."""


class _Timed:
    def __init__(self, observe: Observe) -> None:
        self._observe = observe

    def _time(self, action: str, began: float, answer: Deferred[R]) -> Deferred[R]:
        if answer.called and not isinstance(answer.result, Deferred):
            self._tell(answer.result, action, began)
            return answer
        return answer.addBoth(self._tell, action, began)

    def _tell(self, result: R, action: str, began: float) -> R:
        failed = isinstance(result, Failure) and result.check(NotFound) is None
        self._observe(action, perf_counter() - began, failed)
        return result


@implementer(IStorage)
class TimedStorage(_Timed):
    """Provides what the store provides, too."""

    def __init__(self, storage: IStorage, observe: Observe) -> None:
        super().__init__(observe)
        self._storage: Any = storage
        directlyProvides(self, providedBy(storage))

    def __getattr__(self, name: str) -> Any:
        """What is not of `IStorage` is the store's own affair."""
        return getattr(self._storage, name)

    def start(self) -> Deferred[None]:
        return self._storage.start()  # type: ignore[no-any-return]

    def stat(self, key: str) -> Deferred[Stat]:
        return self._time("stat", perf_counter(), self._storage.stat(key))

    def get(self, key: str) -> Deferred[bytes]:
        return self._time("get", perf_counter(), self._storage.get(key))

    def put(self, key: str, content: bytes) -> Deferred[None]:
        return self._time("put", perf_counter(), self._storage.put(key, content))

    def open(self, key: str, offset: int = 0) -> Deferred[IReader]:
        return self._time("open", perf_counter(), self._storage.open(key, offset))

    def create(self, key: str) -> Deferred[IWriter]:
        return self._time("create", perf_counter(), self._storage.create(key)).addCallback(self._timed)

    def resume(self, key: str, offset: int) -> Deferred[IWriter]:
        return self._time("resume", perf_counter(), self._storage.resume(key, offset)).addCallback(self._timed)

    def list(self, prefix: str, after: str = "", limit: int = 1000) -> Deferred[list[Entry]]:
        return self._time("list", perf_counter(), self._storage.list(prefix, after, limit))

    def touch(self, key: str) -> Deferred[None]:
        return self._time("touch", perf_counter(), self._storage.touch(key))

    def delete(self, key: str) -> Deferred[None]:
        return self._time("delete", perf_counter(), self._storage.delete(key))

    def delete_tree(self, prefix: str) -> Deferred[None]:
        return self._time("delete_tree", perf_counter(), self._storage.delete_tree(prefix))

    def quarantine(self, key: str) -> Deferred[None]:
        return self._time("quarantine", perf_counter(), self._storage.quarantine(key))

    def close(self) -> Deferred[None]:
        return self._storage.close()  # type: ignore[no-any-return]

    def _timed(self, writer: IWriter) -> IWriter:
        return TimedWriter(writer, self._observe)


@implementer(IWriter)
class TimedWriter(_Timed):
    def __init__(self, writer: IWriter, observe: Observe) -> None:
        super().__init__(observe)
        self._writer: Any = writer

    @property
    def offset(self) -> int:
        return self._writer.offset  # type: ignore[no-any-return]

    @property
    def mark(self) -> str:
        return self._writer.mark  # type: ignore[no-any-return]

    def write(self, parts: Sequence[bytes], digesters: Sequence[Digester] = ()) -> Deferred[None]:
        return self._time("write", perf_counter(), self._writer.write(parts, digesters))

    def sync(self) -> Deferred[int]:
        return self._time("sync", perf_counter(), self._writer.sync())

    def commit(self, key: str) -> Deferred[None]:
        return self._time("commit", perf_counter(), self._writer.commit(key))

    def abandon(self) -> Deferred[None]:
        return self._writer.abandon()  # type: ignore[no-any-return]

    def close(self) -> Deferred[None]:
        return self._writer.close()  # type: ignore[no-any-return]
