"""Which cloud, and who logs in there: options, then ``clouds.yaml`` if a cloud is named, else ``OS_*`` variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from docker_registry.config.values import is_url
from docker_registry.errors import StorageFailed
from docker_registry.storage.http import clean
from docker_registry.storage.keystone import Login

FOLDERS = (Path(), Path("~/.config/openstack"), Path("/etc/openstack"))
"""Where the files of every client of OpenStack are looked for."""

LONGEST = 1 << 20
"""Bytes of such a file."""

SHOWN = 10
"""Clouds that are named in one line."""

NAMES = frozenset({
    "auth_url", "username", "user_id", "password", "user_domain_name", "user_domain_id", "application_credential_id",
    "application_credential_name", "application_credential_secret", "token", "project_name", "project_id",
    "project_domain_name", "project_domain_id", "tenant_name", "tenant_id", "region_name", "interface", "cacert",
    "insecure",
})
"""What is understood. As a variable it begins with ``OS_``, as an option with ``os_``."""

SECRETS = ("password", "application_credential_secret", "token")
"""One of them is needed, and says in which way somebody logs in."""

_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Cloud:
    """:ivar region: of the services; empty if there is one only.
    :ivar interface: ``public``, ``internal`` or ``admin``.
    :ivar ca: certificates that take the place of the system's.
    :ivar insecure: whether certificates are not looked at.
    """

    login: Login
    region: str = ""
    interface: str = "public"
    ca: Path | None = None
    insecure: bool = False


def cloud(given: Mapping[str, str], environ: Mapping[str, str], folders: Sequence[Path] = FOLDERS) -> Cloud:
    """An option takes the place of the variable or entry of its name, and one with a secret that of all secrets:
    whoever has sourced a file with a password can go over to an application credential.

    :param given: options by their `NAMES`, and ``cloud``; empty ones are not given.
    :raises StorageFailed: something is missing or wrong; the text says which option.
    """
    name = given.get("cloud") or environ.get("OS_CLOUD", "")
    if name:
        found = _from_files(name, environ, folders)
    else:
        found = {each: environ.get(f"OS_{each.upper()}", "") for each in NAMES}
        found["interface"] = found["interface"] or environ.get("OS_ENDPOINT_TYPE", "")
    if any(given.get(each) for each in SECRETS):
        found = {each: value for each, value in found.items() if each not in SECRETS}
    values = {**found, **{each: value for each, value in given.items() if value and each in NAMES}}
    if not values.get("auth_url"):
        known = _known(environ, folders)
        raise StorageFailed("nobody says where Keystone is: set os_auth_url, OS_AUTH_URL, or OS_CLOUD"
                            + (f", which may be {known}" if known else ""))
    return _checked({each: value for each, value in values.items() if value})


def _from_files(name: str, environ: Mapping[str, str], folders: Sequence[Path]) -> dict[str, str]:
    """What stands in a vendor's profile, in the entry itself, and in the file of secrets: the last counts."""
    file = _file("clouds", "OS_CLIENT_CONFIG_FILE", environ, folders)
    if file is None:
        raise StorageFailed(f"there is no clouds.yaml for the cloud {name}: {', '.join(map(str, folders))}")
    entry = _entry(file, name)
    if entry is None:
        raise StorageFailed(f"{file} has no cloud {name}")
    found = _flat(entry)
    profile = str(entry.get("profile") or entry.get("cloud") or "")
    if profile:
        public = _file("clouds-public", "OS_CLIENT_VENDOR_FILE", environ, folders)
        found = {**_flat((_entry(public, profile, "public-clouds") if public else None) or {}), **found}
    secure = _file("secure", "OS_CLIENT_SECURE_FILE", environ, folders)
    if secure is not None:
        found |= _flat(_entry(secure, name) or {})
    if profile and "auth_url" not in found:
        raise StorageFailed(f"{file}: the cloud {name} has the profile {clean(profile)[:40]} of a vendor, which "
                            "clouds-public.yaml does not have: write auth_url there, or into the cloud")
    return found


