"""The store that the configuration names."""

from __future__ import annotations

import time
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from docker_registry.config.model import Config
from docker_registry.storage.interface import IStorage
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.making import Making
from docker_registry.storage.memory import MemoryStorage
from docker_registry.storage.s3.links import Links, Presigned, cloud_front
from docker_registry.storage.s3.settings import Place, Settings
from docker_registry.storage.s3.storage import S3Storage
from docker_registry.threads import Runner


def choose(
    config: Config, runner: Runner, clock: IReactorTime, making: Making | None = None, joins: bool = False
) -> IStorage:
    """A store that is yet to be started.

    :param making, joins: of a store in a directory, see `LocalStorage`.
    """
    if config.storage == "memory":
        return MemoryStorage(clock)
    if config.storage == "s3":
        return s3(config, runner, clock, check=config.storage_check and not joins)
    if config.storage_path is None:
        raise ValueError("a local store needs a storage_path")
    return LocalStorage(
        Path(config.storage_path), runner, clock, sync=config.sync, making=making, joins=joins
    )


def s3(config: Config, runner: Runner, clock: IReactorTime, check: bool) -> S3Storage:
    """The bucket that a configuration names.

    :param check: whether it is tried first.
    """
    path = "" if config.storage_path is None else str(config.storage_path).strip("/")
    links: Links | None = Presigned() if config.storage_redirect else None
    front = config.cloudfront
    if links is not None and front.keysecret is not None:
        links = cloud_front(front.base, front.keyid, front.keysecret, time.time)
    return S3Storage(
        Settings(
            Place(config.bucket or "", config.s3_region, config.endpoint, config.s3_addressing),
            prefix=f"{path}/" if path else "",
            access_key=None if config.s3_access_key is None else config.s3_access_key.get_secret_value(),
            secret_key=None if config.s3_secret_key is None else config.s3_secret_key.get_secret_value(),
            object_headers=_object_headers(config),
            part_size=config.s3_part_size,
            memory=max(config.s3_memory // config.processes, 2 * config.s3_part_size),
            ca=config.s3_ca,
            check=check,
        ),
        runner,
        clock,
        links=links,
    )


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
