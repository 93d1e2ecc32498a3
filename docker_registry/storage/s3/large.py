"""Large objects of S3: uploads in parts, and pieces that are copied into one."""

from __future__ import annotations

from collections.abc import Sequence

from docker_registry.storage.flows import Octets
from docker_registry.storage.objects.session import Session
from docker_registry.storage.s3.bucket import Bucket
from docker_registry.storage.s3.copying import give_up, join
from docker_registry.storage.s3.tree import delete_tree


class PartsUpload:
    """Parts straight to the key. The store makes an object of parts at one key only."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._id = ""
        self._tags: dict[int, str] = {}

    async def begin(self) -> None:
        self._id = await self._bucket.begin(self._key)

    async def part(self, number: int, parts: Sequence[Octets]) -> None:
        self._tags[number] = await self._bucket.part(self._key, self._id, number + 1, parts)

    async def complete(self, size: int) -> None:
        tags = [self._tags[number] for number in range(len(self._tags))]
        await self._bucket.complete(self._key, self._id, tags, size)

    async def give_up(self) -> None:
        if self._id:
            await give_up(self._bucket, self._key, self._id)


class Joined:
    """Pieces below the key of the upload, which is deleted as a tree."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def piece(self, key: str, run: str, number: int) -> str:
        return f"{key}/{run}-{number:06}"

    async def begin(self, key: str, run: str) -> None:
        """Where they lie, they are found."""

    async def send(self, piece: str, parts: Sequence[Octets]) -> None:
        await self._bucket.put(piece, parts)

    async def join(self, session: Session, run: str, target: str) -> None:
        await join(self._bucket, session.pieces(), session.rest, target, f"{session.key}/{run}-group")

    async def remove(self, session: Session, run: str, joined: bool) -> None:
        if session.runs:
            await delete_tree(self._bucket, session.key)
        else:
            await self._bucket.delete(session.key)

    async def publish(self, target: str, parts: Sequence[Octets]) -> None:
        await self._bucket.put(target, parts)

    def upload(self, target: str) -> PartsUpload:
        return PartsUpload(self._bucket, target)
