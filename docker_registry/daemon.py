"""What every daemon does, whether it serves or supervises: starting in order, giving up, reloading, stopping."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from docker_registry.config.problems import EXIT_STATUS
from docker_registry.deferreds import deferred
from docker_registry.errors import StorageError, StoreUnavailable
from docker_registry.listening import CannotStart, address, hint, listen
from docker_registry.process import Process
from docker_registry.registry.registry import Registry
from docker_registry.reloading import Reloads
from docker_registry.storage.interface import IStorage
from docker_registry.systemd import Notifier

LAST_STEPS = 10.0
"""Seconds for what is left after the grace: connections that are being cut, and writes that must not be torn."""


class Companion(Protocol):
    """What runs beside the registry, and fails without it."""

    def start(self) -> None: ...

    async def stop(self) -> None:
        """Waited for, but not for longer than `LAST_STEPS`."""


class Daemon(Service):
    """:param endpoints: where to listen, each with the text that an operator wrote for it.
    :param pool: started and stopped here.
    :param grace: seconds that requests have when the daemon stops.
    :param place: where images are kept, for the line that says so.
    :param reloads: what can be read again.
    :param warnings: what an operator should mend, to be logged.
    :param became: told how it is: ``"ready"``, then ``"draining"``.
    :ivar companions: started before everything else, and stopped after it, the last first.
    """

    log = Logger()
    name = "docker-registry"

    def __init__(
        self,
        reactor: Any,
        *,
        storage: IStorage,
        registry: Registry,
        endpoints: Sequence[tuple[str, IStreamServerEndpoint]],
        pool: ThreadPool,
        process: Process,
        notifier: Notifier,
        grace: float,
        place: str,
        reloads: Reloads | None = None,
        warnings: Sequence[str] = (),
        companions: Sequence[Companion] = (),
        became: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.reloads = reloads or Reloads()
        self._reactor = reactor
        self._storage = storage
        self._registry = registry
        self._endpoints = endpoints
        self._pool = pool
        self._process = process
        self._notifier = notifier
        self._grace = grace
        self._place = place
        self._warnings = warnings
        self.companions = list(companions)
        self._became = became
        self._ports: list[IListeningPort] = []
        self._started: Deferred[None] | None = None
        self._asked = self._is_ready = self._is_hindered = False
        self._reloading = DeferredLock()
        self._reloading.acquire()               # until it is ready
        self._pings = LoopingCall(self._ping)
        self._pings.clock = reactor

    # Starting

    def startService(self) -> None:
        """Begin to start. What hinders it is logged in one line, and ends the process."""
        super().startService()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._process.on_stop_signal(self.ask_to_stop)
        self._process.on_reload_signal(self.ask_to_reload)
        for companion in self.companions:
            companion.start()
        for warning in self._warnings:
            self.log.warn("{doubt}", doubt=warning)
        self._pool.start()
        self._started = Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        try:
            await self._open()
        except Exception as error:
            self.give_up(error)

    async def _open(self) -> None:
        """Everything from the store on.

        :raises CannotStart, StorageError: what hinders it.
        """
        raise NotImplementedError

    @property
    def _is_to_start(self) -> bool:
        """Whether nobody has asked it to stop, and nothing hinders it."""
        return bool(self.running) and not self._is_hindered

    async def _listen(self, factory: Factory) -> None:
        for text, endpoint in self._endpoints:
            if self._is_to_start:
                self._ports.append(await listen(endpoint, text, factory))

    def give_up(self, error: Exception) -> None:
        """End the process, since it cannot start for that reason; nothing more is opened."""
        self._is_hindered = True
        if isinstance(error, CannotStart | StorageError):
            self.log.critical("cannot start: {reason}", reason=str(error))
            self._process.stop(1 if isinstance(error, StorageError) and _may_pass(error) else EXIT_STATUS)
        else:
            self.log.failure("the registry cannot start", Failure(error))
            self._process.stop(1)

    def _say_ready(self, by: str = "") -> None:
        """:param by: who listens, if that is not this process."""
        addresses = [address(port.getHost()) for port in self._ports]
        self.log.info(
            "listening on {addresses}{by}, storing {place}{hint}",
            addresses=", ".join(addresses),
            by=by,
            place=self._place,
            hint=hint(addresses),
        )
        self._serve()

    def _serve(self) -> None:
        """Requests are answered from now on."""
        self._is_ready = True
        self._became("ready")
        self._notifier.ready()
        self._reloading.release()

    def _ping(self) -> None:
        self._notifier.ping()

    # Reloading

    def ask_to_reload(self) -> None:
        """Read again what can be read again, as soon as it is ready; it cannot fail."""
        self._reloading.run(lambda: Deferred.fromCoroutine(self._reload()))

    async def _reload(self) -> None:
        if self.running:
            self._notifier.reloading()
            await self._reload_all()
            self._notifier.ready()

    async def _reload_all(self) -> None:
        await self.reloads.reload()

    # Stopping

    def ask_to_stop(self) -> None:
        """As a signal does: the second time stops now."""
        if self._asked:
            self.log.info("asked again: stopping now")
            self.hurry()
        self._asked = True
        self._process.stop()

    def hurry(self) -> None:
        """Do not wait for requests in flight."""
        self._grace = 0.0

    @deferred
    async def stopService(self) -> None:
        """No new connections, then what has been begun comes to its end, then the store and the rest are closed."""
        self._became("draining")
        await maybeDeferred(super().stopService)
        self._notifier.stopping()
        self._begin_to_stop()
        closing = [maybeDeferred(port.stopListening) for port in self._ports]
        if self._started is not None:
            await self._started
            await self._stop(closing)
        self.log.info("stopped")

    def _begin_to_stop(self) -> None:
        """Called before the ports are closed."""

    async def _stop(self, closing: Sequence[Deferred[Any]]) -> None:
        """:param closing: the ports, each on its way to be closed."""
        raise NotImplementedError

    async def _leave(self) -> None:
        """The last steps."""
        if self._pings.running:
            self._pings.stop()
        await self._registry.close()
        await self._storage.close()
        await self._see_off(self.companions)
        self._pool.stop()

    async def _see_off(self, companions: Sequence[Companion]) -> None:
        for each in reversed(companions):
            with self.log.failuresHandled("stopping"):
                if not await self._in_time(Deferred.fromCoroutine(each.stop()), LAST_STEPS):
                    self.log.error("{what} does not stop: it is left behind", what=type(each).__name__)

    async def _in_time(self, waiting: Deferred[Any], seconds: float) -> bool:
        try:
            await waiting.addTimeout(seconds, self._reactor)
        except (TimeoutError, CancelledError):
            return False
        return True


def _may_pass(error: StorageError) -> bool:
    """Whether it may be over at the next attempt, without anybody changing the configuration."""
    cause = error.__cause__
    return isinstance(error, StoreUnavailable) or (isinstance(cause, OSError) and cause.errno in _PASSING)


_PASSING = {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE}
