"""JSON from clients, read so that no two readers can see two documents in it (T9)."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def loads(content: bytes) -> Any:
    """Parse a document.

    :raises ValueError: not JSON in UTF-8 (RFC 8259), nested too deeply, or with a key twice in one object; the text
        says which, and is fit for a client.
    """
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except _NotStrict:
        raise
    except ValueError as error:         # not UTF-8, not JSON, or a number of thousands of digits
        raise ValueError(f"not JSON: {type(error).__name__}") from None


class _NotStrict(ValueError):
    """What `json` would have taken."""


def _constant(name: str) -> NoReturn:
    raise _NotStrict(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotStrict("a key occurs twice in one object")
    return members
