"""Options of ``storage: swift``: those of docker-registry 0.x, what is needed beside them, and registry:2's section."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from docker_registry.config.section import Section
from docker_registry.config.values import Allowed, Authorities, Bytes, Seconds, is_url, unsuitable

_URL = Allowed("https://HOST:PORT/PATH, or the same with http")
_VERSION_1 = re.compile(r"/v1(?:[.]0)?/?\Z")


def _container(value: str | None) -> str | None:
    if value is not None and (not value or "/" in value or len(value.encode()) > 256):
        raise unsuitable("no name of a container")
    return value


def _url(value: str | None) -> str | None:
    if value is not None and not is_url(value):
        raise unsuitable("not https://HOST:PORT/PATH, without a password")
    return value


class SwiftSection(Section):
    """The section ``swift`` of registry:2's configuration, by its names."""

    authurl: Annotated[str | None, _URL] = Field(default=None, description="As `swift_authurl`.")
    username: str | None = Field(default=None, description="As `swift_user`.")
    password: SecretStr | None = Field(default=None, description="As `swift_password`.")
    container: str | None = Field(default=None, description="As `swift_container`.")
    tenant: str | None = Field(default=None, description="As `swift_tenant_name`.")
    tenantid: str | None = Field(default=None, description="As `os_project_id`.")
    domain: str | None = Field(default=None, description="As `os_user_domain_name`.")
    domainid: str | None = Field(default=None, description="As `os_user_domain_id`.")
    tenantdomain: str | None = Field(default=None, description="As `os_project_domain_name`.")
    tenantdomainid: str | None = Field(default=None, description="As `os_project_domain_id`.")
    region: str | None = Field(default=None, description="As `swift_region_name`.")
    authversion: int = Field(default=0, ge=0, le=3, description="As `swift_auth_version`.")
    endpointtype: Annotated[
        Literal["public", "internal", "admin"] | None, Allowed("public, internal, admin")
    ] = Field(default=None, description="As `os_interface`.")
    insecureskipverify: bool = Field(default=False, description="As `os_insecure`.")
    chunksize: Bytes = Field(default=0, ge=0, le=512 << 20, description="As `swift_segment_size`; 0 is what that says.")
    secretkey: SecretStr | None = Field(default=None, description="As `swift_temp_url_key`.")
    prefix: str = Field(
        default="", description="What keys begin with, before `/files`: so registry:2 has them. `storage_path` takes "
        "its place."
    )

    _is_container = field_validator("container")(_container)
    _is_url = field_validator("authurl")(_url)


