"""What a process of the registry is made of, as it is configured."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

from docker_registry import watching, webhooks
from docker_registry.admin.listener import AdminListener
from docker_registry.config.load import Loaded
from docker_registry.config.model import Config
from docker_registry.config.problems import ConfigError, Problem
from docker_registry.config.values import tls_key
from docker_registry.daemon import Companion
from docker_registry.front import Front
from docker_registry.listening import Entrance, listen
from docker_registry.logs.lines import Lines
from docker_registry.metrics.table import Table
from docker_registry.polling import take_turns
from docker_registry.process import Process, keep_memory, open_files
from docker_registry.registry.naming import naming
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.registry.shared import Shared
from docker_registry.reloading import Reloads
from docker_registry.storage.choose import choose, swift_prefix
from docker_registry.storage.interface import IStorage
from docker_registry.systemd import Notifier
from docker_registry.threads import Threads
from docker_registry.v1.routes import V1
from docker_registry.v2.routes import V2
from docker_registry.web.gathering import Gathered
from docker_registry.web.limits import Limits
from docker_registry.web.site import Site

CACHE = ".cache"
"""In the directory of a local store, which hides such names."""


@dataclass(frozen=True, slots=True)
class Core:
    """A registry without anything that listens. Neither pool nor store is started.

    :ivar table: where is counted what is done; ``None`` if nobody can ask for it.
    """

    pool: ThreadPool
    runner: Threads
    storage: IStorage
    registry: Registry
    table: Table | None


def core(
    reactor: Any, config: Config, table: Table | None = None, shared: Shared | None = None, joins: bool = False
) -> Core:
    """:param table: see `Core`.
    :param shared: with the other processes of the daemon, if there are any.
    :param joins: whether one of them has started the store.
    """
    pool = ThreadPool(minthreads=0, maxthreads=config.threads, name="registry")
    runner = Threads(reactor, pool)
    chosen = choose(config, runner, reactor, shared.making if shared else None, joins)
    storage = watching.timed(chosen, config, table)
    registry = Registry(
        storage, runner, reactor, registry_settings(config), time.time, shared, cache_directory(config)
    )
    return Core(pool, runner, storage, registry, table)


def parts(
    reactor: Any, loaded: Loaded, made: Core, endpoints: Sequence[Entrance], process: Process, notifier: Notifier,
    alerts: Companion | None,
) -> dict[str, Any]:
    """What every `Daemon` is made of.

    :param alerts: sees to it that exceptions are mailed, if they are.
    """
    config, reloads = loaded.config, Reloads()
    _renew(endpoints, made.runner, reloads)
    return {
        "storage": made.storage,
        "registry": made.registry,
        "endpoints": [(each.text, each) for each in endpoints],
        "pool": made.pool,
        "process": process,
        "notifier": notifier,
        "grace": config.shutdown_grace,
        "place": _place(config),
        "reloads": reloads,
        "warnings": loaded.warnings,
        "companions": _those_that_are(alerts, watching.diversions(reactor, made.table, made.storage)),
    }


def _renew(endpoints: Sequence[Entrance], runner: Threads, reloads: Reloads) -> None:
    """Have certificates read again."""
    for each in endpoints:
        if tls_key(each.text):
            reloads.add(f"the certificate of {each.text}", partial(each.reload, runner))


def serving(reactor: Any, config: Config, made: Core, what: dict[str, Any]) -> dict[str, Any]:
    """What a `RegistryService` is made of: both protocols over a registry, and what watches them.

    :param what: as `parts` has it.
    """
    keep_memory()
    limits, doubts = _room(web_limits(config), open_files())
    v1 = V1(made.registry, made.runner, time.time, config.registry_endpoints, config.v1)
    front = Front(v1, V2(made.registry, made.runner))
    access = watching.access_log(reactor, config, made.runner)
    gathered = watching.gathered(reactor, config, access, made.table)
    site = Site(
        reactor,
        front.handle,
        refusal=front.refusal,
        limits=limits,
        finished=watching.finished(config, gathered),
    )
    take_turns(reactor, made.runner.are_idle, site.turn)
    what["warnings"] = [*what["warnings"], *doubts]
    what["companions"] += _those_that_are(access, gathered)
    if access is not None and gathered is not None:
        what["reloads"].add("the access log", partial(_reopen, gathered, access))
    hooks = webhooks.notifications(reactor, config, made.runner, made.registry, watching.notified(made.table))
    names = naming(made.storage, made.registry.tags, made.registry.events, reactor)
    if made.table is not None:
        pulse = watching.pulse(
            reactor, made.table, site, made.registry, lambda: hooks.waiting if hooks is not None else 0
        )
        what["companions"].append(pulse)
        what["became"] = pulse.became
    return {**what, "site": site, "guests": _those_that_are(hooks, names)}


def _reopen(gathered: Gathered, access: Lines) -> Deferred[None]:
    """What has ended belongs to the old file."""
    gathered.hand_on()
    return access.reopen()


def _those_that_are(*companions: Companion | None) -> list[Companion]:
    return [companion for companion in companions if companion is not None]


def admin(
    reactor: Any, loaded: Loaded, made: Core, reloads: Reloads, give_up: Callable[[Exception], None]
) -> list[Companion]:
    """Where operators ask, if anywhere."""
    if made.table is None:
        return []
    endpoints = entrances(reactor, loaded, loaded.config.admin_listen)
    _renew(endpoints, made.runner, reloads)
    where = [partial(listen, each, each.text) for each in endpoints]
    return [AdminListener(reactor, time.monotonic, made.table, where, give_up)]


def entrances(
    reactor: Any, loaded: Loaded, texts: Sequence[str] | None = None, accepts: bool = True
) -> list[Entrance]:
    """Where to listen.

    :param texts: as operators write endpoints; those of ``listen`` if it is ``None``.
    :param accepts: whether this process does.
    :raises ConfigError: systemd has not handed over a socket that is named there.
    """
    found = []
    for text in loaded.config.listen if texts is None else texts:
        try:
            found.append(Entrance(reactor, text, accepts))
        except (KeyError, IndexError):
            reason = f"{text}: systemd has not handed over such a socket"
            raise ConfigError([Problem(loaded.file, None, f"{loaded.flavor}.listen", reason)]) from None
    return found


def _place(config: Config) -> str:
    """Where images are kept, for the log."""
    return f"in Glance, the rest {_beneath(config)}" if config.storage == "glance" else _beneath(config)


def _beneath(config: Config) -> str:
    match config.beneath:
        case "local":
            return f"below {config.storage_path}"
        case "s3":
            return f"in bucket {config.bucket} below {config.storage_path or '/'}"
        case "swift":
            return f"in container {config.container} below /{swift_prefix(config)}"
        case _:
            return "in memory"


def cache_directory(config: Config) -> Path | None:
    """Where what can be found out again is kept: beside a local store, or for each store below ``cache_path``."""
    if config.storage != "memory" and config.cache_path is not None:
        store = " ".join(map(str, (config.storage, *_names(config), config.storage_path)))
        return config.cache_path / hashlib.sha256(store.encode()).hexdigest()[:16]
    if config.beneath == "local" and config.storage_path is not None:
        return config.storage_path / CACHE
    return None


def _names(config: Config) -> Sequence[object]:
    """What a store on the network is told by, beside its ``storage_path``."""
    match config.beneath:
        case "s3":
            return config.endpoint, config.bucket
        case "swift":
            login = {**config.openstack, **config.swift_login}
            said = [login.get(name) for name in ("auth_url", "username", "project_name", "project_id", "region_name")]
            return config.container, config.swift_storage_url, swift_prefix(config), *said
    return ()


def registry_settings(config: Config) -> Settings:
    """What the registry's core has to know of the configuration."""
    return Settings(
        max_manifest_bytes=config.max_manifest_bytes,
        max_references=config.max_manifest_references,
        max_page=config.max_page,
        max_uploads=config.max_uploads,
        upload_purge_age=config.upload_purge_age,
        delete_enabled=config.delete_enabled,
        catalogue_refresh=0.0 if config.beneath in ("local", "memory") else config.catalogue_refresh,
        allow_missing_children=config.allow_missing_children,
        link_belief=_link_belief(config),
    )


def _link_belief(config: Config) -> float:
    """Where asking takes a request, and no other process removes links."""
    beliefs = {"s3": config.s3_link_cache, "swift": config.swift_link_cache}
    return beliefs.get(config.beneath, 0.0) if config.processes == 1 else 0.0


def web_limits(config: Config) -> Limits:
    """What HTTP has to know of the configuration; there the options have the same names.

    Each of several processes has its share. Connections of one address may all come to the same few: of them every
    process takes some in any case.
    """
    limits = config.limits.model_dump()
    for name, least in (("connections", 1), ("body_memory", 4 << 20), ("per_address", min(limits["per_address"], 10))):
        limits[name] = max(-(-limits[name] // config.processes), least)
    return Limits(**limits)


def _room(limits: Limits, files: int) -> tuple[Limits, list[str]]:
    """What there are files for, and what an operator should know of it."""
    possible = limits.within(files)
    if possible == limits:
        return limits, []
    return possible, [
        f"limits.connections is {limits.connections}, and {files} open files are enough for {possible.connections}: "
        "raise LimitNOFILE of the unit, or ulimit -n"
    ]
