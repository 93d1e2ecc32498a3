"""HTTP to stores: one pool of connections for each, with limits and deadlines (F10). What it says, others know.

Twisted's agent as it is, without what treq adds: it would unpack bodies that the store says are packed, so that bytes
are not those that were committed, keep cookies, and refuse ``[::1]`` and names of buckets with ``_``. Redirects are
answers like any other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, TimeoutError
from twisted.internet.error import ConnectError, ConnectionLost, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.web.client import Agent, RequestGenerationFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH

from docker_registry.errors import StorageFailed, StoreUnavailable, Transient
from docker_registry.storage.connections import Connections, cancellable
from docker_registry.storage.flows import Body, Flow, Inflow, Outflow, Shares, Watch
from docker_registry.storage.tls import Handshakes, NoHandshake, policy

SMALL = 64 << 10
"""Bytes of an answer nobody reads that are read all the same, so that its connection can be used again."""

_PLAIN = re.compile(r"[^A-Za-z0-9 .,:;/_'()<>=-]")


def clean(said: str) -> str:
    """Text of a store's that may stand in a log (T43)."""
    return _PLAIN.sub("?", said)


def moment(said: str | None) -> float | None:
    """Of a date in a header field, in seconds since the epoch; ``None`` if it is none."""
    try:
        return parsedate_to_datetime(said or "").timestamp()
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a store has.

    :ivar connect: to take a connection.
    :ivar first_byte: to begin its answer, after the last byte of the request.
    :ivar idle: for the next piece of a body, in either direction.
    :ivar kept: that a connection stays open for the next request.
    """

    connect: float = 5.0
    first_byte: float = 30.0
    idle: float = 60.0
    kept: float = 15.0


class Silent(Transient):
    """The store did not answer in time: whoever asks again waits as long again."""


class Crowded(Transient):
    """All connections are busy: it is not the store that fails."""


class Answer:
    """:ivar status: of the answer.
    :ivar length: of its body, or of the one that GET would have in place of HEAD; ``None`` if nobody knows before it
        ends.
    """

    def __init__(self, response: Any, inflow: Inflow, is_head: bool) -> None:
        self.status: int = response.code
        self.length: int | None = None if response.length is UNKNOWN_LENGTH else response.length
        self._headers: Headers = response.headers
        self._inflow = inflow
        if is_head:
            length = self.header("content-length") or ""
            self.length = int(length) if re.fullmatch("[0-9]{1,18}", length) else None

    def header(self, name: str) -> str | None:
        """The value of a header field; of several the last one."""
        values = self._headers.getRawHeaders(name.encode("ascii"))
        return values[-1].decode("utf-8", "replace") if values else None

    def headers(self) -> dict[str, str]:
        """All header fields, by their names in lower case; of several the last one."""
        names = [name.decode("ascii", "replace").lower() for name, _ in self._headers.getAllRawHeaders()]
        return {name: self.header(name) or "" for name in names}

    async def read(self, count: int) -> bytes:
        """At most ``count`` bytes; ``b""`` at the end.

        :raises Transient: the rest did not come.
        """
        return await self._inflow.read(count)

    async def content(self, limit: int) -> bytes:
        """The whole body.

        :raises StorageFailed: it has more than ``limit`` bytes.
        :raises Transient: it did not come to its end.
        """
        parts: list[bytes] = []
        size = 0
        while part := await self.read(limit + 1):
            parts.append(part)
            size += len(part)
            if size > limit:
                self.close()
                raise StorageFailed(f"the store answered with more than {limit} bytes")
        return b"".join(parts)

    async def discard(self) -> None:
        """Read what is left if it is little, so that the connection is kept; never fails."""
        if self.length is not None and self.length <= SMALL:
            with suppress(StoreUnavailable):
                await self.content(SMALL)
        self.close()

    def close(self) -> None:
        """Give up what was not read. May be called twice."""
        self._inflow.close()


class Http:
    """:param reactor: where connections are made.
    :param ca: certificates in PEM that take the place of the system's.
    :param insecure: whether anybody is believed to be the store, whatever certificate he has.
    :param connections: at a time for calls that are soon over; others wait.
    :param streams: at a time for bodies that are read as slowly as somebody likes, and as many for those that are sent
        so: slow pushes do not keep others from pulling.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        ca: Path | None = None,
        insecure: bool = False,
        connections: int = 64,
        streams: int = 256,
        patience: Patience | None = None,
    ) -> None:
        self.patience = patience or Patience()
        self._reactor = reactor
        self._calls = DeferredSemaphore(connections)
        self._streams = DeferredSemaphore(streams)
        self._flows = DeferredSemaphore(streams)
        self._shares = Shares()
        self._is_closed = False
        self._running: set[Deferred[Answer]] = set()
        self._pool = Connections(reactor)
        self._pool.maxPersistentPerHost = connections
        self._pool.cachedConnectionTimeout = self.patience.kept     # type: ignore[assignment]  # seconds
        self._pool.retryAutomatically = False       # it would not know what may be
        if insecure:
            self.log.warn("CERTIFICATES ARE NOT VERIFIED: whoever is on the way to the store can read the password, "
                          "and change what is stored")
        self._handshakes = Handshakes(reactor, policy(ca, insecure), self.patience.connect)
        self._agent = Agent(reactor, self._handshakes, connectTimeout=self.patience.connect, pool=self._pool)

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        *,
        stream: bool = False,
        seconds: float | None = None,
    ) -> Answer:
        """Ask once. Whoever called reads the answer to its end, or closes it.

        :param url: sent as it is; what is special in it is quoted.
        :param body: a `Flow` is sent as somebody else likes.
        :param stream: whether the answer's body is read so.
        :param seconds: to wait for a connection and for the first byte, sending ``body`` apart, if not as usual.
        :raises Transient: the store did not answer; it may do so next time.
        :raises StoreUnavailable: it never will, as things are.
        :raises CancelledError: somebody has closed this.
        :raises Exception: what a `Flow` raised.
        """
        if self._is_closed:
            raise CancelledError()
        running = Deferred.fromCoroutine(self._in_turn(method, url, headers, body, stream, seconds))
        self._running.add(running)
        try:
            return await running
        finally:
            self._running.discard(running)

    async def _in_turn(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        stream: bool,
        seconds: float | None,
    ) -> Answer:
        host = urlsplit(url).netloc.rpartition("@")[2]
        patience = self.patience.first_byte if seconds is None else max(seconds, 0.0)
        slots = self._flows if isinstance(body, Flow) else self._streams if stream else self._calls
        end = self._reactor.seconds() + patience
        try:
            await slots.acquire().addTimeout(patience, self._reactor)
        except TimeoutError:
            raise Crowded(f"{host}: all connections are busy") from None
        try:
            left = max(end - self._reactor.seconds(), 0.0)
            return await self._request(host, method, url, headers, body, left, slots)
        except BaseException:
            slots.release()
            raise

    async def _request(
        self,
        host: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        patience: float,
        slots: DeferredSemaphore,
    ) -> Answer:
        waiting: Deferred[Any]
        inflow: Inflow | None = None
        watch = Watch(self._reactor, lambda: waiting.cancel() if inflow is None else inflow.late())
        outflow = None if body is None else Outflow(body, self._shares, watch, self.patience.idle, patience)
        watch.begin(patience)
        try:
            waiting = cancellable(
                self._agent.request(
                    method.encode("ascii"),
                    url.encode("ascii"),
                    Headers({name: [value] for name, value in headers.items()}),
                    outflow,
                )
            )
            response = await waiting
        except Exception as error:
            meant = _translated(error, host, watch)
            if isinstance(meant, Transient) and url.startswith("https:") and await self._is_plain(url):
                meant = StoreUnavailable(f"{host} does not speak TLS, but HTTP: should the URL begin with http://?")
            raise meant from None
        finally:
            watch.end()
            if outflow is not None:
                outflow.answered()
        length = None if response.length is UNKNOWN_LENGTH else response.length
        inflow = Inflow(length, self._shares, watch, self.patience.idle, slots.release)
        response.deliverBody(inflow)
        return Answer(response, inflow, method == "HEAD")

    async def _is_plain(self, url: str) -> bool:
        """Whether nobody answers in TLS there, as whoever is there speaks HTTP without it; nothing of the request is
        told him."""
        place = urlsplit(url)
        port = place.port or 443
        if self._handshakes.is_answered(place.hostname or "", port):
            return False
        host = place.netloc.rpartition("@")[2].removesuffix(f":{port}")
        asking = cancellable(self._agent.request(b"HEAD", f"http://{host}:{port}/".encode("ascii")))
        try:
            (await asking.addTimeout(self.patience.connect, self._reactor)).deliverBody(Protocol())
        except CancelledError:
            raise
        except Exception:
            return False                        # it is what it looked like
        return True

    async def close(self) -> None:
        """End all requests, and what is left of their answers, and wait until the connections are gone. None is made
        any more."""
        self._is_closed = True
        self._handshakes.stop()
        for each in list(self._running):
            each.cancel()
        await self._pool.close()


