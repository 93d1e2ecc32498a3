"""What llhttp lets pass in a head and a registry must not (RFC 9112)."""

from __future__ import annotations

import re
from functools import lru_cache

from docker_registry.web.errors import Refusal
from docker_registry.web.limits import Limits

Fields = dict[bytes, list[bytes]]

_START_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9]\.[0-9])\r\n")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)(/[^#]*)?", re.IGNORECASE)
_METHODS = {each.encode("ascii"): each for each in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_VERSIONS = {b"1.1": "1.1", b"1.0": "1.0"}


def start_line(head: bytes, limits: Limits) -> tuple[str, bytes, str]:
    """Method, target and version of the request that ``head`` begins.

    One blank between them and nothing else, as RFC 9112, 3 writes it; llhttp takes more.

    :raises Refusal: anything else, or a method or a version that nobody serves here.
    """
    line = _START_LINE.match(head)
    if line is None:
        raise Refusal(400, "malformed request line")
    version = _VERSIONS.get(line[3])
    if version is None:
        raise Refusal(505 if line[3][:1] in b"23" else 400, "HTTP/1.1 is spoken here")
    if len(line[2]) > limits.target_bytes:
        raise Refusal(414, "the request's target is too long")
    method = _METHODS.get(line[1])
    if method is None:
        raise Refusal(501 if line[1].isupper() else 400, "no such method here")
    return method, line[2], version


def judge(version: str, headers: Fields) -> None:
    """:raises Refusal: a head that some reader would understand otherwise, or an expectation that nobody meets."""
    hosts = headers.get(b"host")
    if hosts is None:
        if version == "1.1":
            raise Refusal(400, "a request names its Host")
    elif len(hosts) > 1 or not _is_host(hosts[0]):
        raise Refusal(400, "a request has one Host, a name with or without a port")
    codings = headers.get(b"transfer-encoding")
    if codings is not None and (version == "1.0" or len(codings) > 1 or codings[0].lower() != b"chunked"):
        raise Refusal(400, "the only transfer coding is chunked, in HTTP/1.1")
    expectations = headers.get(b"expect")
    if expectations is not None and (len(expectations) > 1 or expectations[0].lower() != b"100-continue"):
        raise Refusal(417, "the only expectation is 100-continue")


@lru_cache(256)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def origin_form(target: bytes, headers: Fields) -> bytes:
    """The path and query that a request is for (RFC 9112, 3.2); the host that an absolute target names replaces Host.

    :raises Refusal: another form.
    """
    if target[:1] == b"/" and b"#" not in target:
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not _is_host(absolute[1]):
        raise Refusal(400, "the request's target is not a path")
    headers[b"host"] = [absolute[1]]
    return absolute[2] or b"/"


def body_length(headers: Fields) -> int | None:
    """Bytes that follow a head which was judged; ``None`` if they come in chunks. llhttp has seen that a length is one
    number, of at most twenty digits.
    """
    if b"transfer-encoding" in headers:
        return None
    lengths = headers.get(b"content-length")
    return 0 if lengths is None else int(lengths[0])
