"""Whose keys a request is signed with."""

from __future__ import annotations

from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session
from twisted.internet.interfaces import IReactorTime

from docker_registry.deferreds import Shared
from docker_registry.errors import StoreUnavailable
from docker_registry.threads import Runner

FRESH = 60.0
"""Seconds for which what the chain said is believed. It renews long before the end, if it is asked now and then."""


class Keys:
    """Those of the configuration, or those that botocore's chain finds: environment, profile, container, instance.

    The chain reads files and asks servers, so it is asked in a thread.
    """

    def __init__(
        self, access_key: str | None, secret_key: str | None, runner: Runner, clock: IReactorTime
    ) -> None:
        self._runner = runner
        self._clock = clock
        self._chain: Credentials | None = None
        self._asked = -FRESH
        self._asking: Shared[None, ReadOnlyCredentials] = Shared()
        self._known: ReadOnlyCredentials | None = None
        self._fixed = access_key is not None
        if access_key is not None:
            self._known = ReadOnlyCredentials(access_key, secret_key or "", None)

    async def get(self) -> ReadOnlyCredentials:
        """:raises StoreUnavailable: there are none."""
        if self._known is not None and (self._fixed or self._clock.seconds() - self._asked < FRESH):
            return self._known
        self._known = await self._asking(None, lambda: self._runner.slow(self._ask))
        self._asked = self._clock.seconds()
        return self._known

    def renew(self) -> bool:
        """The store says that they have expired; whether asking again may help."""
        self._chain = None if not self._fixed else self._chain
        self._known = self._known if self._fixed else None
        return not self._fixed

    def _ask(self) -> ReadOnlyCredentials:
        try:
            if self._chain is None:
                self._chain = Session().get_credentials()
            if self._chain is None:
                raise StoreUnavailable(
                    "there are no credentials for S3: set s3_access_key and s3_secret_key, or AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY, or give the machine a role"
                )
            return self._chain.get_frozen_credentials()
        except BotoCoreError as error:
            raise StoreUnavailable(f"the credentials for S3 cannot be had: {type(error).__name__}") from None
