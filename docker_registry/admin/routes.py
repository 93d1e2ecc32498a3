"""``/livez``, ``/readyz``, ``/debug/health`` and ``/metrics``, and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from klein import Klein
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from docker_registry.admin.health import Health
from docker_registry.web.application import Application, Phrased
from docker_registry.web.limits import Limits
from docker_registry.web.request import Headers, Request
from docker_registry.web.routing import BadPath, NoRoute, WrongMethod
from docker_registry.web.site import Site

LIMITS = Limits(connections=100, per_address=0, header_timeout=5.0, keepalive_timeout=120.0, body_memory=1 << 20)

_COMMON: Headers = [(b"Cache-Control", b"no-store"), (b"X-Content-Type-Options", b"nosniff")]
_JSON: Headers = [(b"Content-Type", b"application/json"), *_COMMON]

_app = Klein()


TOGETHER = 0.1
"""Seconds in which all who want metrics get the same: to write them takes milliseconds, and who pushes waits."""


class Admin:
    """:param metrics: all of them.
    :param now: seconds by a clock that is never set.
    """

    def __init__(self, health: Health, metrics: CollectorRegistry, now: Callable[[], float]) -> None:
        self._health = health
        self._metrics = metrics
        self._now = now
        self._written: tuple[float, str, bytes] = (-math.inf, "", b"")      # when, in which form, and what
        self.handle = Application(self, _app, _phrase).handle

    @_app.route("/livez", methods=["GET"])
    async def live(self, request: Request) -> None:
        """That it is answered is the answer: the reactor turns."""
        _send(request, 200, {"status": "ok"})

    @_app.route("/readyz", methods=["GET"])
    async def ready(self, request: Request) -> None:
        standing = await self._health.standing()
        status = {"status": "unavailable", "reason": standing.problem} if standing.problem else {"status": "ok"}
        _send(request, 503 if standing.problem else 200, {**status, "workers": [*map(asdict, standing.workers)]})

    @_app.route("/debug/health", methods=["GET"])
    async def health(self, request: Request) -> None:
        """As ``registry:2`` has it: an object of what is wrong."""
        problem = (await self._health.standing()).problem
        _send(request, 503 if problem else 200, {"registry": problem} if problem else {})

    @_app.route("/metrics", methods=["GET"])
    async def metrics(self, request: Request) -> None:
        accepted = (request.header(b"accept") or b"").decode("latin-1")
        encode, content_type = choose_encoder(accepted)
        since, form, content = self._written
        if form != content_type or self._now() - since >= TOGETHER:
            content = encode(self._metrics)
            self._written = self._now(), content_type, content
        request.answer(200, [(b"Content-Type", content_type.encode("ascii")), *_COMMON], content)


def site(reactor: Any, admin: Admin) -> Site:
    """Connections to it."""
    return Site(reactor, admin.handle, refusal=_refusal, limits=LIMITS)


def _send(request: Request, status: int, value: Any) -> None:
    request.answer(status, _JSON, json.dumps(value).encode("ascii") + b"\n")


def _refusal(status: int, reason: str, target: bytes) -> tuple[Headers, bytes]:
    phrased = _phrased(status, reason)
    return phrased.headers, phrased.content


def _phrase(error: BaseException) -> Phrased | None:
    if isinstance(error, WrongMethod):
        return _phrased(405, "GET and HEAD", (b"Allow", b"GET, HEAD"))
    if isinstance(error, NoRoute | BadPath):
        return _phrased(404, "there are /livez, /readyz, /debug/health and /metrics")
    return None


def _phrased(status: int, text: str, *headers: tuple[bytes, bytes]) -> Phrased:
    return Phrased(status, [*_JSON, *headers], json.dumps({"error": text}).encode("ascii") + b"\n")