def _known(environ: Mapping[str, str], folders: Sequence[Path]) -> str:
    """The clouds of the file that is there."""
    file = _file("clouds", "OS_CLIENT_CONFIG_FILE", environ, folders)
    try:
        clouds = {} if file is None else _content(file, "clouds")
    except StorageFailed:
        return ""                               # nobody has asked for it
    return ", ".join(clean(str(each))[:40] for each in list(clouds)[:SHOWN])


def _file(name: str, variable: str, environ: Mapping[str, str], folders: Sequence[Path]) -> Path | None:
    """:param variable: that says where it is, if it is set."""
    if environ.get(variable):
        return Path(environ[variable])
    places = [folder.expanduser() / f"{name}.{ending}" for folder in folders for ending in ("yaml", "yml")]
    return next((each for each in places if each.is_file()), None)


def _entry(file: Path, name: str, kind: str = "clouds") -> dict[str, Any] | None:
    entry = _content(file, kind).get(name)
    if entry is not None and not isinstance(entry, dict):
        raise StorageFailed(f"{file}: the cloud {name} is no mapping")
    return entry


def _content(file: Path, kind: str) -> dict[str, Any]:
    """Entries by their names."""
    try:
        with file.open("rb") as opened:
            found = yaml.safe_load(opened.read(LONGEST))[kind]
    except OSError as error:
        raise StorageFailed(f"{file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise StorageFailed(f"{file} is no file of clouds: {kind}: NAME: …, in YAML")
    return found


def _flat(entry: Mapping[str, Any]) -> dict[str, str]:
    """One entry as the variables have it."""
    auth = entry.get("auth")
    found = {**entry, **(auth if isinstance(auth, dict) else {})}
    found["interface"] = found.get("interface") or found.get("endpoint_type")
    if found.get("verify") is False:
        found["insecure"] = "true"
    return {each: str(found[each]) for each in NAMES if found.get(each)}


def _checked(values: Mapping[str, str]) -> Cloud:
    def said(*names: str) -> str:
        return next((values[each] for each in names if each in values), "")

    if not is_url(said("auth_url")):
        raise StorageFailed("os_auth_url is not https://HOST:PORT/PATH, without a password")
    login = Login(
        said("auth_url"),
        username=said("username"), user_id=said("user_id"), password=said("password"),
        user_domain=said("user_domain_id", "user_domain_name") or "default",
        application_credential_id=said("application_credential_id"),
        application_credential_name=said("application_credential_name"),
        application_credential_secret=said("application_credential_secret"),
        token=said("token"),
        project=said("project_name", "tenant_name"), project_id=said("project_id", "tenant_id"),
        project_domain=said("project_domain_id", "project_domain_name") or "default",
    )
    _check_way(login)
    interface = said("interface").removesuffix("URL") or "public"
    if interface not in ("public", "internal", "admin"):
        raise StorageFailed(f"os_interface is public, internal or admin, not {clean(interface)[:40]}")
    ca = said("cacert")
    return Cloud(
        login, said("region_name"), interface, Path(ca).expanduser() if ca else None, said("insecure").lower() in _TRUE
    )


def _check_way(login: Login) -> None:
    secrets = {f"os_{each}": getattr(login, each) for each in SECRETS}
    ways = [name for name, secret in secrets.items() if secret]
    if len(ways) != 1:
        raise StorageFailed(f"one of {', '.join(secrets)} is needed; {' and '.join(ways) or 'none of them'} is set")
    has_user = bool(login.username or login.user_id)
    if login.password and not has_user:
        raise StorageFailed("os_password is set, and os_username is not")
    if login.application_credential_secret and not login.application_credential_id and not (
        has_user and login.application_credential_name
    ):
        raise StorageFailed("os_application_credential_secret is set, and os_application_credential_id is not")
