"""The calls of Swift that are needed, a method each. Keys are whole: the prefix is in them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from docker_registry.deferreds import together
from docker_registry.errors import NotFound, StorageFailed, Transient
from docker_registry.storage.flows import Flow, Octets
from docker_registry.storage.http import Answer, clean, moment
from docker_registry.storage.objects.filling import Filling
from docker_registry.storage.objects.reading import Reading, whole_size
from docker_registry.storage.objects.store import HASTY, Head, Page
from docker_registry.storage.swift.client import LIMIT, LONG, Client, nothing
from docker_registry.storage.swift.errors import Overtaken, meaning
from docker_registry.threads import Runner

META = "x-object-meta-"
TOUCHED, SESSION, GROUP = f"{META}touched", f"{META}session", f"{META}group"
"""When somebody renewed an object, in seconds since the epoch; that it is an upload that is not finished; and which
writer's segments a large object begins with."""

LARGE, DYNAMIC = "x-static-large-object", "x-object-manifest"

_KEPT = frozenset({"content-encoding", "content-disposition", "x-delete-at", DYNAMIC})
"""What a POST takes away from an object unless it says it again, as all of `META`. A large object stays one, and its
type stays what it was."""

BYTES = {"Content-Type": "application/octet-stream"}

SUMMED = 4 << 20
"""Bytes that are worth a hop to a thread."""

_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")

_log = Logger()


@dataclass(frozen=True, slots=True)
class SwiftHead(Head):
    """:ivar group: of a large object of ours; empty otherwise.
    :ivar is_large: whether it is made of segments that it lists.
    :ivar dynamic: container and prefix of the segments of an object that does not list them; empty otherwise.
    :ivar kept: what a POST has to say again.
    """

    group: str = ""
    is_large: bool = False
    dynamic: str = ""
    kept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """An object in a listing.

    :ivar modified: seconds since the epoch.
    """

    key: str
    modified: float


@dataclass(frozen=True, slots=True)
class Segment:
    """Of a large object.

    :ivar path: container and key, as `/container/key`.
    :ivar is_nested: whether it is a large object itself.
    :ivar tag: of its content; empty where a list is to be made.
    """

    path: str
    size: int
    is_nested: bool = False
    tag: str = ""


def _head(answer: Answer, key: str) -> SwiftHead:
    """:raises StorageFailed: the answer lacks what every object has."""
    headers = answer.headers()
    return SwiftHead(
        whole_size(answer, key), _modified(headers), headers.get("etag", "").strip('"'), headers.get(SESSION, ""),
        headers.get(GROUP, ""),
        headers.get(LARGE, "").lower() == "true", headers.get(DYNAMIC, ""),
        {name: value for name, value in headers.items() if name in _KEPT or name.startswith(META)},
    )


def _modified(headers: Mapping[str, str]) -> float:
    """When it was written or touched, in seconds since the epoch."""
    for name in (TOUCHED, "x-timestamp"):
        if _SECONDS.fullmatch(headers.get(name, "")):
            return float(headers[name])
    found = moment(headers.get("last-modified"))
    if found is None:
        raise StorageFailed("the store does not say when the object was written")
    return found


