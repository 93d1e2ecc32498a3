"""What Glance's refusals mean."""

from __future__ import annotations

import html
import re

from docker_registry.errors import (
    NotFound,
    OutOfService,
    StorageError,
    StorageFailed,
    StorageFull,
    StorageRefused,
    StoreUnavailable,
    Transient,
)
from docker_registry.storage.http import Answer, Crowded, clean
from docker_registry.storage.redirects import whereto

LIMIT = 64 << 10
"""Bytes of an answer that says what went wrong."""

_TITLE = re.compile(r"<(title|h1)>.*?</\1>|\A[0-9]{3} [^\n]{0,80}\n", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^>]{0,200}>")
_FULL = re.compile(r"quota|exceed|limit|disk space", re.IGNORECASE)
_LIMITS = "is over a limit for ["
"""What stands before the limits that Keystone keeps, behind much that says nothing."""


class Refused(StorageRefused):
    """:ivar status: of the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"Glance refused: {status} {text}".strip())
        self.status = status


class Conflict(Refused):
    """409: of an id that is or was in use, or of an image whose status does not allow it."""


class Gone(Refused):
    """410: the image was deleted while its bytes were sent."""


class Uploading(Crowded):
    """The project sends as many images at a time as it may: soon one of them is there."""


class Deactivated(OutOfService):
    """Somebody has taken the image out of service.

    :param what: of ours it holds; empty if that is not known.
    """

    def __init__(self, image: str, what: str = "") -> None:
        where = f"{what}: " if what else ""
        super().__init__(f"{where}image {image} is deactivated: openstack image set --activate {image} brings it back")


async def refusal(answer: Answer, what: str) -> StorageError:
    """The error that an answer without success comes to.

    :param what: was asked for, for the text.
    """
    return meaning(answer.status, await _said(answer), answer.header("location") or "", what)


def meaning(status: int, said: str, location: str, what: str) -> StorageError:
    """:param said: by Glance, as it may stand in a log."""
    if status == 413 and "image_count_uploading" in said:
        return Uploading(f"Glance: {what}: {said}")
    if status == 413 and "too large" in said.lower():
        return StorageFull(f"Glance: {what}: {status} {said} Raise image_size_cap of Glance")
    if status == 507 or (status == 413 and "propert" not in said.lower()) or (status == 403 and _FULL.search(said)):
        return StorageFull(f"Glance: {what}: {status} {said}")
    if status in (408, 429) or status >= 500:
        return Transient(f"Glance is busy: {status} {said}".rstrip())
    if status < 400:
        return StoreUnavailable(f"Glance is elsewhere: {whereto(location)}; set OS_GLANCE_URL if that is right")
    if status == 404:
        return NotFound(what)
    if status == 403 and "deactivated" in said.lower():
        return Deactivated(what.removeprefix("image "))
    if status == 413:
        return Refused(status, f"{said}; raise image_property_quota of Glance")
    if status == 403:
        return Refused(status, f"{said or 'forbidden'}; does the login have the role member in its project?")
    kinds: dict[int, type[Refused]] = {409: Conflict, 410: Gone}
    return kinds.get(status, Refused)(status, said)


async def _said(answer: Answer) -> str:
    """The words of an error, which comes as HTML or as text, without the status at their beginning."""
    try:
        text = (await answer.content(LIMIT)).decode("utf-8", "replace")
    except (StorageFailed, Transient):
        answer.close()
        return ""
    plain = html.unescape(_TAG.sub(" ", _TITLE.sub(" ", text)))
    if _LIMITS in plain:
        plain = plain.partition(_LIMITS)[2].rstrip("] \n")
    return clean(" ".join(plain.split()))[:200]
