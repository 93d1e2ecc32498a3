"""The service of a process that serves: in which order it starts, and how it stops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from docker_registry import mail, watching
from docker_registry.assembly import admin, core, entrances, parts, serving
from docker_registry.config.load import Loaded
from docker_registry.daemon import LAST_STEPS, Companion, Daemon
from docker_registry.deferreds import outcomes
from docker_registry.process import Process
from docker_registry.systemd import Notifier
from docker_registry.web.site import Site


class RegistryService(Daemon):
    """First the store, then the ports, then "ready"; and back in the other direction.

    :param guests: companions that need the store: started when it is open, stopped before it is closed.
    :param periodic: whether what one process does for all of a daemon's is for this one to do.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, *, site: Site, guests: Sequence[Companion] = (), periodic: bool = True, **parts: Any
    ) -> None:
        super().__init__(reactor, **parts)
        self._guests = guests
        self._received: list[Companion] = []
        self._site = site
        self._periodic = periodic
        self._drained: Deferred[None] | None = None

    async def _open(self) -> None:
        await self._storage.start()
        for guest in self._guests:
            guest.start()
            self._received.append(guest)
        await self._listen(self._site)
        if self._is_to_start:
            self._registry.start(self._periodic)
            self._process.settle()
            self._say_ready()
            if self._notifier.interval:
                self._pings.start(self._notifier.interval)

    def hurry(self) -> None:
        super().hurry()
        if self._drained is not None:
            self._drained.cancel()

    async def _stop(self, closing: Sequence[Deferred[Any]]) -> None:
        self._registry.stop()
        await outcomes(*closing)            # a port is closed in the next turn of the reactor (H1)
        self._drained = self._site.drain()
        if count := self._site.in_flight:
            self.log.info("requests in flight: {count}; they have {grace:g} s", count=count, grace=self._grace)
        if not await self._in_time(self._drained, self._grace):
            self._site.abort_all()
            await self._in_time(self._site.drain(), LAST_STEPS)
        # Whoever reported the last request is still in the middle of it.
        await deferLater(self._reactor, 0)
        await self._in_time(self._registry.idle(), LAST_STEPS)
        await self._see_off(self._received)
        await self._leave()


def build(reactor: Any, loaded: Loaded, environ: Mapping[str, str]) -> RegistryService:
    """The service of a configuration, with one process. Nothing is opened yet but the keys of TLS endpoints.

    :param environ: of the process, for what systemd says there.
    :raises ConfigError: systemd has not handed over the socket that ``listen`` names.
    """
    table = watching.table_of_one(loaded.config)
    made = core(reactor, loaded.config, table)
    alerts = mail.alerts(reactor, loaded, watching.mails(table))
    what = parts(reactor, loaded, made, entrances(reactor, loaded), Process(reactor), Notifier(environ), alerts)
    service = RegistryService(reactor, **serving(reactor, loaded.config, made, what))
    service.companions += admin(reactor, loaded, made, service.reloads, service.give_up)
    return service
