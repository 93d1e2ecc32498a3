"""Requests to a container: with a token, tried again where that may help, answered by values or errors of storage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import quote, urlencode

from twisted.logger import Logger

from docker_registry.errors import NotFound, StoreUnavailable
from docker_registry.storage.flows import Body
from docker_registry.storage.http import Answer, Patience
from docker_registry.storage.redirects import whereto
from docker_registry.storage.retries import Retries
from docker_registry.storage.swift.errors import NoRights, Overtaken, meaning
from docker_registry.storage.tokens import Access, Service

R = TypeVar("R")

LIMIT = 10 << 20
"""Bytes of one document."""

PROVED = 10.0
"""Seconds for which an answer proves that the container is there: without it an object is as absent as one that is not
in it."""

LONG = 900.0
"""Seconds for what the store works on before it answers: copies, and looking at all segments of an object."""

BRIEF = 5.0
"""Seconds for what is tidied up while somebody waits for an answer."""


async def nothing(answer: Answer) -> None:
    """Reads an answer of which nobody wants to know more."""
    await answer.content(LIMIT)


def _is_overtaken(method: str, key: str, query: Mapping[str, str], status: int) -> bool:
    """Whether the store has left an object as it was, as that is newer by the clock of the proxy that was asked. To who
    writes it says 202 then, which is a success for containers, and before it knows more (Swift 2.38,
    ``swift/proxy/controllers/obj.py``).
    """
    if method == "PUT":
        return status == 202 and bool(key) and "heartbeat" not in query
    return method in ("POST", "DELETE") and status == 409


class Client:
    """:param now: seconds, to measure with."""

    log = Logger()

    def __init__(
        self, service: Service, container: str, retries: Retries, patience: Patience, now: Callable[[], float]
    ) -> None:
        self.container = container
        self._service = service
        self._retries = retries
        self._patience = patience
        self._now = now
        self._proved = -PROVED
        self._refused = False                   # and an operator has been told

    def path(self, key: str, query: Mapping[str, str] | None = None) -> str:
        """Behind the URL of the account, quoted.

        :param key: whole; empty is the container.
        """
        path = f"/{quote(self.container, safe='')}"
        path = f"{path}/{quote(key)}" if key else path
        return f"{path}?{urlencode(query)}" if query else path

    async def ask(
        self,
        method: str,
        key: str,
        read: Callable[[Answer], Awaitable[R]],
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        *,
        stream: bool = False,
        seconds: float | None = None,
        once: bool = False,
        brief: bool = False,
        careless: bool = False,
    ) -> R:
        """What ``read`` makes of a successful answer.

        :param stream: whether ``read`` leaves the body to somebody who reads it as slowly as he likes.
        :param seconds: until the answer must have begun, if that is not as usual.
        :param once: whether it has one try, as a `Flow` has.
        :param brief: whether it has one try and `BRIEF` seconds: it can be left undone.
        :param careless: whether it is all the same what is not there, the object or the container.
        :raises NotFound: there is no such object.
        :raises StoreUnavailable: the store does not answer, or does not let us in, or there is no such container.
        :raises StorageFull: a quota.
        :raises Refused: everything else that it does not do.
        """
        usual = BRIEF if brief else self._patience.first_byte

        async def attempt(left: float) -> R:
            answer = await self._service.request(
                method, self.path(key, query), headers or {}, body, stream=stream, seconds=seconds or min(left, usual)
            )
            try:
                if _is_overtaken(method, key, query or {}, answer.status):
                    await answer.discard()
                    raise Overtaken(self.where)
                if answer.status >= 300:
                    await answer.discard()      # what it says is HTML, and nobody's to repeat (T44)
                    said = whereto(answer.header("location")) if answer.status < 400 else ""
                    raise meaning(answer.status, self.where, key, said)
                result = await read(answer)
            except BaseException:
                answer.close()
                raise
            self._proved = self._now()
            self._refused = False
            return result

        try:
            return await self._retries(attempt, once=once or brief)
        except NoRights as error:
            self._tell(error)
            raise
        except NotFound:
            is_container = (method == "PUT" and "X-Copy-From" not in (headers or {})) or (method == "GET" and not key)
            if is_container or (key and not careless and await self._is_absent()):
                self._proved = -PROVED
                raise StoreUnavailable(
                    f"{self.where} does not exist: make it, or start the registry again, which does so"
                ) from None
            raise

    @property
    def where(self) -> str:
        return f"container {self.container}"

    @contextmanager
    def tried(self) -> Iterator[None]:
        """Meanwhile whoever asks tells an operator himself that he is refused."""
        self._service.tells = False
        try:
            yield
        finally:
            self._service.tells = True

    def _tell(self, error: NoRights) -> None:
        if self._service.tells and not self._refused:
            self._refused = True
            self.log.error("the store does not let this registry in: {error}", error=error, alert="login refused")

    async def _is_absent(self) -> bool:
        """Whether what was not found is the container."""
        if self._now() - self._proved < PROVED:
            return False
        try:
            await self.ask("HEAD", "", nothing)
        except NotFound:
            return True
        return False

    async def access(self) -> Access:
        """Where the account is, and a token."""
        return await self._service.access()
