"""How one gets at a service of OpenStack, as the options say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docker_registry.config.model import Config
from docker_registry.errors import StorageFailed
from docker_registry.storage.clouds import cloud
from docker_registry.storage.http import Http
from docker_registry.storage.keystone import Keystone, Wanted
from docker_registry.storage.retries import Retries
from docker_registry.storage.swift.login import V1, V1Login
from docker_registry.storage.tokens import Access, LogIn, LoginRefused


def openstack(
    given: Mapping[str, str],
    environ: Mapping[str, str],
    reactor: Any,
    retries: Retries,
    service: str,
    url: str = "",
) -> tuple[Http, LogIn]:
    """Where a service of OpenStack is asked, and how one logs in for that.

    :param service: its type in the catalogue.
    :param url: in place of the catalogue's.
    """
    try:
        found = cloud(given, environ)
    except StorageFailed as error:
        reason = str(error)

        async def refuse() -> Access:
            raise LoginRefused(reason)          # said when the store is started, as all that is wrong with it

        return Http(reactor), refuse
    http = Http(reactor, ca=found.ca, insecure=found.insecure)
    return http, Keystone(http, found.login, Wanted(service, found.region, found.interface, url), retries)


def swift(config: Config, reactor: Any) -> tuple[Http, LogIn]:
    """Where Swift is asked, and how one logs in there."""
    given = {**config.openstack, **config.swift_login}
    url = (config.swift_storage_url or "").rstrip("/")
    retries = Retries(reactor)
    if config.is_version_1:
        ca = given.get("cacert")
        http = Http(reactor, ca=Path(ca) if ca else None, insecure=given.get("insecure") == "true")
        login = V1Login(given["auth_url"], given["username"], given["password"])
        return http, V1(http, login, retries, url)
    return openstack(given, os.environ, reactor, retries, "object-store", url)
