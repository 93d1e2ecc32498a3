"""How one gets at a service of OpenStack, as the options say."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docker_registry.config.model import Config
from docker_registry.config.values import is_url
from docker_registry.errors import StorageFailed
from docker_registry.storage.clouds import cloud
from docker_registry.storage.http import Http
from docker_registry.storage.keystone import Keystone, Wanted
from docker_registry.storage.retries import Retries
from docker_registry.storage.swift.login import V1, V1Login
from docker_registry.storage.tokens import Access, LogIn, LoginRefused

_PLACE = (
    "cloud", "auth_url", "region_name", "application_credential_id", "project_id", "project_name", "tenant_id",
    "tenant_name", "project_domain_id", "project_domain_name",
)


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
        if url and not is_url(url):
            raise StorageFailed(f"the URL of {service} that is set is not https://HOST:PORT/PATH, without a password")
        found = cloud(given, environ)
        http = Http(reactor, ca=found.ca, insecure=found.insecure)
    except StorageFailed as error:
        reason = str(error)

        async def refuse() -> Access:
            raise LoginRefused(reason)          # said when the store is started, as all that is wrong with it

        return Http(reactor), refuse
    wanted = Wanted(service, found.region, found.interface, url, unversioned=service == "image")
    return http, Keystone(http, found.login, wanted, retries)


def glance(config: Config, reactor: Any) -> tuple[Http, LogIn]:
    """Where Glance is asked, and how one logs in for that."""
    return openstack(config.openstack, os.environ, reactor, Retries(reactor), "image", _glance_url(config))


def whose(config: Config) -> str:
    """Tells one project and Glance from others, as far as the options and the environment do."""
    said = [config.openstack.get(name) or os.environ.get(f"OS_{name.upper()}", "") for name in _PLACE]
    return hashlib.sha256(json.dumps([_glance_url(config), *said]).encode()).hexdigest()


def _glance_url(config: Config) -> str:
    return config.os_glance_url or os.environ.get("OS_GLANCE_URL", "")


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
