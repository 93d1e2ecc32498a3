"""The names of one level, in the order of names.

A store lists keys in byte order, and what has more below it as ``name/``: so ``a-b`` and ``a.b`` come before ``a/``,
though the name ``a`` stands before theirs. Whether there is such an ``a/`` is asked for the few names for which it is
still open where a page ends: those that the last key begins with.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred

from docker_registry.deferreds import together
from docker_registry.storage.interface import Entry, is_key
from docker_registry.storage.objects.store import Objects


async def names(objects: Objects, below: str, after: str, limit: int) -> list[Entry]:
    """At most ``limit`` names below a prefix and beyond ``after``; fewer only if there are no more.

    :param below: whole, with a slash at its end, or empty.
    """
    found: dict[str, bool] = {}
    token = last = ""
    while True:
        page = await objects.page(
            below, delimiter="/", after=below + after if after else "", token=token, limit=limit + 1
        )
        token = page.token
        for key in page.keys:
            _add(found, key[len(below) :], False, after)
        for prefix in page.prefixes:
            _add(found, prefix[len(below) : -1], True, after)
        last = max([*page.keys, *page.prefixes], default=last)
        if not token or len(found) >= limit:
            break
    if token:
        for name in await _open(objects, below, last[len(below) :], found):
            _add(found, name, True, after)
    return [Entry(name, found[name]) for name in sorted(found, key=str.encode)[:limit]]


def _add(found: dict[str, bool], name: str, is_prefix: bool, after: str) -> None:
    """What some tools leave (an empty object for a directory), and what no key of ours is like, is passed over."""
    if name.encode() > after.encode() and is_key(name) and not name.startswith("."):
        found[name] = found.get(name, False) or is_prefix


async def _open(objects: Objects, below: str, last: str, found: dict[str, bool]) -> Iterable[str]:
    """Names with more below them that the store would list behind ``last``, though they stand before it."""
    name = last.rstrip("/")
    starts = [name[:at] for at in range(1, len(name)) if name[at] < "/"] + ([] if last.endswith("/") else [name])
    asked = [each for each in starts if not found.get(each)]
    pages = await together(
        *(Deferred.fromCoroutine(objects.page(f"{below}{each}/", limit=1)) for each in asked)
    )
    return [each for each, page in zip(asked, pages, strict=True) if page.keys]
