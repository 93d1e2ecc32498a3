"""Logging in at Swift itself, as before there was Keystone (v1: tempauth, and what speaks like it)."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from docker_registry.config.values import is_url
from docker_registry.errors import StorageFailed, StoreUnavailable, Transient
from docker_registry.storage.http import Answer, Http
from docker_registry.storage.retries import Retries
from docker_registry.storage.tokens import Access, LoginRefused, asked

DAY = 86400.0
"""Seconds that a token is used whose end nobody says: when it is refused there is another."""

LIMIT = 64 << 10


@dataclass(frozen=True, slots=True)
class V1Login:
    """:ivar url: such as ``https://swift.example.org/auth/v1.0``.
    :ivar user: as Swift has it, such as ``account:user``.
    """

    url: str
    user: str
    key: str = field(repr=False)


class V1:
    """Called, it logs in.

    :param url: of the account, in place of what the login says; empty if that is right.
    """

    def __init__(self, http: Http, login: V1Login, retries: Retries, url: str = "") -> None:
        self._http = http
        self._login = login
        self._retries = retries
        self._url = url

    async def __call__(self) -> Access:
        """:raises LoginRefused: the user or the key is not accepted.
        :raises StoreUnavailable: the server does not answer, or not as it should.
        """
        headers = {"X-Auth-User": self._login.user, "X-Auth-Key": self._login.key}
        return await asked(self._http, self._retries, "GET", self._login.url, headers, None, self._read)

    async def _read(self, answer: Answer) -> Access:
        await answer.content(LIMIT)
        where = f"Swift's login at {urlsplit(self._login.url).netloc}"
        if answer.status in (429, 500, 502, 503, 504):
            raise Transient(f"{where} is busy: {answer.status}")
        if answer.status in (401, 403):
            raise LoginRefused(f"{where} refuses the user or the key: {answer.status}; see swift_user")
        token = answer.header("x-auth-token") or answer.header("x-storage-token")
        url = self._url or answer.header("x-storage-url") or ""
        if answer.status >= 300 or not token:
            raise StoreUnavailable(f"{where} is none of version 1 at {urlsplit(self._login.url).path}: "
                                   f"it answers {answer.status}")
        if not is_url(url):
            raise StorageFailed(f"{where} says no URL of an account: set swift_storage_url")
        ends = answer.header("x-auth-token-expires") or ""
        return Access(url.rstrip("/"), token, float(ends) if ends.isdecimal() and ends != "0" else DAY)
