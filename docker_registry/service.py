"""What starts, in which order, and how it stops."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from docker_registry import mail, watching, webhooks
from docker_registry.admin.listener import AdminListener
from docker_registry.config.load import Loaded
from docker_registry.config.model import Config
from docker_registry.config.problems import EXIT_STATUS, ConfigError, Problem
from docker_registry.deferreds import deferred, outcomes
from docker_registry.errors import StorageError, StoreUnavailable
from docker_registry.front import Front
from docker_registry.metrics.table import Table
from docker_registry.process import Process, open_files
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.storage.choose import choose
from docker_registry.storage.interface import IStorage
from docker_registry.systemd import Notifier
from docker_registry.threads import Threads
from docker_registry.v1.routes import V1
from docker_registry.v2.routes import V2
from docker_registry.web.limits import Limits
from docker_registry.web.site import Site

CACHE = ".cache"
"""In the directory of a local store, which hides such names."""

LAST_STEPS = 10.0
"""Seconds for what is left after the grace: connections that are being cut, and writes that must not be torn."""


class Companion(Protocol):
    """What runs beside the registry, and fails without it."""

    def start(self) -> None: ...

    async def stop(self) -> None:
        """Bounded in time."""


class RegistryService(Service):
    """The daemon: first the store, then the ports, then "ready"; and back in the other direction.

    :param endpoints: where to listen, each with the text that an operator wrote for it.
    :param pool: started and stopped here.
    :param grace: seconds that requests have when the daemon stops.
    :param place: where images are kept, for the line that says so.
    :param warnings: what an operator should mend, to be logged.
    :param companions: started before everything else, and stopped after it, the last first.
    :param guests: the same for those that need the store: started when it is open, stopped before it is closed.
    :param became: told how it is: ``"ready"``, then ``"draining"``.
    """

    log = Logger()
    name = "docker-registry"

    def __init__(
        self,
        reactor: Any,
        *,
        storage: IStorage,
        registry: Registry,
        site: Site,
        endpoints: Sequence[tuple[str, IStreamServerEndpoint]],
        pool: ThreadPool,
        process: Process,
        notifier: Notifier,
        grace: float,
        place: str,
        warnings: Sequence[str] = (),
        companions: Sequence[Companion] = (),
        guests: Sequence[Companion] = (),
        became: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._reactor = reactor
        self._storage = storage
        self._registry = registry
        self._site = site
        self._endpoints = endpoints
        self._pool = pool
        self._process = process
        self._notifier = notifier
        self._grace = grace
        self._place = place
        self._warnings = warnings
        self._companions = companions
        self._guests = guests
        self._received: list[Companion] = []
        self._became = became
        self._ports: list[IListeningPort] = []
        self._started: Deferred[None] | None = None
        self._drained: Deferred[None] | None = None
        self._asked = False
        self._pings = LoopingCall(notifier.ping)
        self._pings.clock = reactor

    # Starting

    def startService(self) -> None:
        """Begin to start. What hinders it is logged in one line, and ends the process."""
        super().startService()
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        self._process.on_stop_signal(self._asked_to_stop)
        for companion in self._companions:
            companion.start()
        for warning in self._warnings:
            self.log.warn("{doubt}", doubt=warning)
        self._pool.start()
        self._started = Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        try:
            await self._storage.start()
            for guest in self._guests:
                guest.start()
                self._received.append(guest)
            for text, endpoint in self._endpoints:
                if self.running:
                    self._ports.append(await _listen(text, endpoint, self._site))
            if self.running:
                self._registry.start()
                self._say_ready()
        except Exception as error:
            self.give_up(error)

    def give_up(self, error: Exception) -> None:
        """End the process, since it cannot start for that reason."""
        if isinstance(error, CannotStart | StorageError):
            self.log.critical("cannot start: {reason}", reason=str(error))
            self._process.stop(1 if isinstance(error, StorageError) and _may_pass(error) else EXIT_STATUS)
        else:
            self.log.failure("the registry cannot start", Failure(error))
            self._process.stop(1)

    def _say_ready(self) -> None:
        addresses = [_address(port.getHost()) for port in self._ports]
        self.log.info(
            "listening on {addresses}, storing {place}{hint}",
            addresses=", ".join(addresses),
            place=self._place,
            hint=_hint(addresses),
        )
        self._became("ready")
        self._notifier.ready()
        if self._notifier.interval:
            self._pings.start(self._notifier.interval)

    # Stopping

    def _asked_to_stop(self) -> None:
        if self._asked and self._drained is not None:
            self.log.info("asked again: stopping now")
            self._drained.cancel()
        self._asked = True
        self._process.stop()

    @deferred
    async def stopService(self) -> None:
        """No new connections, then the requests in flight, then what must not be torn, then the store."""
        self._became("draining")
        await maybeDeferred(super().stopService)
        self._notifier.stopping()
        closing = [maybeDeferred(port.stopListening) for port in self._ports]
        if self._started is not None:
            await self._started
            await self._stop(closing)
        self.log.info("stopped")

    async def _stop(self, closing: Sequence[Deferred[Any]]) -> None:
        self._registry.stop()
        self._drained = self._site.drain()
        if count := self._site.in_flight:
            self.log.info("requests in flight: {count}; they have {grace:g} s", count=count, grace=self._grace)
        if not await self._in_time(self._drained, self._grace):
            self._site.abort_all()
            await self._in_time(self._site.drain(), LAST_STEPS)
        # Whoever reported the last request is still in the middle of it.
        await deferLater(self._reactor, 0)
        await self._in_time(self._registry.idle(), LAST_STEPS)
        await outcomes(*closing)
        if self._pings.running:
            self._pings.stop()
        await self._see_off(self._received)
        await self._registry.close()
        await self._storage.close()
        await self._see_off(self._companions)
        self._pool.stop()

    async def _see_off(self, companions: Sequence[Companion]) -> None:
        for each in reversed(companions):
            with self.log.failuresHandled("stopping"):
                await each.stop()

    async def _in_time(self, waiting: Deferred[None], seconds: float) -> bool:
        try:
            await waiting.addTimeout(seconds, self._reactor)
        except (TimeoutError, CancelledError):
            return False
        return True


class CannotStart(Exception):
    """The text says why, in one line."""


async def _listen(text: str, endpoint: IStreamServerEndpoint, site: Factory) -> IListeningPort:
    """:raises CannotStart: the port is in use, or may not be used."""
    try:
        return await endpoint.listen(site)
    except CannotListenError as error:
        reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
    except OSError as error:
        reason = error.strerror or str(error)
    raise CannotStart(f"cannot listen on {text}: {reason}")


def _may_pass(error: StorageError) -> bool:
    """Whether it may be over at the next attempt, without anybody changing the configuration."""
    cause = error.__cause__
    return isinstance(error, StoreUnavailable) or (isinstance(cause, OSError) and cause.errno in _PASSING)


_PASSING = {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE}


def _address(host: object) -> str:
    """As a client writes it, where one can."""
    if isinstance(host, IPv6Address) or (isinstance(host, IPv4Address) and ":" in host.host):
        return f"[{host.host}]:{host.port}"
    if isinstance(host, IPv4Address):
        return f"{host.host}:{host.port}"
    if isinstance(host, UNIXAddress):
        return f"unix:{os.fsdecode(host.name or b'')}"
    return str(host)


def _hint(addresses: Sequence[str]) -> str:
    """What to type next; clients need a port to talk to."""
    reachable = [address for address in addresses if not address.startswith("unix:")]
    if not reachable:
        return ""
    address = re.sub(r"^(0\.0\.0\.0|\[::\])", "127.0.0.1", reachable[0])
    return f"; try: docker push {address}/NAME:TAG"


# What it is made of


def build(reactor: Any, loaded: Loaded, environ: Mapping[str, str]) -> RegistryService:
    """The service of a configuration. Nothing is opened yet but the keys of TLS endpoints.

    :param environ: of the process, for what systemd says there.
    :raises ConfigError: systemd has not handed over the socket that ``listen`` names.
    """
    config = loaded.config
    limits, doubts = _room(web_limits(config), open_files())
    endpoints = [(text, _endpoint(reactor, text, loaded)) for text in config.listen]
    admin = [partial(_listen, text, _endpoint(reactor, text, loaded)) for text in config.admin_listen]
    table = watching.table_of_one(config)
    pool, runner, storage, registry = core(reactor, config, table)
    v1 = V1(registry, runner, time.time, config.registry_endpoints, config.v1)
    front = Front(v1, V2(registry, runner))
    access = watching.access_log(reactor, config, runner)
    site = Site(
        reactor,
        front.handle,
        refusal=front.refusal,
        limits=limits,
        finished=watching.finished(config, access, table),
    )
    pulse = watching.pulse(reactor, table, site, registry) if table is not None else None
    companions = _those_that_are(mail.alerts(reactor, loaded), access, pulse)
    service = RegistryService(
        reactor,
        storage=storage,
        registry=registry,
        site=site,
        endpoints=endpoints,
        pool=pool,
        process=Process(reactor),
        notifier=Notifier(environ),
        grace=config.shutdown_grace,
        place=_place(config),
        warnings=[*loaded.warnings, *doubts],
        companions=companions,
        guests=_those_that_are(webhooks.notifications(reactor, config, runner, registry)),
        became=pulse.became if pulse is not None else lambda _: None,
    )
    if table is not None:
        companions.append(AdminListener(reactor, time.monotonic, table, admin, service.give_up))
    return service


def _those_that_are(*companions: Companion | None) -> list[Companion]:
    return [companion for companion in companions if companion is not None]


def _place(config: Config) -> str:
    """Where images are kept, for the log."""
    match config.storage:
        case "local":
            return f"below {config.storage_path}"
        case "s3":
            return f"in bucket {config.bucket} below {config.storage_path or '/'}"
        case "memory":
            return "in memory"


def core(
    reactor: Any, config: Config, table: Table | None = None
) -> tuple[ThreadPool, Threads, IStorage, Registry]:
    """The registry of a configuration without anything that listens. Neither pool nor store is started.

    :param table: where the actions of the store are counted.
    """
    pool = ThreadPool(minthreads=0, maxthreads=config.threads, name="registry")
    runner = Threads(reactor, pool)
    storage = watching.timed(choose(config, runner, reactor), config, table)
    settings = registry_settings(config)
    return pool, runner, storage, Registry(storage, runner, reactor, settings, time.time, cache=cache_directory(config))


def cache_directory(config: Config) -> Path | None:
    """Where what can be found out again is kept: beside a local store, or for each store below ``cache_path``."""
    if config.storage == "memory":
        return None
    if config.cache_path is not None:
        store = hashlib.sha256(f"{config.storage} {config.bucket} {config.storage_path}".encode()).hexdigest()
        return config.cache_path / store[:16]
    return config.storage_path / CACHE if config.storage_path is not None else None


def registry_settings(config: Config) -> Settings:
    """What the registry's core has to know of the configuration."""
    return Settings(
        max_manifest_bytes=config.max_manifest_bytes,
        max_references=config.max_manifest_references,
        max_page=config.max_page,
        max_uploads=config.max_uploads,
        upload_purge_age=config.upload_purge_age,
        delete_enabled=config.delete_enabled,
        catalogue_refresh=0.0 if config.storage in ("local", "memory") else config.catalogue_refresh,
        allow_missing_children=config.allow_missing_children,
    )


def web_limits(config: Config) -> Limits:
    """What HTTP has to know of the configuration; there the options have the same names."""
    return Limits(**config.limits.model_dump())


def _room(limits: Limits, files: int) -> tuple[Limits, list[str]]:
    """What there are files for, and what an operator should know of it."""
    possible = limits.within(files)
    if possible == limits:
        return limits, []
    return possible, [
        f"limits.connections is {limits.connections}, and {files} open files are enough for {possible.connections}: "
        "raise LimitNOFILE of the unit, or ulimit -n"
    ]


def _endpoint(reactor: Any, text: str, loaded: Loaded) -> IStreamServerEndpoint:
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except (KeyError, IndexError):
        reason = "systemd has not handed over such a socket"
        raise ConfigError([Problem(loaded.file, None, f"{loaded.flavor}.listen", f"{text}: {reason}")]) from None
    return endpoint
