"""A store that lasts as long as the process: for tests and for registries that are thrown away."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from docker_registry.deferreds import deferred
from docker_registry.errors import Damaged, NotFound
from docker_registry.storage.interface import SMALL, Digester, Entry, IReader, IStorage, IWriter, Stat


class _Object:
    """:ivar modified: seconds since the epoch."""

    __slots__ = ("content", "modified")

    def __init__(self, content: bytearray | bytes, modified: float) -> None:
        self.content = content
        self.modified = modified


@implementer(IReader)
class MemoryReader:
    def __init__(self, stored: _Object, offset: int) -> None:
        self.size = len(stored.content)
        self.modified = stored.modified
        self._content = bytes(stored.content)
        self._offset = offset

    @deferred
    async def read(self, count: int) -> bytes:
        piece = self._content[self._offset : self._offset + count]
        self._offset += len(piece)
        return piece

    def close(self) -> None:
        self._content = b""


@implementer(IWriter)
class MemoryWriter:
    def __init__(self, storage: MemoryStorage, key: str, content: bytearray) -> None:
        self.offset = len(content)
        self.mark = ""
        self._storage = storage
        self._key = key
        self._content = content

    @deferred
    async def write(self, parts: Sequence[bytes], digesters: Sequence[Digester] = ()) -> None:
        for part in parts:
            self._content += part
            for digester in digesters:
                digester.update(part)
        self.offset = len(self._content)

    @deferred
    async def sync(self) -> int:
        return self.offset

    @deferred
    async def commit(self, key: str) -> None:
        await self._storage.put(key, bytes(self._content))
        self._storage.objects.pop(self._key, None)

    @deferred
    async def abandon(self) -> None:
        self._storage.objects.pop(self._key, None)

    @deferred
    async def close(self) -> None:
        return None


@implementer(IStorage)
class MemoryStorage:
    """:param clock: gives the times of modification."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.objects: dict[str, _Object] = {}

    def _find(self, key: str) -> _Object:
        try:
            return self.objects[key]
        except KeyError:
            raise NotFound(key) from None

    @deferred
    async def start(self) -> None:
        return None

    @deferred
    async def stat(self, key: str) -> Stat:
        stored = self._find(key)
        return Stat(len(stored.content), stored.modified)

    @deferred
    async def get(self, key: str) -> bytes:
        stored = self._find(key)
        if len(stored.content) > SMALL:
            raise Damaged(key)
        return bytes(stored.content)

    @deferred
    async def put(self, key: str, content: bytes) -> None:
        self.objects[key] = _Object(bytes(content), self._clock.seconds())

    @deferred
    async def open(self, key: str, offset: int = 0) -> IReader:
        return MemoryReader(self._find(key), offset)

    @deferred
    async def create(self, key: str) -> IWriter:
        content = bytearray()
        self.objects[key] = _Object(content, self._clock.seconds())
        return MemoryWriter(self, key, content)

    @deferred
    async def resume(self, key: str, offset: int) -> IWriter:
        begun = bytearray(self._find(key).content)
        if len(begun) < offset:
            raise Damaged(key)
        del begun[offset:]
        self.objects[key] = _Object(begun, self._clock.seconds())
        return MemoryWriter(self, key, begun)

    @deferred
    async def list(self, prefix: str, after: str = "", limit: int = 1000) -> list[Entry]:
        below = f"{prefix}/" if prefix else ""
        names: dict[str, bool] = {}
        for key in self.objects:
            if key.startswith(below):
                name, slash, _ = key[len(below) :].partition("/")
                names[name] = names.get(name, False) or bool(slash)
        found = sorted((name for name in names if name > after), key=str.encode)
        return [Entry(name, names[name]) for name in found[:limit]]

    @deferred
    async def touch(self, key: str) -> None:
        self._find(key).modified = self._clock.seconds()

    @deferred
    async def delete(self, key: str) -> None:
        self._find(key)
        del self.objects[key]

    @deferred
    async def delete_tree(self, prefix: str) -> None:
        for key in [key for key in self.objects if key == prefix or key.startswith(f"{prefix}/")]:
            del self.objects[key]

    @deferred
    async def quarantine(self, key: str) -> None:
        stored = self._find(key)
        del self.objects[key]
        self.objects[f".quarantine/{key}"] = stored

    def close(self) -> Deferred[None]:
        return self._close()

    @deferred
    async def _close(self) -> None:
        return None