class Swift(Section):
    """Who logs in is what stands here, then in the section, then what the ``os_`` options come to."""

    swift_container: str | None = Field(
        default=None, description="The container; required by `storage: swift`. It is made if there is none."
    )
    swift_authurl: Annotated[str | None, _URL] = Field(
        default=None, description="Where one logs in, in place of `os_auth_url`: Keystone, or `…/auth/v1.0` of Swift "
        "itself."
    )
    swift_auth_version: int = Field(
        default=0, ge=0, le=3, description="1 is the login of Swift itself, 3 is Keystone; 2, which Keystone does not "
        "have any more, is 3. With 0 it is 1 if `swift_authurl` ends in `/v1.0`."
    )
    swift_user: str | None = Field(
        default=None, description="Who logs in, in place of `os_username`; `ACCOUNT:USER` with version 1."
    )
    swift_password: SecretStr | None = Field(
        default=None, description="Their password, in place of `os_password`; with version 1 their key."
    )
    swift_tenant_name: str | None = Field(default=None, description="In place of `os_project_name`.")
    swift_region_name: str | None = Field(default=None, description="In place of `os_region_name`.")
    swift_cacert: Authorities = Field(default=None, description="In place of `os_cacert`.")
    swift_storage_url: Annotated[str | None, _URL] = Field(
        default=None, description="Of the account, in place of what the catalogue or the login says."
    )
    swift_segment_size: Bytes = Field(
        default=8 << 20, ge=1 << 20, le=512 << 20,
        description="Large blobs are stored in segments of this size, and of up to eight times this size while much of "
        "`swift_memory` is free.",
    )
    swift_memory: Bytes = Field(
        default=512 << 20, ge=16 << 20,
        description="Segments on their way to the store, all uploads together; further ones wait. `swift_memory` "
        "divided by `swift_segment_size` is the number of large uploads that get on at a time. Each of several workers "
        "has its share.",
    )
    swift_link_cache: Seconds = Field(
        default=5.0, ge=0, le=60, description="As `s3_link_cache`, for what is in a container."
    )
    swift_temp_url_key: SecretStr | None = Field(
        default=None, description="Signs the URLs to which clients are sent with `storage_redirect`, which does "
        "nothing without it. The container is given it before the port opens, unless it has two others."
    )
    swift: SwiftSection = Field(
        default=SwiftSection(),
        description="The section of that name of registry:2's configuration, as it is: its container is opened where "
        "it is. What a `swift_` option says takes the place of what stands here. `trustid`, `accesskey` and the "
        "`tempurl…` names are not known.",
    )

    _is_container = field_validator("swift_container")(_container)
    _is_url = field_validator("swift_authurl", "swift_storage_url")(_url)

    @field_validator("swift_memory")
    @classmethod
    def _two_segments(cls, value: int, info: ValidationInfo) -> int:
        if value < 2 * info.data.get("swift_segment_size", 0):
            raise unsuitable("less than two segments of swift_segment_size")
        return value

    @field_validator("swift_temp_url_key")
    @classmethod
    def _some(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value():
            raise unsuitable("empty")
        return value

    @property
    def container(self) -> str | None:
        return self.swift_container or self.swift.container

    @property
    def segment_size(self) -> int:
        own = "swift_segment_size" in self.model_fields_set or not self.swift.chunksize
        return self.swift_segment_size if own else self.swift.chunksize

    @property
    def temp_url_key(self) -> str | None:
        return _text(self.swift_temp_url_key or self.swift.secretkey) or None

    @property
    def swift_login(self) -> dict[str, str]:
        """What is set here of a login at Keystone, by the names of the ``os_`` options without that."""
        section = self.swift
        values = {
            "auth_url": self.swift_authurl or section.authurl,
            "username": self.swift_user or section.username,
            "password": _text(self.swift_password or section.password),
            "project_name": self.swift_tenant_name or section.tenant,
            "project_id": section.tenantid,
            "user_domain_name": section.domain,
            "user_domain_id": section.domainid,
            "project_domain_name": section.tenantdomain,
            "project_domain_id": section.tenantdomainid,
            "region_name": self.swift_region_name or section.region,
            "interface": section.endpointtype,
            "insecure": "true" if section.insecureskipverify else "",
            "cacert": str(self.swift_cacert or ""),
        }
        return {name: value for name, value in values.items() if value}

    @property
    def is_version_1(self) -> bool:
        """Whether Swift itself is logged in at."""
        url = self.swift_authurl or self.swift.authurl or ""
        return _is_version_1(self.swift_auth_version or self.swift.authversion, url)


def what_is_missing(values: Mapping[str, Any]) -> str | None:
    """The option without which there is nothing to log in at; the rest may come from the environment.

    :param values: those of the options that are right.
    """
    section = values.get("swift", SwiftSection())
    if not (values.get("swift_container") or section.container):
        return "swift_container"
    url = values.get("swift_authurl") or section.authurl or ""
    if _is_version_1(values.get("swift_auth_version") or section.authversion, url):
        given = {
            "swift_authurl": url, "swift_user": values.get("swift_user") or section.username,
            "swift_password": values.get("swift_password") or section.password,
        }
        return next((name for name, value in given.items() if not value), None)
    return None


def _is_version_1(version: int, url: str) -> bool:
    return version == 1 or (version == 0 and _VERSION_1.search(url) is not None)


def _text(value: SecretStr | None) -> str:
    return "" if value is None else value.get_secret_value()
