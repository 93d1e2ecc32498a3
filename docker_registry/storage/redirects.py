"""Redirects of stores, which are not followed (F8): a token, and what is stored, go nowhere that nobody has named."""

from __future__ import annotations

import re

from docker_registry.storage.http import clean


def whereto(location: str | None) -> str:
    """The host that one leads to, as it may stand in a log (T43)."""
    host = re.match(r"https?://([^/?#@]+)", location or "")
    return clean(host[0])[:100] if host else "nobody says where"
