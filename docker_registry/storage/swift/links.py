"""URLs at which clients read objects without this process between them and the store (TempURL)."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import unquote, urlencode, urlsplit

from docker_registry.storage.swift.client import Client

VALID = 1200
"""Seconds for which a URL can be used; a download that has begun goes on."""


async def link(client: Client, key: str, secret: str, now: float) -> str:
    """:param key: whole.
    :param secret: of the container or of the account.
    :param now: seconds since the epoch.
    """
    url = f"{(await client.access()).url}{client.path(key)}"
    expires = int(now) + VALID
    message = f"GET\n{expires}\n{unquote(urlsplit(url).path)}"
    signature = hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()
    return f"{url}?{urlencode({'temp_url_sig': signature, 'temp_url_expires': expires})}"
