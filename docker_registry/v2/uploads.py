"""``/v2/<name>/blobs/uploads/``: sessions, chunks, whole blobs in one request, mounts."""

from __future__ import annotations

import re

from docker_registry.digest import CANONICAL, Digest
from docker_registry.errors import DigestInvalid, NameInvalid, RangeInvalid, SizeInvalid
from docker_registry.names import Repository, UploadId
from docker_registry.registry.registry import Registry
from docker_registry.registry.uploads import Chunk
from docker_registry.v2 import problems
from docker_registry.v2.answers import JSON, Headers, digest_field, one, send
from docker_registry.web.request import Request

_CONTENT_RANGE = re.compile(rb"(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/(?:[0-9]{1,18}|\*))?")


class UploadRoutes:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def start(self, request: Request, repository: Repository) -> None:
        """Open a session, or do without one: a mount, or a blob whole in this request."""
        mount, digest = digest_field(request, "mount"), digest_field(request, "digest")
        if mount is not None and await self._mount(request, repository, mount):
            return self._created(request, repository, mount)
        if digest is not None and (request.has_body or digest == Digest.of(b"", digest.algorithm)):
            await self._registry.uploads.take(repository, digest, request.body, _chunk(request))
            return self._created(request, repository, digest)
        algorithm = digest.algorithm if digest is not None else one(request, "digest-algorithm") or CANONICAL
        upload = await self._registry.uploads.start(repository, algorithm)
        return send(request, 202, _session(repository, upload, 0))

    async def _mount(self, request: Request, repository: Repository, digest: Digest) -> bool:
        """A source that is not there, or has no proper name, leads to an ordinary session (distribution-spec 1.1)."""
        source = None
        if "from" in request.args:
            try:
                source = Repository.parse(one(request, "from") or "")
            except NameInvalid:
                return False
        return await self._registry.blobs.mount(repository, digest, source)

    async def append(self, request: Request, repository: Repository, upload: UploadId) -> None:
        try:
            offset = await self._registry.uploads.append(repository, upload, request.body, _chunk(request))
        except RangeInvalid as error:
            return _out_of_order(request, repository, upload, error)
        return send(request, 202, _session(repository, upload, offset))

    async def finish(self, request: Request, repository: Repository, upload: UploadId) -> None:
        digest = digest_field(request, "digest")
        if digest is None:
            raise DigestInvalid("digest is missing")
        try:
            await self._registry.uploads.finish(repository, upload, digest, request.body, _chunk(request))
        except RangeInvalid as error:
            return _out_of_order(request, repository, upload, error)
        return self._created(request, repository, digest)

    async def status(self, request: Request, repository: Repository, upload: UploadId) -> None:
        offset = await self._registry.uploads.offset(repository, upload)
        send(request, 204, _session(repository, upload, offset))

    async def cancel(self, request: Request, repository: Repository, upload: UploadId) -> None:
        try:
            await self._registry.uploads.cancel(repository, upload)
        except RangeInvalid as error:
            return _out_of_order(request, repository, upload, error)
        return send(request, 204, [])

    def _created(self, request: Request, repository: Repository, digest: Digest) -> None:
        headers = [
            (b"Location", f"/v2/{repository}/blobs/{digest}".encode()),
            (b"Docker-Content-Digest", str(digest).encode()),
        ]
        send(request, 201, headers)


def _session(repository: Repository, upload: UploadId, offset: int) -> Headers:
    """Where the session is and what it holds; the convention for nothing is the range of one byte."""
    return [
        (b"Location", f"/v2/{repository}/blobs/uploads/{upload}".encode()),
        (b"Range", b"0-%d" % max(offset - 1, 0)),
        (b"Docker-Upload-UUID", str(upload).encode()),
    ]


def _out_of_order(request: Request, repository: Repository, upload: UploadId, error: RangeInvalid) -> None:
    """The answer that a client can go on from: it says where the session stands."""
    problem = problems.PROBLEMS[RangeInvalid]
    content = problems.body(problems.entries(problem, error))
    send(request, problem.status, [JSON, *_session(repository, upload, error.offset)], content)


def _chunk(request: Request) -> Chunk:
    """What the request says of its body.

    ``Content-Range`` is ``first-last`` without a unit (distribution-spec 1.1, "Pushing a blob in chunks"); clients also
    send the forms of RFC 9110.

    :raises SizeInvalid: no such form.
    """
    header = request.header(b"content-range")
    if header is None:
        return Chunk(length=request.content_length if request.has_body else 0)
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None or int(match[2]) < int(match[1]):
        raise SizeInvalid("Content-Range is not first-last")
    first, last = int(match[1]), int(match[2])
    return Chunk(first, last - first + 1, request.content_length if request.has_body else 0)
