"""What is seen of a running registry: its access log and its metrics, as the configuration wants them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from docker_registry.config.model import Config
from docker_registry.errors import StorageError
from docker_registry.logs.lines import Lines
from docker_registry.metrics.actions import ActionCounts
from docker_registry.metrics.changes import ChangeCounts
from docker_registry.metrics.diversions import DiversionCounts
from docker_registry.metrics.families import (
    COLUMNS,
    CONNECTIONS,
    MAIL,
    MAILS,
    NOTIFICATIONS,
    NOTIFIED,
    PENDING,
    UPLOADS,
)
from docker_registry.metrics.pulse import Pulse
from docker_registry.metrics.requests import RequestCounts
from docker_registry.metrics.table import Family, Table
from docker_registry.registry.registry import Registry
from docker_registry.storage.interface import IDiverts, IStorage
from docker_registry.storage.timed import timed_storage
from docker_registry.threads import Runner
from docker_registry.web.access_log import FORMS, AccessLog, shown_target
from docker_registry.web.gathering import Gathered, Told
from docker_registry.web.request import Request
from docker_registry.web.site import Finished, Site


def table_of_one(config: Config) -> Table | None:
    """Where a process that is alone counts; ``None`` if nobody can ask for it."""
    return Table(COLUMNS.width) if config.admin_listen else None


def timed(storage: IStorage, config: Config, table: Table | None) -> IStorage:
    """``storage``, its actions counted."""
    return storage if table is None else timed_storage(storage, ActionCounts(table, config.storage))


def diversions(reactor: Any, table: Table | None, storage: IStorage) -> DiversionCounts | None:
    """Counts what the store diverts, if it is one that does and anybody can ask for it."""
    if table is None or not IDiverts.providedBy(storage):
        return None
    return DiversionCounts(reactor, table, IDiverts(storage))


def access_log(reactor: Any, config: Config, runner: Runner) -> Lines | None:
    """Where requests are logged."""
    return Lines("the access log", config.access_log_file, runner, reactor) if config.access_log != "off" else None


def gathered(reactor: Any, config: Config, access: Lines | None, table: Table | None) -> Gathered | None:
    """Who tells the access log and the metrics of requests; ``None`` if there is neither."""
    told: list[Told] = []
    if table is not None:
        told.append(RequestCounts(table).told)
    if access is not None:
        told.append(AccessLog(FORMS[config.access_log], access.write).told)
    if not told:
        return None
    found = Gathered(reactor, told)
    if table is not None:
        table.settling.append(found.hand_on)
    return found


def finished(config: Config, gathering: Gathered | None) -> list[Finished]:
    """Who is told of each request that has come to its end."""
    told: list[Finished] = []
    if gathering is not None:
        told.append(gathering.finished)
    if config.loglevel == "debug":
        told.append(_log_request)
    return told


def mails(table: Table | None) -> Callable[[str], None]:
    """Counts what becomes of mails."""
    count = _counting(table, MAILS, MAIL)
    return lambda outcome: count(outcome, 1)


def notified(table: Table | None) -> Callable[[str, int], None]:
    """Counts what becomes of webhooks' events."""
    return _counting(table, NOTIFICATIONS, NOTIFIED)


def _counting(table: Table | None, family: Family, values: Sequence[str]) -> Callable[[str, int], None]:
    def count(value: str, number: int) -> None:
        if table is not None:
            table.own[family.at(values.index(value))] += number

    return count


def pulse(
    reactor: Any, table: Table, site: Site, registry: Registry, pending: Callable[[], int] = lambda: 0
) -> Pulse:
    """What the process notes of itself.

    :param pending: events that webhooks have not taken yet.
    """
    requests = RequestCounts(table)
    registry.events.subscribe(ChangeCounts(table).changed)

    def sample() -> None:
        requests.running(site)
        table.own[CONNECTIONS.first] = site.connections
        table.own[UPLOADS.first] = registry.uploads.open
        table.own[PENDING.first] = pending()

    def works() -> Deferred[str]:
        return Deferred.fromCoroutine(_what_is_wrong(registry))

    return Pulse(reactor, time.monotonic, table, works=works, samples=[sample])


async def _what_is_wrong(registry: Registry) -> str:
    try:
        await registry.probe()
    except StorageError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _log_request(request: Request, seconds: float) -> None:
    _log.debug(
        "{request.id} {request.client} {request.method} {target} {request.status} {request.sent} bytes "
        "{milliseconds:.1f} ms",
        request=request,
        target=shown_target(request.target).decode("ascii", "backslashreplace"),
        milliseconds=seconds * 1000,
    )


_log = Logger()
