"""Two protocols on one port."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from docker_registry.v1 import problems as v1_problems
from docker_registry.v1.routes import V1
from docker_registry.v2 import problems as v2_problems
from docker_registry.v2.routes import V2
from docker_registry.web.application import Phrased
from docker_registry.web.request import Headers, Request

_SPEAKS_ONLY_V1 = re.compile(rb"docker/1\.(?:[34]|5(?!\.[0-9]-dev))(?![0-9])|Go ")
"""docker 1.3 to 1.5: what they push when they see v2 nobody else takes. Today's Go says ``Go-http-client``."""


class Front:
    """Chooses the protocol that answers a request, by its path."""

    def __init__(self, v1: V1, v2: V2) -> None:
        self._v1 = v1
        self._v2 = v2

    def handle(self, request: Request) -> Deferred[Any] | None:
        path = request.path
        if path.startswith("/v2"):
            if path in ("/v2/", "/v2") and _SPEAKS_ONLY_V1.match(request.header(b"user-agent") or b""):
                v1_problems.refusal(404, "No such endpoint").answer(request)
                return None
            return self._v2.handle(request)
        return self._v1.handle(request) if _is_v1(path) else self._v2.handle(request)

    def refusal(self, status: int, reason: str, target: bytes) -> tuple[Headers, bytes]:
        """Of what was refused before there was a request to route; by the path, as far as it was seen."""
        path = target.partition(b"?")[0].decode("latin-1")
        refuse: Callable[[int, str], Phrased] = v1_problems.refusal if _is_v1(path) else v2_problems.refusal
        phrased = refuse(status, reason)
        return phrased.headers, phrased.content


def _is_v1(path: str) -> bool:
    return path in _V1_PATHS or path.startswith("/v1/")


_V1_PATHS = frozenset({"/", "/_ping", "/_ping/", "/_status", "/_status/", "/v1"})
