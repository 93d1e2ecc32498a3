"""Errors as v1 phrases them: one table, in the words of docker-registry 0.x."""

from __future__ import annotations

import json

from docker_registry import errors
from docker_registry.v1.answers import COMMON, JSON, NOT_CACHED
from docker_registry.web.application import RETRY_AFTER, Phrased
from docker_registry.web.errors import BodyTooLarge
from docker_registry.web.ranges import RangeNotSatisfiable
from docker_registry.web.request import Headers
from docker_registry.web.routing import BadPath, NoRoute, WrongMethod


class Wrong(Exception):
    """A request that cannot be understood.

    :ivar status: of the answer.
    :ivar text: for people, and for clients that compare it.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


PROBLEMS: dict[type[BaseException], tuple[int, str]] = {
    errors.ImageUnknown: (404, "Image not found"),
    errors.ImageIdInvalid: (404, "Invalid image ID"),
    errors.ImageInProgress: (400, "Image is being uploaded, retry later"),
    errors.ImageExists: (409, "Image already exists"),
    errors.ImageNotInProgress: (409, "Cannot set this image checksum"),
    errors.ImageInvalid: (400, ""),
    errors.ChecksumMismatch: (400, ""),
    errors.LayerInvalid: (400, "Layer format not supported"),
    errors.RepositoryUnknown: (404, "Repository not found"),
    errors.TagUnknown: (404, "Tag not found"),
    errors.NameInvalid: (400, "Invalid repository name: lower-case letters, digits, and '.', '_', '-' between"),
    errors.TagInvalid: (400, "Invalid tag: 1 to 128 letters, digits, '_', '.', '-'"),
    errors.DeletionDisabled: (405, "Deleting is switched off"),
    errors.StorageFull: (507, "The registry has no space left"),
    errors.OutOfService: (503, "This content is out of service: ask whoever runs the registry"),
    errors.StoreUnavailable: (503, "The store of the registry does not answer, try again later"),
    errors.StorageError: (500, "The registry failed; its log says why"),
    BodyTooLarge: (413, "The document is too large"),
    NoRoute: (404, "No such endpoint"),
    BadPath: (400, "Invalid path"),
    WrongMethod: (405, "This endpoint does not have that method"),
}
"""Status and text; an empty text is the error's own."""


def phrase(error: BaseException) -> Phrased | None:
    """The answer to an error; ``None`` for what nobody expected."""
    if isinstance(error, Wrong):
        return _phrased(error.status, error.text)
    if isinstance(error, RangeNotSatisfiable):
        return Phrased(416, [*COMMON, (b"Content-Range", b"bytes */%d" % error.size)], b"")
    found = errors.nearest(PROBLEMS, error)
    if found is None:
        return None
    return _phrased(found[0], found[1] or str(error), [RETRY_AFTER] if found[0] == 503 else [])


def refusal(status: int, reason: str) -> Phrased:
    """The answer to what was refused before there was a request to route."""
    return _phrased(status, reason)


def _phrased(status: int, text: str, headers: Headers = ()) -> Phrased:
    return Phrased(status, [*COMMON, JSON, *NOT_CACHED, *headers], json.dumps({"error": text}).encode())
