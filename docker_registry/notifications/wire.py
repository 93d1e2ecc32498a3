"""Events as registry:2 sends them (distribution, "Work with notifications"), version 2 of their envelope."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, cast
from urllib.parse import quote
from uuid import UUID, uuid4, uuid5

from docker_registry import current
from docker_registry.digest import Digest
from docker_registry.names import Tag
from docker_registry.registry import events
from docker_registry.registry.documents import Document

MEDIA_TYPE = "application/vnd.docker.distribution.events.v2+json"
BLOB = "application/octet-stream"

MOST_BYTES = 256 << 10
"""Of one event; a manifest that refers to more is told without its references."""

_LONGEST = 512
"""Characters of what a client says of itself."""


class _Request(current.Asked, Protocol):
    """What an event says of a request, beyond what a log line does."""

    @property
    def client(self) -> str: ...

    @property
    def secure(self) -> bool: ...

    def header(self, name: bytes) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What was known when it happened: the request is gone when the event is written.

    :ivar time: seconds since the epoch.
    :ivar base: of URLs; empty if nobody asked.
    :ivar id: from which the ids of what is told are made: the same ones, however often it is written.
    """

    time: float
    request: dict[str, str]
    user: str
    base: str
    id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True)
class Source:
    """Which registry says so.

    :ivar instance: of the process, anew at each start.
    """

    address: str
    instance: str


@dataclass(frozen=True, slots=True)
class Written:
    """An event, and what endpoints choose by.

    :ivar media_type: of what it is about; empty if that is not known.
    """

    action: str
    media_type: str
    text: str


def facts(now: float) -> Facts:
    """Of the request that is at work."""
    asked = current.request.get()
    if not hasattr(asked, "header"):                # what isinstance would look at takes longer than all the rest
        return Facts(now, {}, "", "")
    asked = cast(_Request, asked)
    host = _said(asked, b"host")
    told = _said(asked, b"x-forwarded-proto")
    scheme = told if told in ("http", "https") else "https" if asked.secure else "http"
    request = {
        "id": asked.id, "addr": asked.client, "host": host, "method": asked.method,
        "useragent": _said(asked, b"user-agent"),
    }
    return Facts(now, request, asked.user or "", f"{scheme}://{host}" if host else "")


def write(event: events.Event, known: Facts, source: Source, references: bool) -> Iterator[Written]:
    """One for each thing that happened; none for what registry:2 has no event for.

    :param references: whether manifests that were pushed list what they refer to.
    """
    for number, (action, target) in enumerate(_targets(event, known.base, references)):
        body = {
            "id": str(uuid5(known.id, str(number))),
            "timestamp": datetime.fromtimestamp(known.time, UTC).isoformat(timespec="microseconds")[:-6] + "Z",
            "action": action,
            "target": target,
            "request": known.request,
            "actor": {"name": known.user} if known.user else {},
            "source": {"addr": source.address, "instanceID": source.instance},
        }
        text = json.dumps(body)
        if len(text) > MOST_BYTES and target.pop("references", None):
            text = json.dumps(body)
        yield Written(action, target.get("mediaType", ""), text)


def envelope(texts: Sequence[str]) -> bytes:
    """Several events as they are sent."""
    return b'{"events":[%b]}' % ",".join(texts).encode("ascii")


def _targets(event: events.Event, base: str, references: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    name = event.repository.name
    target: dict[str, Any] = {"repository": name}
    match event:
        case events.ManifestPushed(_, digest, size, document, tags):
            for tag in tags or (None,):
                yield "push", _manifest(name, document, digest, size, base, references, tag)
        case events.ManifestPulled(_, digest, size, document, tag):
            yield "pull", _manifest(name, document, digest, size, base, references, tag)
        case events.BlobPushed(_, digest, size):
            yield "push", _blob(name, digest, size, base)
        case events.BlobPulled(_, digest, size):
            yield "pull", _blob(name, digest, size, base)
        case events.BlobMounted(_, digest, size, origin):
            yield "mount", {**_blob(name, digest, size, base), "fromRepository": origin.name}
        case events.ManifestMade(_, digest, size, document, tag, True):
            yield "push", _manifest(name, document, digest, size, base, references, tag)
        case events.BlobDeleted(_, digest):
            yield "delete", {"digest": str(digest), **target}
        case events.ManifestDeleted(_, digest, tags):
            yield "delete", {"digest": str(digest), **target}
            for tag in tags:
                yield "delete", {**target, "tag": tag.name}
        case events.TagDeleted(_, tag):
            yield "delete", {**target, "tag": tag.name}
        case events.RepositoryDeleted():
            yield "delete", target


def _manifest(
    name: str, document: Document, digest: Digest, size: int, base: str, references: bool, tag: Tag | None
) -> dict[str, Any]:
    about = {**_about(name, document.media_type, digest, size), **_url(base, name, "manifests", digest)}
    if tag is not None:
        about["tag"] = tag.name
    if references:
        about["references"] = [
            {"mediaType": each.media_type, "size": each.size, "digest": str(each.digest)}
            for each in document.children or document.blobs
        ]
    return about


def _blob(name: str, digest: Digest, size: int, base: str) -> dict[str, Any]:
    return {**_about(name, BLOB, digest, size), **_url(base, name, "blobs", digest)}


def _about(name: str, media_type: str, digest: Digest, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "size": size, "digest": str(digest), "length": size, "repository": name}


def _url(base: str, name: str, kind: str, digest: Digest) -> dict[str, str]:
    return {"url": f"{base}/v2/{quote(name)}/{kind}/{digest}"} if base else {}


def _said(asked: _Request, name: bytes) -> str:
    return (asked.header(name) or b"").decode("latin-1")[:_LONGEST]
