"""The XML that a store says, and the XML that it is told. What it says is input (T43)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from docker_registry.errors import Transient
from docker_registry.storage.objects.store import Page

LIMIT = 10 << 20
"""Bytes of one document."""


class Malformed(Transient):
    """No document, or half of one: nobody knows what the store did."""


def parse(content: bytes) -> Element:
    """:raises Malformed: no XML, not to its end, or with more in it than plain elements."""
    try:
        root: Element = fromstring(content.strip(), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise Malformed(f"the store's answer is no proper XML: {type(error).__name__}") from None
    return root


def name(element: Element) -> str:
    """Without its namespace."""
    return element.tag.rpartition("}")[2]


def text(element: Element, path: str) -> str:
    """What stands in the first element at ``path``, ``""`` if there is none."""
    return (element.findtext("/".join(f"{{*}}{step}" for step in path.split("/"))) or "").strip()


def page(content: bytes) -> Page:
    """:raises Malformed: it is no page of a list."""
    root = parse(content)
    if name(root) != "ListBucketResult":
        raise Malformed("the store's answer is no ListBucketResult")
    decode = unquote_plus if text(root, "EncodingType") == "url" else str
    token = text(root, "NextContinuationToken") if text(root, "IsTruncated") == "true" else ""
    return Page(
        [decode(each.text or "") for each in root.iterfind("{*}Contents/{*}Key")],
        [decode(each.text or "") for each in root.iterfind("{*}CommonPrefixes/{*}Prefix")],
        token,
    )


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload in parts that was begun.

    :ivar begun: seconds since the epoch.
    """

    key: str
    id: str
    begun: float


def unfinished(root: Element) -> tuple[list[Unfinished], tuple[str, str] | None]:
    """Uploads, and the markers of the next page."""
    decode = unquote_plus if text(root, "EncodingType") == "url" else str
    found = [
        Unfinished(decode(text(each, "Key")), text(each, "UploadId"), seconds(text(each, "Initiated")))
        for each in root.iterfind("{*}Upload")
    ]
    markers = decode(text(root, "NextKeyMarker")), text(root, "NextUploadIdMarker")
    return found, markers if text(root, "IsTruncated") == "true" and any(markers) else None


def seconds(when: str) -> float:
    """Since the epoch; 0 if the store does not say."""
    try:
        return datetime.fromisoformat(when).timestamp()
    except ValueError:
        return 0.0


def completion(tags: Iterable[str]) -> bytes:
    """Names the parts of an upload, from the first on."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
        for number, tag in enumerate(tags, 1)
    )
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()


def deletion(keys: Iterable[str]) -> bytes:
    objects = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
    return f"<Delete><Quiet>true</Quiet>{objects}</Delete>".encode()
