"""Services that are asked with a token: one login for all who wait, a new one in time, and after a refusal (F14)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from docker_registry.deferreds import Shared
from docker_registry.errors import StorageError, StoreUnavailable, Transient
from docker_registry.storage.flows import Body, Flow
from docker_registry.storage.http import Answer, Http
from docker_registry.storage.retries import Retries

AHEAD = 300.0
"""Seconds before its end at which a token is replaced; a quarter of its life if that is shorter."""

PAUSE = 30.0
"""Seconds until a login that was refused, or one that was not urgent, is tried again: accounts get locked."""


class LoginRefused(StoreUnavailable):
    """The name, the password or the project is not accepted. Asking again soon does not help."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a login comes to.

    :ivar url: of the service, without a slash at its end.
    :ivar seconds: that the token holds.
    :ivar project: its id; empty if the login is for none, or not at Keystone.
    """

    url: str
    token: str = field(repr=False)
    seconds: float
    project: str = ""


LogIn = Callable[[], Awaitable[Access]]
"""Logs in once.

:raises LoginRefused: what it was told is wrong.
:raises StoreUnavailable: nobody knows whether it is.
"""


async def asked(
    http: Http,
    retries: Retries,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: Body | None,
    read: Callable[[Answer], Awaitable[Access]],
) -> Access:
    """What ``read`` makes of a login's answer; it is asked for again where that helps."""

    async def attempt(left: float) -> Access:
        answer = await http.request(method, url, headers, body, seconds=min(left, http.patience.first_byte))
        try:
            return await read(answer)
        except BaseException:
            answer.close()
            raise

    return await retries(attempt)


class Service:
    """A service behind a login.

    :param log_in: tried again by itself where that helps.
    :ivar tells: whether an operator is told from here that it is refused; otherwise whoever asks does that.
    """

    log = Logger()

    def __init__(self, http: Http, log_in: LogIn, clock: IReactorTime, tells: bool = True) -> None:
        self.tells = tells
        self._http = http
        self._log_in = log_in
        self._clock = clock
        self._access: Access | None = None
        self._ends = 0.0
        self._renew = 0.0                       # when the token is replaced though it still holds
        self._renewing: Shared[None, Access] = Shared()
        self._refusal: LoginRefused | None = None
        self._again = 0.0                       # when a refused login is tried again

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        *,
        stream: bool = False,
        seconds: float | None = None,
    ) -> Answer:
        """Ask once, or again with another token if the first is not taken. The rest is as in `Http.request`.

        :param path: behind the URL of the service, quoted.
        :raises StoreUnavailable: there is no token, or none that is taken.
        :raises Transient: the token was not taken, and the body can be sent once: the next request has another token.
        """
        for is_last in (False, True):
            access = await self.access()
            lines = {**headers, "X-Auth-Token": access.token}
            answer = await self._http.request(
                method, f"{access.url}{path}", lines, body, stream=stream, seconds=seconds
            )
            if answer.status != 401:
                return answer
            await answer.discard()
            self._rejected(access)
            if isinstance(body, Flow) and not is_last:
                raise Transient("the token ended before the transfer began")
        raise StoreUnavailable(f"{access.url} does not take the token that the login gave: is it for this service?")

    async def access(self) -> Access:
        """The URL and a token that holds.

        :raises StoreUnavailable: there is none.
        """
        now, access = self._clock.seconds(), self._access
        if access is None or now >= self._ends:
            if self._refusal is not None and now < self._again:
                raise LoginRefused(str(self._refusal))
            return await self._renewed()
        if now >= self._renew:
            self._renew = now + PAUSE
            self._renewed().addErrback(self._later)     # nobody waits: the token still holds
        return access

    def _renewed(self) -> Deferred[Access]:
        return self._renewing(None, lambda: Deferred.fromCoroutine(self._logged_in()))

    async def _logged_in(self) -> Access:
        began = self._clock.seconds()
        try:
            access = await self._log_in()
        except LoginRefused as error:
            if self._refusal is None and self.tells:       # once
                self.log.error("the login is refused: {error}", error=error, alert="login refused")
            self._refusal, self._again = error, self._clock.seconds() + PAUSE
            raise
        self._access, self._refusal = access, None
        self._ends = began + access.seconds
        self._renew = self._ends - min(AHEAD, access.seconds / 4)
        return access

    def _later(self, failure: Failure) -> None:
        if failure.trap(StorageError, CancelledError) is CancelledError:
            return
        self.log.warn("the token is still good for {seconds:.0f} s, and there is no new one: {error}",
                      seconds=self._ends - self._clock.seconds(), error=failure.value)

    def _rejected(self, access: Access) -> None:
        if self._access is access:              # otherwise somebody has logged in since
            self._access = None
