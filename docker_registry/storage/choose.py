"""The store that the configuration names."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from docker_registry.config.model import Config
from docker_registry.storage import accounts
from docker_registry.storage.glance.diversion import Diversion
from docker_registry.storage.glance.images import Images
from docker_registry.storage.glance.shelf import Shelf
from docker_registry.storage.glance.storage import GlanceStorage
from docker_registry.storage.glance.titles import Titles
from docker_registry.storage.glance.withold import with_old
from docker_registry.storage.interface import IStorage
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.making import Making
from docker_registry.storage.memory import MemoryStorage
from docker_registry.storage.retries import Retries
from docker_registry.storage.s3.links import Links, Presigned, cloud_front
from docker_registry.storage.s3.settings import Place, Settings
from docker_registry.storage.s3.storage import S3Storage
from docker_registry.storage.swift import settings as swifts
from docker_registry.storage.swift.storage import SwiftStorage
from docker_registry.storage.tokens import Service
from docker_registry.threads import Runner


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a store is made with, besides the options.

    :ivar making, joins: of a store in a directory, see `LocalStorage`. Who joins others does not try the store first.
    """

    runner: Runner
    clock: IReactorTime
    making: Making | None = None
    joins: bool = False


def choose(
    config: Config, runner: Runner, clock: IReactorTime, making: Making | None = None, joins: bool = False
) -> IStorage:
    """A store that is yet to be started.

    :param making, joins: see `Surroundings`.
    """
    return KINDS[config.storage](config, Surroundings(runner, clock, making, joins))


def memory(config: Config, around: Surroundings) -> MemoryStorage:
    return MemoryStorage(around.clock)


def local(config: Config, around: Surroundings) -> LocalStorage:
    """The directory that a configuration names."""
    if config.storage_path is None:
        raise ValueError("a local store needs a storage_path")
    return LocalStorage(
        Path(config.storage_path), around.runner, around.clock, sync=config.sync, making=around.making,
        joins=around.joins,
    )


def s3(config: Config, around: Surroundings) -> S3Storage:
    """The bucket that a configuration names."""
    links: Links | None = Presigned() if config.storage_redirect else None
    front = config.cloudfront
    if links is not None and front.keysecret is not None:
        links = cloud_front(front.base, front.keyid, front.keysecret, time.time)
    return S3Storage(
        Settings(
            Place(config.bucket or "", config.s3_region, config.endpoint, config.s3_addressing),
            prefix=prefix(config),
            access_key=None if config.s3_access_key is None else config.s3_access_key.get_secret_value(),
            secret_key=None if config.s3_secret_key is None else config.s3_secret_key.get_secret_value(),
            object_headers=_object_headers(config),
            part_size=config.s3_part_size,
            memory=max(config.s3_memory // config.processes, 2 * config.s3_part_size),
            ca=config.s3_ca,
            check=config.storage_check and not around.joins,
        ),
        around.runner,
        around.clock,
        links=links,
    )


def swift(config: Config, around: Surroundings) -> SwiftStorage:
    """The container that a configuration names."""
    http, log_in = accounts.swift(config, around.clock)
    segment_size = config.segment_size
    return SwiftStorage(
        swifts.Settings(
            config.container or "",
            prefix=swift_prefix(config),
            segment_size=segment_size,
            memory=max(config.swift_memory // config.processes, 2 * segment_size),
            temp_url_key=config.temp_url_key if config.storage_redirect else None,
            check=config.storage_check and not around.joins,
        ),
        log_in,
        http,
        around.runner,
        around.clock,
    )


def glance(config: Config, around: Surroundings) -> GlanceStorage:
    """Images of the project that a configuration names, and the store that it has beside them."""
    clock = around.clock
    retries = Retries(clock)
    http, log_in = accounts.glance(config, clock)
    service = Service(http, log_in, clock, tells=False)     # that it fails is told as a whole
    images = Images(service, retries, around.runner)
    shelf = Shelf(images, retries, clock)

    diversion = Diversion(clock, time.time, shelf.probe)
    beside = KINDS[config.storage_alternate](config, around)
    return GlanceStorage(
        shelf,
        with_old(beside, images, images.project, clock, accounts.whose(config), diversion),
        around.runner,
        clock,
        http.close,
        check=config.storage_check and not around.joins,
        titles=Titles(images, images.project, shelf.is_ours) if config.glance_names else None,
        diversion=diversion,
    )


def prefix(config: Config) -> str:
    """What keys begin with in a store that others have a part of, too."""
    return _prefix("" if config.storage_path is None else str(config.storage_path))


def swift_prefix(config: Config) -> str:
    """The same in a container, which may be one of registry:2's."""
    section = config.swift
    return _prefix(f"{section.prefix}/files") if config.storage_path is None and section.container else prefix(config)


def _prefix(path: str) -> str:
    path = path.strip("/")
    return f"{path}/" if path else ""


def _object_headers(config: Config) -> dict[str, str]:
    headers: dict[str, str] = {}
    if config.s3_kms_key is not None:
        headers["x-amz-server-side-encryption"] = "aws:kms"
        headers["x-amz-server-side-encryption-aws-kms-key-id"] = config.s3_kms_key
    elif config.s3_encrypt:
        headers["x-amz-server-side-encryption"] = "AES256"
    if config.s3_storage_class is not None:
        headers["x-amz-storage-class"] = config.s3_storage_class
    return headers


KINDS: dict[str, Callable[[Config, Surroundings], IStorage]] = {
    "local": local, "memory": memory, "s3": s3, "swift": swift, "glance": glance,
}
"""By the value of the option. One store may be made of others."""
