"""Requests to a bucket: signed, tried again where that may help, and answered by values or errors of storage."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from botocore.credentials import ReadOnlyCredentials
from twisted.logger import Logger

from docker_registry.errors import NotFound, StorageError, StorageFailed, StoreUnavailable
from docker_registry.storage.flows import Octets
from docker_registry.storage.http import Answer, Http, moment
from docker_registry.storage.retries import Retries
from docker_registry.storage.s3 import errors
from docker_registry.storage.s3.credentials import Keys
from docker_registry.storage.s3.documents import LIMIT
from docker_registry.storage.s3.settings import Settings
from docker_registry.storage.s3.signing import EMPTY, signed, signed_url

R = TypeVar("R")

SKEW = 300.0
"""Seconds that the clocks differ at which a refusal without a reason is taken for that (F3)."""

PROVED = 10.0
"""Seconds for which an answer proves that the bucket is there: an absent object and an absent bucket look alike."""

LONG = 900.0
"""Seconds for what the store works on before it answers: copies, and joining parts."""


BRIEF = 5.0
"""Seconds for what is tidied up while somebody waits for an answer."""


async def nothing(answer: Answer) -> None:
    """Reads an answer of which nobody wants to know more."""
    await answer.content(LIMIT)


def checked(expected: str = "") -> Callable[[Answer], Awaitable[bytes]]:
    """Reads the document of an answer whose success is not yet one (F2).

    :param expected: its name; empty if stores have several.
    """

    async def read(answer: Answer) -> bytes:
        content = await answer.content(LIMIT)
        if (said := errors.in_success(content, expected)) is not None:
            raise _Complained(said)
        return content

    return read


class _Complained(Exception):
    """:ivar said: what the store said."""

    def __init__(self, said: errors.Complaint) -> None:
        super().__init__(said.code)
        self.said = said


class Client:
    """:param now: seconds since the epoch, by this machine's clock.
    :ivar place: where the bucket is; it may turn out to be in another region.
    :ivar is_tried: whether whoever asks at the moment tells an operator of refusals himself.
    """

    log = Logger()

    def __init__(
        self, http: Http, settings: Settings, keys: Keys, retries: Retries, now: Callable[[], float]
    ) -> None:
        self.place = settings.place
        self._http = http
        self._keys = keys
        self._retries = retries
        self._now = now
        self._ahead = 0.0                       # seconds that the store's clock is before ours
        self._proved = 0.0
        self._refused = False                   # and an operator has been told
        self.is_tried = False

    async def ask(
        self,
        method: str,
        key: str,
        read: Callable[[Answer], Awaitable[R]],
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Sequence[Octets] | None = None,
        *,
        payload: str = EMPTY,
        stream: bool = False,
        seconds: float | None = None,
        brief: bool = False,
    ) -> R:
        """What ``read`` makes of a successful answer.

        :param key: whole; empty is the bucket.
        :param payload: SHA-256 of ``body``.
        :param stream: whether ``read`` leaves the body to somebody who reads it as slowly as he likes.
        :param seconds: until the answer must have begun, if that is not as usual.
        :param brief: whether it has one try and `BRIEF` seconds: it can be left undone.
        :raises NotFound: there is no such object.
        :raises StoreUnavailable: the store does not answer, or does not let us in.
        :raises StorageFull: a quota.
        :raises Refused: everything else that it does not do.
        """
        mended: set[str] = set()
        usual = BRIEF if brief else self._http.patience.first_byte

        async def attempt(left: float) -> R:
            while True:
                keys = await self._keys.get()
                url = self.place.url(key, query)
                lines = signed(
                    keys, self.place.region, self._now() + self._ahead, method, url, headers or {}, payload
                )
                answer = await self._http.request(
                    method, url, lines, body, stream=stream, seconds=seconds or min(left, usual)
                )
                try:
                    if answer.status < 300:
                        result = await read(answer)
                        self._succeeded()
                        return result
                    raise _Complained(await errors.complaint(answer, method == "HEAD"))
                except _Complained as complained:
                    if not self._mend(complained.said, answer, mended):
                        raise await self._meaning(complained.said, key) from None
                except BaseException:
                    answer.close()
                    raise

        return await self._retries(attempt, once=brief)

    def _succeeded(self) -> None:
        self._proved = self._now()
        self._refused = False

    def _mend(self, said: errors.Complaint, answer: Answer, mended: set[str]) -> bool:
        """Whether the same request may succeed now; each cure is tried once."""
        if "clock" not in mended and (said.code in errors.SKEWED or said.code == "403"):
            ahead = self._difference(answer)
            if ahead is not None and abs(ahead - self._ahead) > SKEW:
                mended.add("clock")
                self._ahead = ahead
                self.log.warn("this machine's clock is {seconds:.0f} s off the store's; requests are signed by the "
                              "store's: set the clock", seconds=-ahead)
                return True
        if "keys" not in mended and said.code in errors.EXPIRED:
            mended.add("keys")
            return self._keys.renew()
        moved = said.region and said.region != self.place.region
        if "place" not in mended and (300 <= said.status < 400 or moved):
            mended.add("place")
            place = self.place.elsewhere(said.region, said.host)
            if place is not None:
                self.log.warn("bucket {bucket} is in region {region}: set s3_region",
                              bucket=place.bucket, region=place.region)
                self.place = place
                return True
        return False

    def _difference(self, answer: Answer) -> float | None:
        """Seconds that the store's clock is before ours."""
        theirs = moment(answer.header("date"))
        return None if theirs is None else theirs - self._now()

    async def _meaning(self, said: errors.Complaint, key: str) -> StorageError:
        error = errors.meaning(said, self.place.bucket, key)
        if said.code == "NoSuchBucket":
            self._proved = 0.0
        if isinstance(error, errors.NoKeys) and not (self._refused or self.is_tried):
            self._refused = True
            self.log.error("the store does not let this registry in: {error}", error=error, alert="login refused")
        if isinstance(error, NotFound) and said.code == "404" and key and self._now() - self._proved > PROVED:
            try:
                await self.ask("HEAD", "", nothing)
            except NotFound:
                return StoreUnavailable(f"bucket {self.place.bucket} does not exist")
        return error

    async def keys(self) -> ReadOnlyCredentials:
        """What requests are signed with now."""
        return await self._keys.get()

    async def link(self, key: str, seconds: int) -> str:
        """A URL that whoever has it may read the object at, for so many ``seconds``."""
        keys = await self._keys.get()
        return signed_url(keys, self.place.region, self._now() + self._ahead, self.place.url(key), seconds)


def md5(content: bytes) -> str:
    """As ``Content-MD5`` has it; S3 wants it of documents that delete."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def header_time(answer: Answer) -> float:
    """When the object was last written, in seconds since the epoch."""
    found = moment(answer.header("last-modified"))
    if found is None:
        raise StorageFailed("the store does not say when the object was written")
    return found