def _translated(error: Exception, host: str, watch: Watch) -> Exception:
    """What an error of Twisted's client means. The text names the host and nothing else of the request."""
    if watch.expired:
        return Silent(f"{host} did not answer in time")
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, NoHandshake):
            return Silent(f"{host} did not answer in TLS in time")
        if isinstance(cause, CancelledError):
            return CancelledError()
        if isinstance(cause, (SSL.Error, VerificationError)) and _is_distrust(cause):
            return StoreUnavailable(f"{host} has a certificate that is not trusted, or is of another host")
        if isinstance(cause, SSL.Error):
            reason = _reason(cause)
            hint = "; should the URL begin with http://?" if reason in _OF_HTTP else ""
            return StoreUnavailable(f"{host} does not speak TLS as it should: {reason}{hint}")
    if isinstance(error, RequestGenerationFailed):
        return causes[0]                    # of whoever the body comes from
    if isinstance(error, DNSLookupError):
        return Transient(f"{host} has no address")
    if isinstance(error, ConnectError):
        reason = error.osError
        text = os.strerror(reason) if isinstance(reason, int) else reason or type(error).__name__
        kind = Silent if isinstance(error, ConnectTimeout) else Transient
        return kind(f"{host} cannot be reached: {text}")
    reason = next((type(cause).__name__ for cause in causes), ConnectionLost.__name__)
    return Transient(f"{host} went away before it answered: {reason}")


def _causes(error: BaseException) -> Iterator[Exception]:
    """The errors below those that only wrap others."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        for failure in reasons:
            yield from _causes(failure.value)
    elif isinstance(error, Exception):
        yield error


def _reason(error: SSL.Error) -> str:
    """As OpenSSL says it: ``wrong version number``."""
    try:
        return clean(str(error.args[0][-1][-1]))[:100]
    except (IndexError, TypeError):
        return "it ended the handshake"


_OF_HTTP = frozenset({"wrong version number", "packet length too long", "http request"})
"""What OpenSSL makes of an answer in HTTP."""


def _is_distrust(error: Exception) -> bool:
    return isinstance(error, VerificationError) or "certificate verify failed" in str(error)
