"""Routes to endpoints, and one place for what goes wrong in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from klein import Klein
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest

from docker_registry.web.request import Headers, Request
from docker_registry.web.routing import BadPath, NoRoute, Router, WrongMethod


@dataclass(frozen=True, slots=True)
class Phrased:
    """An answer that says what went wrong."""

    status: int
    headers: Headers
    content: bytes


class Application:
    """:param app: the routes, bound to the object whose methods they are.
    :param phrase: the answer to an error, ``None`` for what nobody expected.
    """

    log = Logger()

    def __init__(self, app: Klein, phrase: Callable[[BaseException], Phrased | None]) -> None:
        self._app = app                     # bound once: Klein binds anew at each access
        self._router = Router(app)
        self._phrase = phrase

    def handle(self, request: Request) -> Deferred[None]:
        """Answer one request; what went wrong is phrased here and nowhere else."""
        try:
            match = self._router.resolve(request.method, request.path)
        except (NoRoute, WrongMethod, BadPath):
            answered: Deferred[Any] = fail()
        else:
            answered = cast(
                "Deferred[Any]",
                self._app.execute_endpoint(match.endpoint, cast(IRequest, request), **match.arguments),
            )
        answered.addErrback(self._failed, request)
        return answered

    def _failed(self, failure: Failure, request: Request) -> None:
        error = failure.value
        assert error is not None
        phrased = self._phrase(error)
        if phrased is None or request.status:
            failure.raiseException()        # not ours to phrase, or too late to
            return
        if phrased.status == 500:
            self.log.failure("{method} {path} failed", failure, method=request.method, path=request.path)
        elif phrased.status == 507:
            self.log.warn("{method} {path}: {error}", method=request.method, path=request.path, error=error)
        request.answer(phrased.status, phrased.headers, phrased.content)
