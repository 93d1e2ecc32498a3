"""Routes to endpoints, and one place for what goes wrong in them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from docker_registry.complaints import log_failed
from docker_registry.deferreds import begin
from docker_registry.web.request import Headers, Request
from docker_registry.web.routing import Router

Endpoint = Callable[..., Coroutine[Deferred[Any], Any, None]]

RETRY_AFTER = (b"Retry-After", b"30")
"""Seconds after which a client that was told to wait may try again."""


@dataclass(frozen=True, slots=True)
class Phrased:
    """An answer that says what went wrong."""

    status: int
    headers: Headers
    content: bytes

    def answer(self, request: Request) -> None:
        request.answer(self.status, self.headers, self.content)


class Application:
    """:param owner: its class declares the routes, as Klein's, on its methods.
    :param phrase: the answer to an error, ``None`` for what nobody expected.
    :param usual: components of a usual name, see `Router`.
    """

    log = Logger()

    def __init__(
        self, owner: Any, app: Klein, phrase: Callable[[BaseException], Phrased | None], usual: int = 0
    ) -> None:
        self._router = Router(app, usual)
        # Klein's own way to call an endpoint makes a Deferred of it, which costs more than many an answer.
        self._endpoints: dict[str, Endpoint] = {name: getattr(owner, name) for name in app.endpoints}
        self._phrase = phrase

    def handle(self, request: Request) -> Deferred[Any] | None:
        """Answer one request; what went wrong is phrased here and nowhere else.

        :returns: what tells when that is done; ``None`` if it is.
        """
        try:
            request.match = match = self._router.resolve(request.method, request.path)
            answered = begin(self._endpoints[match.endpoint](request, **match.arguments))
        except Exception:
            self._failed(Failure(), request)
            return None
        return None if answered is None else answered.addErrback(self._failed, request)

    def _failed(self, failure: Failure, request: Request) -> None:
        error = failure.value
        assert error is not None
        phrased = self._phrase(error)
        if phrased is None or request.status:
            failure.raiseException()        # not ours to phrase, or too late to
            return
        if phrased.status >= 500:
            log_failed(self.log, "{request.method} {request.path} failed", failure, request=request)
        headers = phrased.headers
        if phrased.status == 405:           # also when what the path could do is switched off (RFC 9110, 15.5.6)
            allowed = [each for each in self._router.methods(request.path) if each != request.method]
            headers = [*headers, (b"Allow", ", ".join(allowed).encode("ascii"))]
        request.answer(phrased.status, headers, phrased.content)
