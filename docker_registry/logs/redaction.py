"""The last filter before text leaves: no secret gets through, however it is spelled (T44)."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from docker_registry.query_secrets import IN_TEXT

REDACTED = "[redacted]"

_SHORT = 4
"""A secret below this length is looked for as a word of its own: it would be found everywhere."""

_SHAPES = re.compile(
    rf"""
    (?P<before>
        \b(?:authorization|cookie|set-cookie|x-auth-token|x-subject-token|x-amz-security-token)\b["']?\s*[:=,]\s*[\[(]?
        | {IN_TEXT}
        | \b(?:basic|bearer)\s+(?=[A-Za-z0-9+/=._~-]{{8}})(?-i:(?=\S*[A-Z0-9=]))
        | ://(?=[^/\s@:]*:[^/\s@]*@)
    )
    (?P<value> (?<=://)[^/\s@]+ | b?["'][^"'\n]* | (?:basic|bearer)\s+\S+ | [^\s&;,"']+ )
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What holds a credential by its form: header fields, query fields, Basic and Bearer, user:password@ in a URL."""


class Redactor:
    """:param secrets: each is found as it is, percent-encoded, escaped as in JSON and Python, and in base64: by itself
    or inside of something longer, such as ``login:password`` of HTTP or what SMTP sends.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._secrets = re.compile("|".join(longest_first)) if longest_first else None

    def __call__(self, text: str) -> str:
        if self._secrets is not None:
            text = self._secrets.sub(REDACTED, text)
        return _SHAPES.sub(rf"\g<before>{REDACTED}", text)


def _spellings(secret: str) -> Iterator[str]:
    """Regular expressions."""
    plain = {
        secret, quote(secret, safe=""), quote(secret), quote_plus(secret),
        json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1],
        repr(secret.encode(errors="surrogatepass"))[2:-1],
    }
    for each in plain:
        pattern = re.sub("%[0-9A-F]{2}", lambda code: f"(?i:{code[0]})", re.escape(each))
        yield pattern if len(secret) >= _SHORT else rf"(?<!\w){pattern}(?!\w)"
    for each in _in_base64(secret.encode(errors="surrogatepass")):
        yield re.escape(each)
        yield re.escape(each.translate(_URL_SAFE))


def _in_base64(secret: bytes) -> Iterator[str]:
    """What shows of ``secret`` in the base64 of anything that contains it.

    It may begin at any of three places in a group; the characters that it shares with its neighbours are left out.
    """
    for before in range(3):
        encoded = b64encode(bytes(before) + secret).decode()
        first = -(-before * 4 // 3)
        last = (before + len(secret)) * 4 // 3
        if last - first >= _SHORT:
            yield encoded[first:last]


_URL_SAFE = str.maketrans("+/", "-_")
