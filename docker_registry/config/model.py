"""Every option: its type, its default, what it does. What is written here is what docs/configuration.md says."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from docker_registry.config.glance import Glance
from docker_registry.config.limits import Limits
from docker_registry.config.mail import Mail
from docker_registry.config.notifications import Notifications
from docker_registry.config.openstack import OpenStack
from docker_registry.config.reporting import Reporting
from docker_registry.config.s3 import S3
from docker_registry.config.swift import Swift, what_is_missing
from docker_registry.config.values import (
    AUTO,
    Allowed,
    Bytes,
    Endpoints,
    LocalPath,
    Seconds,
    StoragePath,
    Workers,
    beneath,
    unsuitable,
    why_not_usable,
)

_HOST = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:]{2,45}\])(?::[0-9]{1,5})?")

MOST_AUTOMATIC = 16
"""Workers that nobody has asked for."""

SAMPLE_SECRET = "REPLACEME"
"""What config_sample.yml has for ``secret_key``: known to everybody, and so good for nothing but trying out."""


class Config(S3, Swift, Glance, OpenStack, Reporting):
    """What one flavor comes to."""

    standalone: Annotated[bool, Allowed("true")] = Field(
        default=True,
        description="Whether the registry stands alone. `false` made docker-registry 0.x ask an index for the rights "
        "of a client; no such index is supported, so only `true` is accepted.",
    )
    storage: Literal["local", "memory", "s3", "swift", "glance"] = Field(
        default="local",
        description="Where images are kept: `local` in a directory, `s3` in a bucket, `swift` in a container of "
        "OpenStack, `glance` as images of OpenStack, with `storage_alternate` beside them, `memory` nowhere, so that "
        "they are gone when the registry stops.",
    )
    storage_path: StoragePath = Field(
        default=None,
        description="The directory of `local`; made when it is absent. Required there. In the bucket of `s3` and the "
        "container of `swift` all keys begin with it: `/prod` is `prod/…`, and without it they begin at the top.",
    )
    sync: bool = Field(
        default=True,
        description="Whether a push is answered only when it would survive a power cut. `false` is faster, and for "
        "registries whose content may be lost.",
    )
    cache_path: LocalPath = Field(
        default=None,
        description="The directory for what can be found out again from what is stored, such as the catalogue: on a "
        "local disk, not shared with other machines. Unset it lies in `storage_path` of `local`, and otherwise in "
        "memory; several workers over another store than `local` have no catalogue without it.",
    )
    catalogue_refresh: Seconds = Field(
        default=3600.0, ge=60, le=30 * 86400,
        description="How often the catalogue is read from a store that other registries write to as well: until then "
        "it does not know what they pushed. It is not for `local` and `memory`, which one registry has for itself.",
    )
    workers: Workers = Field(
        default=1,
        description="Processes that serve. `auto` is one for each processor, at most 16; and one where images are in "
        "memory, which no other process sees. With more than one a further process supervises them; `secret_key` is "
        "required then.",
    )
    secret_key: SecretStr | None = Field(
        default=None,
        description="Random text that signs what clients bring back. Without it each start makes its own, and what "
        f"was signed before is void. `{SAMPLE_SECRET}` is refused in every flavor but `dev`.",
    )
    listen: Endpoints = Field(
        default=("tcp:5000:interface=127.0.0.1",),
        description="Where to listen. From `_env:` several are separated by blanks. `--listen` takes its place.",
    )
    v1: bool = Field(
        default=True,
        description="Whether images are pushed and pulled by protocol v1 as well, as docker 0.5 to 1.9 speak it. With "
        "`false` what `docker search` asks for stays.",
    )
    registry_endpoints: str = Field(
        default="",
        description="Where v1 tells clients to push and pull, `HOST:PORT`, several with commas between. Empty is the "
        "host that they asked for; set it behind a proxy that does not hand that on.",
    )
    threads: int = Field(
        default=16, ge=2, le=256,
        description="Threads for what would block: disk, hashing, large documents. Each process has so many.",
    )
    shutdown_grace: Seconds = Field(
        default=30.0, ge=0, le=3600,
        description="What requests have to come to their end after SIGTERM; the rest is cut.",
    )
    delete_enabled: bool = Field(default=True, description="Whether tags, manifests and blobs can be deleted.")
    allow_missing_children: bool = Field(
        default=False,
        description="Whether an index may name manifests that its repository does not hold (sparse indexes).",
    )
    max_manifest_bytes: Bytes = Field(
        default=4 << 20, ge=4 << 20, le=16 << 20,
        description="Longest manifest, or JSON of protocol v1. Clients count on 4MiB.",
    )
    max_manifest_references: int = Field(
        default=10_000, ge=100,
        description="Blobs and manifests that one manifest names.",
    )
    max_uploads: int = Field(default=10_000, ge=1, description="Upload sessions that are open.")
    upload_purge_age: Seconds = Field(
        default=7 * 86400.0, ge=60, description="An upload session goes when it had no byte for this long."
    )
    max_page: int = Field(default=1000, ge=1, le=10_000, description="Entries of one page of a listing.")
    limits: Limits = Field(default=Limits(), description="Limits of HTTP connections and requests.")
    email_exceptions: Mail = Field(
        default=Mail(),
        description="A mail for each kind of exception. As in docker-registry 0.x, these options may also stand by "
        "themselves.",
    )
    notifications: Notifications = Field(
        default=Notifications(), description="Webhooks: what happens in the registry is told to others."
    )

    @property
    def beneath(self) -> str:
        """The kind of store that ``storage_path`` is a place of."""
        return beneath({"storage": self.storage, "storage_alternate": self.storage_alternate}) or self.storage

    @property
    def processes(self) -> int:
        """How many serve."""
        if self.workers != AUTO:
            return self.workers
        return 1 if self.storage == "memory" else min(len(os.sched_getaffinity(0)), MOST_AUTOMATIC)

    @field_validator("workers")
    @classmethod
    def _see_the_same(cls, value: int, info: ValidationInfo) -> int:
        if value > 1 and info.data.get("storage") == "memory":
            raise unsuitable("several processes do not see the same memory; with storage: memory there is one")
        return value

    @field_validator("standalone")
    @classmethod
    def _no_index(cls, value: bool) -> bool:
        if not value:
            raise unsuitable("an index of docker-registry 0.x is not supported; remove the line, and let a proxy "
                             "before the registry decide who may do what")
        return value

    @field_validator("storage")
    @classmethod
    def _bucket_given(cls, value: str, info: ValidationInfo) -> str:
        kind = beneath({**info.data, "storage": value})
        option = "storage_alternate" if value == "glance" else "storage"
        if kind == "s3" and not (info.data.get("s3_bucket") or info.data.get("boto_bucket")):
            raise unsuitable(f"s3_bucket is missing, and {option} is s3")
        if kind == "swift" and (missing := what_is_missing(info.data)):
            raise unsuitable(f"{missing} is missing, and {option} is swift")
        return value

    @field_validator("storage_path")
    @classmethod
    def _usable(cls, value: StoragePath, info: ValidationInfo) -> StoragePath:
        if beneath(info.data) != "local":
            return value
        if value is None:
            option = "storage_alternate" if info.data.get("storage") == "glance" else "storage"
            raise unsuitable(f"missing, and {option} is local")
        if reason := why_not_usable(value):
            raise unsuitable(reason)
        return value

    @field_validator("cache_path")
    @classmethod
    def _usable_cache(cls, value: LocalPath) -> LocalPath:
        if value is not None and (reason := why_not_usable(value)):
            raise unsuitable(reason)
        return value

    @field_validator("registry_endpoints")
    @classmethod
    def _hosts(cls, value: str) -> str:
        hosts = [each.strip() for each in value.split(",")] if value else []
        if not all(_HOST.fullmatch(each) for each in hosts):
            raise unsuitable("not HOST:PORT, without scheme or path")
        return ",".join(hosts)

    @field_validator("secret_key")
    @classmethod
    def _own_secret(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("workers", 1) != 1:
            raise unsuitable("missing, and several workers must have the same; set one such as "
                             "`openssl rand -hex 32` prints, or workers: 1")
        if value is not None and not value.get_secret_value():
            raise unsuitable("empty")
        flavor = (info.context or {}).get("flavor", "dev")
        if value is not None and value.get_secret_value() == SAMPLE_SECRET and flavor != "dev":
            raise unsuitable("still the sample's, which everybody knows; set one of your own, such as "
                             "`openssl rand -hex 32` prints, or remove the line")
        return value


FLAT = dict.fromkeys(Mail.model_fields, "email_exceptions")
"""Options of a group that may also stand by themselves, each with its group."""
