"""What v1's answers have in common."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Sequence

from twisted.web.http import datetimeToString

from docker_registry.names import Repository
from docker_registry.web.request import Headers, Request

VERSION = (b"X-Docker-Registry-Version", b"0.9.1")
"""docker up to 0.10 takes nothing for a registry that does not say one; this is the last of the old registries'."""

STANDALONE = (b"X-Docker-Registry-Standalone", b"True")
JSON = (b"Content-Type", b"application/json")
NOSNIFF = (b"X-Content-Type-Options", b"nosniff")
NOT_CACHED = [(b"Cache-Control", b"no-cache"), (b"Pragma", b"no-cache"), (b"Expires", b"-1")]
COMMON = [VERSION, STANDALONE, NOSNIFF]

YEAR = 365 * 86400
_TOKEN = string.ascii_uppercase + string.digits


def send_json(request: Request, value: object, status: int = 200, headers: Headers = ()) -> None:
    content = b"" if status == 204 else json.dumps(value, sort_keys=True).encode()
    request.answer(status, [*COMMON, JSON, *NOT_CACHED, *headers], content)


def cached(now: float) -> Headers:
    """Of what never changes.

    :param now: seconds since the epoch.
    """
    return [
        *COMMON,
        (b"Cache-Control", b"public, max-age=%d" % YEAR),
        (b"Expires", datetimeToString(now + YEAR)),
        (b"Last-Modified", datetimeToString(0)),
    ]


def tokens(repository: Repository, access: str, endpoints: Sequence[bytes]) -> Headers:
    """What docker wants from an index before it talks to a registry. Nobody asks for the token again.

    :param endpoints: each has a field of its own: docker up to 0.7 takes a list for one host.
    """
    name = str(repository) if "/" in str(repository) else f"library/{repository}"
    signature = "".join(secrets.choice(_TOKEN) for _ in range(16))
    token = f'Token signature={signature},repository="{name}",access={access}'.encode()
    hosts = [(b"X-Docker-Endpoints", each) for each in endpoints]
    return [(b"X-Docker-Token", token), (b"WWW-Authenticate", token), *hosts]
