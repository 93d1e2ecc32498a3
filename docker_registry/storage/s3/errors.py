"""What a store's refusal means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from docker_registry.errors import NotFound, StorageError, StorageFailed, StorageFull, StoreUnavailable, Transient
from docker_registry.storage.http import Answer, clean
from docker_registry.storage.objects.store import OutOfRange, Refused
from docker_registry.storage.s3.documents import Malformed, name, parse, text

ERROR_LIMIT = 64 << 10
"""Bytes of an answer that says what went wrong."""

BUSY = frozenset({
    "InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "Throttling",
    "ThrottlingException", "RequestThrottled", "TooManyRequests",
})
DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"})
SKEWED = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_FULL = re.compile(r"Quota|StorageFull|InsufficientStorage|InsufficientCapacity")


class NoKeys(StoreUnavailable):
    """The store does not take our credentials, or they may not do this."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an answer without success says.

    :ivar code: of S3, or made of the status if the answer has no body.
    :ivar region: where the bucket is, if it says so.
    :ivar host: where it redirects to, if it does.
    """

    status: int
    code: str
    message: str = ""
    region: str = ""
    host: str = ""


async def complaint(answer: Answer, is_head: bool) -> Complaint:
    """Read what went wrong; answers to HEAD have no body."""
    region = answer.header("x-amz-bucket-region") or ""
    location = re.match(r"https?://([^/?#@]+)", answer.header("location") or "")
    host = location[1] if location else ""
    if is_head:
        await answer.discard()
        return Complaint(answer.status, str(answer.status), "", region, host)
    try:
        root = parse(await answer.content(ERROR_LIMIT))
    except (Malformed, StorageFailed, Transient):
        answer.close()
        return Complaint(answer.status, str(answer.status), "", region, host)
    code = clean(text(root, "Code"))[:64] or str(answer.status)
    return Complaint(
        answer.status, code, clean(text(root, "Message"))[:200], region or text(root, "Region"),
        host or text(root, "Endpoint"),
    )


def in_success(content: bytes, expected: str) -> Complaint | None:
    """What went wrong though the status says success (F2).

    :param expected: the name of the document that a success is; empty if stores have several.
    :raises Malformed: no document, half of one, or another: of somebody on the way who knows nothing of S3.
    """
    root = parse(content)
    if name(root) == "Error":
        return _inside(root)
    if expected and name(root) != expected:
        raise Malformed(f"the store's answer is no {expected}")
    return next((_inside(each) for each in root.iterfind("{*}Error") if text(each, "Code") != "NoSuchKey"), None)


def _inside(error: Element) -> Complaint:
    """Of the whole, or of one of the objects that were to be deleted."""
    message = " ".join(filter(None, (clean(text(error, each))[:200] for each in ("Key", "Message"))))
    return Complaint(200, clean(text(error, "Code"))[:64] or "InternalError", message)


def meaning(said: Complaint, bucket: str, key: str) -> StorageError:
    """The error that it comes to when nothing can be done about it."""
    code, where = said.code, f"bucket {bucket}"
    if code == "NoSuchBucket":
        return StoreUnavailable(f"{where} does not exist")
    if _FULL.search(code) or said.status == 507:
        return StorageFull(f"{where}: {code}")
    if said.status in (429, 500, 502, 503, 504) or code in BUSY:
        return Transient(f"{where}: the store is busy: {code}")
    if code == "NoSuchUpload":
        return Refused(code, said.message, where)
    if said.status == 404:
        return NotFound(key)
    if code in SKEWED:
        return NoKeys(f"{where}: the clock of this machine differs from the store's by too much")
    if said.status in (401, 403) or code in EXPIRED or code in DENIED:
        return NoKeys(f"{where}: {code}: {said.message.rstrip('.') or 'access denied'}")
    if said.status in (301, 302, 303, 307, 308):
        return StoreUnavailable(f"{where} is elsewhere: {clean(said.host or said.region) or 'nobody says where'}")
    if code == "InvalidRange" or said.status == 416:
        return OutOfRange(code, said.message)
    return Refused(code, said.message, where)
