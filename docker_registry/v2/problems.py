"""Errors as v2 phrases them: one table (distribution-spec 1.1, "Error Codes", and the codes that registries add)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from docker_registry import errors
from docker_registry.v2.answers import JSON, NOSNIFF, VERSION
from docker_registry.web.application import RETRY_AFTER, Phrased
from docker_registry.web.errors import BodyTooLarge
from docker_registry.web.ranges import RangeNotSatisfiable
from docker_registry.web.routing import BadPath, NoRoute, WrongMethod

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Problem:
    """:ivar status: of the answer.
    :ivar code: what clients decide by.
    :ivar message: for people; never a path, a value from a request or a configuration.
    """

    status: int
    code: str
    message: str


INTERNAL = Problem(500, "UNKNOWN", "the registry failed; its log says why")

PROBLEMS: dict[type[BaseException], Problem] = {
    errors.RepositoryUnknown: Problem(404, "NAME_UNKNOWN", "repository name not known to registry"),
    errors.ManifestUnknown: Problem(404, "MANIFEST_UNKNOWN", "manifest unknown to registry"),
    errors.BlobUnknown: Problem(404, "BLOB_UNKNOWN", "blob unknown to registry"),
    errors.UploadUnknown: Problem(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
    errors.NameInvalid: Problem(400, "NAME_INVALID", "invalid repository name"),
    errors.TagInvalid: Problem(400, "TAG_INVALID", "invalid tag: 1 to 128 letters, digits, '_', '.', '-'"),
    errors.PageInvalid: Problem(400, "PAGINATION_NUMBER_INVALID", "n is a number of entries, 0 or more"),
    errors.DigestInvalid: Problem(400, "DIGEST_INVALID", "a digest is sha256: or sha512: and lower-case hexadecimal"),
    errors.DigestMismatch: Problem(400, "DIGEST_INVALID", "provided digest did not match uploaded content"),
    errors.SizeInvalid: Problem(400, "SIZE_INVALID", "provided length did not match content length"),
    errors.RangeInvalid: Problem(416, "RANGE_INVALID", "the chunk does not begin where the upload stands: see Range"),
    errors.ManifestInvalid: Problem(400, "MANIFEST_INVALID", "manifest invalid"),
    errors.ManifestTooLarge: Problem(413, "MANIFEST_INVALID", "the manifest is too large"),
    errors.ManifestBlobUnknown: Problem(400, "MANIFEST_BLOB_UNKNOWN", "manifest refers to unknown content"),
    errors.DeletionDisabled: Problem(405, "UNSUPPORTED", "deleting is switched off"),
    errors.BlobInUse: Problem(405, "UNSUPPORTED", "a manifest refers to this blob: delete that first"),
    errors.TooManyUploads: Problem(429, "TOOMANYREQUESTS", "too many uploads are open: try again later"),
    errors.StorageFull: Problem(507, "UNAVAILABLE", "the registry has no space left"),
    errors.OutOfService: Problem(503, "UNAVAILABLE", "this content is out of service: ask whoever runs the registry"),
    errors.StoreUnavailable: Problem(503, "UNAVAILABLE", "the store of the registry does not answer: try again later"),
    errors.StorageError: INTERNAL,
    RangeNotSatisfiable: Problem(416, "RANGE_INVALID", "the blob has no such range"),
    BodyTooLarge: Problem(413, "MANIFEST_INVALID", "the manifest is too large"),
    NoRoute: Problem(404, "UNSUPPORTED", "no such endpoint"),
    BadPath: Problem(400, "NAME_INVALID", "invalid repository name"),
    WrongMethod: Problem(405, "UNSUPPORTED", "this endpoint does not have that method"),
}

NO_STORE = (b"Cache-Control", b"no-store")

_COME_LATER = (429, 503)

_REFUSALS = {413: "SIZE_INVALID", 416: "RANGE_INVALID", 429: "TOOMANYREQUESTS", 503: "UNAVAILABLE", 507: "UNAVAILABLE"}


def entries(problem: Problem, error: BaseException) -> list[dict[str, object]]:
    """What stands in the answer's list of errors: with several things wrong, one for each."""
    details: Sequence[object]
    match error:
        case errors.ManifestBlobUnknown():
            details = [{"digest": digest} for digest in error.digests]
        case errors.ManifestInvalid() | errors.SizeInvalid():
            details = [str(error)]
        case errors.BlobInUse():
            details = [{"manifest": error.manifest}]
        case _:
            details = [None]
    return [
        {"code": problem.code, "message": problem.message} | ({} if detail is None else {"detail": detail})
        for detail in details
    ]


def extra_headers(problem: Problem, error: BaseException) -> Headers:
    headers: Headers = []
    if isinstance(error, RangeNotSatisfiable):
        headers.append((b"Content-Range", b"bytes */%d" % error.size))
    if problem.status in _COME_LATER:
        headers.append(RETRY_AFTER)
    return headers


def phrase(error: BaseException) -> Phrased | None:
    """The answer to an error; ``None`` for what nobody expected."""
    problem = errors.nearest(PROBLEMS, error)
    if problem is None:
        return None
    headers = [VERSION, NOSNIFF, JSON, NO_STORE, *extra_headers(problem, error)]
    return Phrased(problem.status, headers, body(entries(problem, error)))


def refusal(status: int, reason: str) -> Phrased:
    """The answer to what was refused before there was a request to route."""
    code = _REFUSALS.get(status, "UNKNOWN" if status >= 500 else "UNSUPPORTED")
    later = [RETRY_AFTER] if status in _COME_LATER else []
    return Phrased(status, [VERSION, NOSNIFF, JSON, NO_STORE, *later], body([{"code": code, "message": reason}]))


def body(listed: Sequence[dict[str, object]]) -> bytes:
    return json.dumps({"errors": list(listed)}).encode()
