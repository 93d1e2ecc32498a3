"""JSON from clients, read so that no two readers can see two documents in it (T9)."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MOST = 1 << 16
"""Values in a document. What is made of one may take two hundred bytes, of three that a client has sent."""

DEPTH = 256
"""Objects and arrays in one another. What `json` reads depends on how deep the stack is where it is asked, and so would
whether a document that was taken once can be read, or written, again."""

DIGITS = 309
"""Of a whole number: as many as the largest double has. The time to read one grows with their square."""


def loads(content: bytes, most: int = MOST) -> Any:
    """Parse a document.

    :param most: the number of its values, members of objects among them.
    :raises ValueError: not JSON in UTF-8 (RFC 8259), nested too deeply, with too many values, or with a key twice in
        one object; the text says which, and is fit for a client.
    """
    if len(content) > most and sum(content.count(mark) for mark in b",[{") > most:
        raise ValueError(f"more than {most} values")
    try:
        document = json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant, parse_int=_integer,
            parse_float=_number,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except _NotStrict:
        raise
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON, at character {error.pos + 1}") from None
    if content.count(b"[") + content.count(b"{") > DEPTH and _is_deep(document):
        raise ValueError("nested too deeply")
    return document


def _is_deep(document: Any) -> bool:
    level: list[Any] = [[document]]
    for _ in range(DEPTH + 1):
        level = [each for parent in level for each in (parent.values() if isinstance(parent, dict) else parent)
                 if isinstance(each, dict | list)]
        if not level:
            return False
    return True


class _NotStrict(ValueError):
    """What `json` would have taken."""


def _integer(text: str) -> int:
    if len(text) > DIGITS:
        raise _NotStrict("a number has too many digits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):          # and could not be written as JSON again
        raise _NotStrict("a number is too large")
    return number


def _constant(name: str) -> NoReturn:
    raise _NotStrict(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _NotStrict("a key occurs twice in one object")
    return members
