"""What v2's answers have in common."""

from __future__ import annotations

import json
from urllib.parse import quote

from docker_registry.digest import Digest
from docker_registry.errors import DigestInvalid, PageInvalid
from docker_registry.web.request import Request, header_lines

Headers = list[tuple[bytes, bytes]]

VERSION = (b"Docker-Distribution-Api-Version", b"registry/2.0")
"""Stands on every answer below ``/v2/``: old engines choose their protocol by it."""

NOSNIFF = (b"X-Content-Type-Options", b"nosniff")
JSON = (b"Content-Type", b"application/json")

REMEMBERED = 4096
"""Manifests, and blobs, whose header fields are kept."""

FOREVER = (b"Cache-Control", b"max-age=31536000, immutable")
"""What a digest names does not change."""

ASK_AGAIN = (b"Cache-Control", b"no-cache")
"""What a tag names does."""


def send(
    request: Request, status: int, headers: Headers | bytes, content: bytes = b"", length: int | None = None
) -> None:
    if not isinstance(headers, bytes):
        headers = [VERSION, NOSNIFF, *headers]
    request.answer(status, headers, content, length)


def lines(*headers: tuple[bytes, bytes]) -> bytes:
    """The header fields of answers that are given often, made once."""
    return header_lines([VERSION, NOSNIFF, *headers])


def send_json(request: Request, value: object, *headers: tuple[bytes, bytes]) -> None:
    send(request, 200, [JSON, ASK_AGAIN, *headers], json.dumps(value).encode())


def one(request: Request, name: str) -> str | None:
    """The value of a query field, ``None`` if it is not there, or there more than once."""
    values = request.args.get(name, ())
    return values[0] if len(values) == 1 else None


def digest_field(request: Request, name: str) -> Digest | None:
    """A digest from the query, ``None`` if there is none.

    :raises DigestInvalid: malformed, or given twice.
    """
    if name not in request.args:
        return None
    text = one(request, name)
    if text is None:
        raise DigestInvalid(name)
    return Digest.parse(text)


def page_size(request: Request, most: int) -> int:
    """How many entries a listing's client asked for, cut to ``most``.

    :raises PageInvalid: not a number from 0 up, or given twice.
    """
    if "n" not in request.args:
        return most
    text = one(request, "n")
    if text is None or not (text.isascii() and text.isdigit()):
        raise PageInvalid(text)
    return most if len(text) > 18 else min(int(text), most)


def next_page(path: str, last: str, size: int, **more: str) -> tuple[bytes, bytes]:
    """The header that leads to the entries beyond ``last`` (RFC 8288)."""
    fields = {"last": last, "n": str(size), **more}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items())
    return b"Link", f'<{path}?{query}>; rel="next"'.encode("ascii")


def etag(digest: Digest) -> bytes:
    """The entity tag of what a digest names."""
    return f'"{digest}"'.encode("ascii")


def client_has(request: Request, digest: Digest) -> bool:
    """Whether ``If-None-Match`` names the digest's entity tag, or any (RFC 9110, 13.1.2)."""
    header = request.header(b"if-none-match")
    if header is None:
        return False
    tags = [tag.strip().removeprefix(b"W/") for tag in header.split(b",")]
    return b"*" in tags or etag(digest) in tags


def wants_part(request: Request, digest: Digest) -> bool:
    """Whether a part is enough: ``If-Range`` is absent, or is the entity tag itself, which a weak one is not (RFC 9110,
    13.1.5)."""
    return request.header(b"if-range") in (None, etag(digest))
