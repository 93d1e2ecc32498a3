"""Whose keys a request is signed with."""

from __future__ import annotations

import re

from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.session import Session
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from docker_registry.deferreds import Shared
from docker_registry.errors import StoreUnavailable
from docker_registry.threads import Runner

FRESH = 60.0
"""Seconds after which the chain is asked again. It renews long before the end, if it is asked now and then."""

PATIENCE = 15.0
"""Seconds that a request waits for the chain: whoever it asks may answer a byte at a time."""


class Keys:
    """Those of the configuration, or those that botocore's chain finds: environment, profile, container, instance.

    The chain reads files and asks servers, so it is asked in a thread. While it is asked again requests are signed with
    what it said before: that the store takes no more is what the store says (`renew`).
    """

    log = Logger()

    def __init__(
        self, access_key: str | None, secret_key: str | None, runner: Runner, clock: IReactorTime
    ) -> None:
        self._runner = runner
        self._clock = clock
        self._chain: Credentials | None = None
        self._asked = 0.0
        self._asking: Shared[None, ReadOnlyCredentials] = Shared()
        self._known: ReadOnlyCredentials | None = None
        self._fixed = access_key is not None
        if access_key is not None:
            self._known = ReadOnlyCredentials(access_key, secret_key or "", None)

    async def get(self) -> ReadOnlyCredentials:
        """:raises StoreUnavailable: there are none, or nobody says so."""
        if self._known is None:
            try:
                return await self._ask_again().addTimeout(PATIENCE, self._clock)
            except TimeoutError:
                raise StoreUnavailable("the credentials for S3 cannot be had: nobody answers") from None
        if not self._fixed and self._clock.seconds() - self._asked >= FRESH:
            self._ask_again().addErrback(self._missed)
        return self._known

    def renew(self) -> bool:
        """The store says that they have expired; whether asking again may help."""
        if not self._fixed:
            self._chain = self._known = None
        return not self._fixed

    def _ask_again(self) -> Deferred[ReadOnlyCredentials]:
        self._asked = self._clock.seconds()
        return self._asking(None, lambda: self._runner.slow(self._ask).addCallback(self._learn))

    def _learn(self, found: ReadOnlyCredentials) -> ReadOnlyCredentials:
        self._known = found
        return found

    def _missed(self, failure: Failure) -> None:
        self.log.warn("requests to S3 are signed with the credentials of before: {error}", error=failure.value)

    def _ask(self) -> ReadOnlyCredentials:
        try:
            chain = self._chain or Session().get_credentials()
            found: ReadOnlyCredentials | None = chain.get_frozen_credentials() if chain is not None else None
        except Exception as error:              # what servers say is input, and the chain trusts it
            raise StoreUnavailable(f"the credentials for S3 cannot be had: {type(error).__name__}") from None
        if found is None:
            raise StoreUnavailable(
                "there are no credentials for S3: set s3_access_key and s3_secret_key, or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or give the machine a role"
            )
        if not _are_keys(found):
            raise StoreUnavailable("the credentials for S3 cannot be had: what is handed out are none")
        self._chain = chain
        return found


def _are_keys(found: ReadOnlyCredentials) -> bool:
    """They stand in headers."""
    said = (found.access_key, found.secret_key, "-" if found.token is None else found.token)
    return all(isinstance(each, str) and re.fullmatch(r"[\x21-\x7e]+", each) for each in said)
