"""Which fields of a URL's query are secrets: one can only go by their names (T44)."""

from __future__ import annotations

import re

_WORDS = "token|password|signature|credential|secret"
"""Anywhere in a name."""

_NAME = re.compile(rf"{_WORDS}|_state\Z|\Akey\Z", re.IGNORECASE)

IN_TEXT = rf"[?&;](?:[\w%.~-]{{0,64}}?(?:{_WORDS})[\w%.~-]{{0,64}}|[\w%.~-]{{0,64}}_state|key)="
"""A regular expression of what stands before the value of one, in a text with a URL somewhere in it."""


def is_secret(name: str) -> bool:
    """:param name: of a field, decoded."""
    return _NAME.search(name) is not None