class Container(Reading[SwiftHead]):
    def __init__(self, client: Client, runner: Runner) -> None:
        super().__init__(client, _head)
        self.client = client
        self._runner = runner

    # Reading

    async def page(
        self, prefix: str, *, delimiter: str = "", after: str = "", token: str = "", limit: int = 1000
    ) -> Page:
        limit = min(limit, 1000)
        rows = await self._listed(prefix, delimiter, token or after, limit)
        last = max((str(row.get("name", row.get("subdir"))) for row in rows), key=str.encode, default="")
        return Page(
            [str(row["name"]) for row in rows if "name" in row],
            [str(row["subdir"]) for row in rows if "subdir" in row],
            last if len(rows) >= limit else "",
        )

    async def rows(self, prefix: str) -> list[Row]:
        """All that is listed below a prefix."""
        found: list[Row] = []
        after = ""
        while rows := await self._listed(prefix, "", after, 1000):
            found += [Row(str(row["name"]), _time(str(row["last_modified"]))) for row in rows]
            after = found[-1].key
        return found

    async def _listed(self, prefix: str, delimiter: str, marker: str, limit: int) -> list[dict[str, Any]]:
        query = {"format": "json", "prefix": prefix, "limit": str(limit)}
        query |= {"delimiter": delimiter} if delimiter else {}
        query |= {"marker": marker} if marker else {}

        async def read(answer: Answer) -> list[dict[str, Any]]:
            return await self._document(answer, _rows)

        return await self.client.ask("GET", "", read, query)

    async def _document(self, answer: Answer, check: Any) -> list[dict[str, Any]]:
        content = await answer.content(LIMIT)
        rows: list[dict[str, Any]] = (
            await self._runner.slow(check, content) if len(content) > HASTY else check(content)
        )
        return rows

    async def segments(self, key: str) -> list[Segment]:
        """What a large object lists.

        :raises NotFound: nothing is there.
        """

        async def read(answer: Answer) -> list[Segment]:
            if (answer.header(LARGE) or "").lower() != "true":
                answer.close()                  # it has become another since
                return []
            rows = await self._document(answer, _manifest)
            return [Segment(row["name"], row["bytes"], bool(row.get("sub_slo")), row["hash"]) for row in rows]

        return await self.client.ask("GET", key, read, {"multipart-manifest": "get"})

    # Writing

    async def put(self, key: str, parts: Sequence[Octets], session: str = "", is_new: bool = False) -> str:
        """Store an object; its tag.

        :param session: of an upload that is not finished.
        :param is_new: whether nothing may be there.
        :raises Refused: with ``412``, something is there; with ``422`` when it was changed on its way.
        """
        tag = await self._sum(parts)
        headers = {**BYTES, "ETag": tag}
        headers |= {SESSION: session} if session else {}
        headers |= {"If-None-Match": "*"} if is_new else {}
        said = await self.client.ask("PUT", key, _tag, headers=headers, body=parts)
        if said.strip('"') not in (tag, ""):
            raise StorageFailed(f"{key}: the store has other bytes than it was sent")
        return tag

    async def put_segment(self, key: str, parts: Sequence[Octets]) -> None:
        """The same of what nothing leads to yet. Its sum is computed while it is sent: the store says what it has. If
        that is not the same, it is sent again, so that the store refuses it.
        """
        if sum(map(len, parts)) > HASTY:
            sending = self.client.ask("PUT", key, _tag, headers=BYTES, body=parts)
            tag, said = await together(*map(Deferred.fromCoroutine, (self._sum(parts), sending)))
            if said.strip('"') == tag:
                return
            _log.warn("{key}: the store has other bytes than it was sent: they are sent again", key=key)
        await self.put(key, parts)

    async def put_filling(self, key: str, filling: Filling) -> None:
        """The same of one that is still coming. If that comes to nothing it is sent as a whole."""
        summing = Deferred.fromCoroutine(self._summed(filling))
        try:
            said = await self._send(key, filling)
            if said.strip('"') == await summing:
                return
            _log.warn("{key}: the store has other bytes than it was sent: they are sent again", key=key)
        except Transient as error:
            _log.debug("{key} is sent again when it is whole: {error}", key=key, error=error)
        finally:
            summing.addErrback(lambda failure: failure.trap(CancelledError))
            summing.cancel()
        await self.put(key, [await filling.whole()])

    async def _send(self, key: str, filling: Filling) -> str:
        """What the store says that it has."""
        at = 0
        is_over = False

        async def read() -> Sequence[Octets]:
            nonlocal at
            part = await filling.beyond(at)
            if is_over:
                await Deferred()                # it has answered before it had all: the connection is being closed
            at += len(part)
            return [part] if part else []

        try:
            return await self.client.ask("PUT", key, _tag, headers=BYTES, body=Flow(read, filling.size), once=True)
        finally:
            is_over = True

    async def _summed(self, filling: Filling) -> str:
        found = hashlib.md5(usedforsecurity=False)
        at = 0
        while part := await filling.beyond(at, SUMMED):
            await self._runner.slow(found.update, part)
            at += len(part)
        return found.hexdigest()

    async def put_large(self, key: str, segments: Sequence[Segment], group: str, is_new: bool = False) -> None:
        """Make a large object of segments, in one step.

        :param group: tells who made it.
        :raises Refused: with ``412``, something is there.
        """
        body = json.dumps([{"path": each.path, "size_bytes": each.size} for each in segments]).encode()
        headers = {**BYTES, "Accept": "application/json", GROUP: group}
        headers |= {"If-None-Match": "*"} if is_new else {}
        query = {"multipart-manifest": "put", "heartbeat": "on"}

        async def read(answer: Answer) -> None:
            content = await answer.content(LIMIT)
            if answer.status == 202:
                self._judge(key, content)

        await self.client.ask("PUT", key, read, query, headers, [body], seconds=LONG)

    def _judge(self, key: str, content: bytes) -> None:
        """A success that was said before the store knew, so that nobody waited for it in vain (F2).

        :raises StorageError: it is none.
        """
        try:
            said = json.loads(content)
            status = int(str(said["Response Status"])[:3])
            errors = ", ".join(f"{path} {what}" for path, what in said["Errors"][:3])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Transient("the store's answer ended before it said whether it was a success") from None
        if status == 202:
            raise Overtaken(self.client.where)
        if status >= 300:
            raise meaning(status, self.client.where, key, clean(f"its segments: {errors}")[:200] if errors else "")

    async def post(self, key: str, headers: Mapping[str, str]) -> None:
        """Set what is known of an object beside its content. What is not said is taken away.

        :raises NotFound: nothing is there.
        """
        await self.client.ask("POST", key, nothing, headers=headers, body=[])

    async def copy(self, source: str, target: str) -> None:
        """Of a large object what it lists, so that both have the same segments; of others their bytes."""
        headers = {"X-Copy-From": f"/{quote(self.client.container, safe='')}/{quote(source)}"}
        query = {"multipart-manifest": "get"}
        await self.client.ask("PUT", target, nothing, query, headers, [], seconds=LONG)

    async def delete(self, key: str, brief: bool = False) -> None:
        """What is not there is no error. Of a large object what it lists stays."""
        try:
            await self.client.ask("DELETE", key, nothing, brief=brief, careless=True)
        except NotFound:
            return

    async def _sum(self, parts: Sequence[Octets]) -> str:
        if sum(map(len, parts)) <= HASTY:
            return _md5(parts)
        return await self._runner.slow(_md5, parts)


async def _tag(answer: Answer) -> str:
    await answer.content(LIMIT)
    return answer.header("etag") or ""


def _md5(parts: Sequence[Octets]) -> str:
    """What Swift knows an object by, and looks at when it has it."""
    found = hashlib.md5(usedforsecurity=False)
    for part in parts:
        found.update(part)
    return found.hexdigest()


def _time(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _rows(content: bytes) -> list[dict[str, Any]]:
    """:raises Transient: no listing, or half of one."""
    try:
        rows = json.loads(content)
        for row in rows:
            if not isinstance(row["subdir"] if "subdir" in row else row["name"], str):
                raise TypeError
            if "name" in row:
                _time(row["last_modified"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Transient("the store's answer is no listing") from None
    found: list[dict[str, Any]] = rows
    return found


def _manifest(content: bytes) -> list[dict[str, Any]]:
    """:raises Transient: no list of segments, or half of one."""
    try:
        rows = json.loads(content)
        if not all(
            isinstance(row["name"], str) and isinstance(row["bytes"], int) and isinstance(row["hash"], str)
            for row in rows
        ):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Transient("the store's answer is no list of segments") from None
    found: list[dict[str, Any]] = rows
    return found
