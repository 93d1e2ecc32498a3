"""Requests as they are counted."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence

from docker_registry.metrics.families import (
    CODES,
    DURATION,
    DURATIONS,
    GONE,
    IN_FLIGHT,
    METHODS,
    NANOSECONDS,
    NO_ROUTE,
    OTHER,
    REQUEST_SIZE,
    REQUESTS,
    RESPONSE_SIZE,
    ROUTE,
    SIZES,
)
from docker_registry.metrics.table import Table
from docker_registry.web.gathering import Alike, Fields
from docker_registry.web.site import Site

V2 = {
    "/v2/": "base",
    "/v2/_catalog": "catalog",
    "/v2/<name:name>/tags/list": "tags",
    "/v2/<name:name>/referrers/<digest>": "referrers",
    "/v2/<name:name>/manifests/<reference>": "manifest",
    "/v2/<name:name>/blobs/<digest>": "blob",
    "/v2/<name:name>/blobs/uploads/": "blob_upload",
    "/v2/<name:name>/blobs/uploads/<upload>": "blob_upload_chunk",
}
V1 = {
    "/v1/search": "catalog",
    "/v1/repositories/<name:name>/tags": "tags",
    "/v1/repositories/<name:name>/tags/<tag>": "tags",
    "/v1/repositories/<name:name>/tags/<tag>/json": "tags",
    "/v1/repositories/<name:name>/json": "tags",
    "/v1/repositories/<name:name>/properties": "tags",
    "/v1/repositories/<name:name>/": "manifest",
    "/v1/repositories/<name:name>/images": "manifest",
    "/v1/images/<image>/json": "manifest",
    "/v1/images/<image>/ancestry": "manifest",
    "/v1/images/<image>/layer": "blob",
    "/v1/images/<image>/files": "blob",
    "/v1/images/<image>/diff": "blob",
    "/v1/private_images/<image>/json": "manifest",
    "/v1/private_images/<image>/layer": "blob",
    "/v1/private_images/<image>/files": "blob",
    "/v1/images/<image>/checksum": "blob_upload_chunk",
}
"""What stands for what in v2; the rest, such as ping and login, is its base."""

_CODE_AT = {code: index for index, code in enumerate(CODES)}
_OTHER_AT = _CODE_AT[OTHER]
_SIZES = tuple(map(int, SIZES))
_DURATION_SUM = len(DURATIONS) + 1
_SIZE_SUM = len(SIZES) + 1


def handler(route: str, method: str) -> tuple[str, str]:
    """The labels ``handler`` and ``protocol`` of a request."""
    if not route:
        return NO_ROUTE
    if route.startswith("/v2"):
        return V2[route], "v2"
    if route == "/v1/images/<image>/layer" and method == "PUT":
        return "blob_upload", "v1"
    return V1.get(route, "base"), "v1"


class RequestCounts:
    """:param table: where they are counted."""

    def __init__(self, table: Table) -> None:
        self._own = table.own
        self._columns: dict[tuple[str, str], tuple[int, int, int, int]] = {}

    def told(self, ended: Sequence[Fields]) -> None:
        """Count requests that have ended: those that differ in their time only, together."""
        taken: defaultdict[Alike, list[float]] = defaultdict(list)
        for what, _, _, seconds in ended:
            taken[what].append(seconds)
        for what, times in taken.items():
            self._count(what, times)

    def _count(self, what: Alike, seconds: Sequence[float]) -> None:
        own, kind = self._own, (what.route, what.method)
        columns = self._columns.get(kind)
        if columns is None:
            columns = self._columns[kind] = _columns(*kind)
        counts, durations, bodies, answers = columns
        number = len(seconds)
        own[counts + _CODE_AT.get(what.status or GONE, _OTHER_AT)] += number
        if max(seconds) <= DURATIONS[0]:            # as of most that are answered from memory
            own[durations] += number
        else:
            for bucket, count in Counter([bisect_left(DURATIONS, each) for each in seconds]).items():
                own[durations + bucket] += count
        own[durations + _DURATION_SUM] += int(sum(seconds) * NANOSECONDS)
        for column, size in ((bodies, what.received), (answers, what.sent)):
            own[column + bisect_left(_SIZES, size)] += number
            own[column + _SIZE_SUM] += size * number

    def running(self, site: Site) -> None:
        """Note what is in flight now."""
        own = self._own
        counts = Counter(handler(request.route, request.method) for request in site.requests())
        for index, labels in enumerate(ROUTE.values):
            own[IN_FLIGHT.at(index)] = counts[labels]  # type: ignore[index]


def _columns(route: str, method: str) -> tuple[int, int, int, int]:
    at, how = ROUTE.values.index(handler(route, method)), METHODS.index(method.lower())
    return REQUESTS.at(at, how, 0), DURATION.at(at, how), REQUEST_SIZE.at(at), RESPONSE_SIZE.at(at)
