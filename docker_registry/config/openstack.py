"""Options of a login at OpenStack's Keystone, by the names of its clients' variables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from docker_registry.config.section import Section
from docker_registry.config.values import Allowed, Authorities, is_url, unsuitable

_VARIABLE = "Unset, the variable of that name is taken, or the entry of `os_cloud` if one is named."


class OpenStack(Section):
    """Whatever is not set here comes from the environment or from ``clouds.yaml``."""

    os_cloud: str | None = Field(
        default=None, description="An entry of `clouds.yaml`, which lies in the working directory, in "
        "`~/.config/openstack` or in `/etc/openstack`. Unset, `OS_CLOUD` is taken."
    )
    os_auth_url: Annotated[str | None, Allowed("https://HOST:PORT/PATH, or the same with http")] = Field(
        default=None, description=f"Where Keystone is, such as `https://keystone.example.org:5000/v3`. {_VARIABLE} "
        "So it is with all options that begin with `os_`."
    )
    os_username: str | None = Field(default=None, description="Who logs in.")
    os_user_id: str | None = Field(default=None, description="The same, as an id, which needs no domain.")
    os_password: SecretStr | None = Field(
        default=None, description="Their password. One of this, `os_application_credential_secret` and `os_token` is "
        "needed."
    )
    os_user_domain_name: str | None = Field(default=None, description="The user's domain. Unset it is `Default`.")
    os_user_domain_id: str | None = Field(default=None, description="The same, as an id.")
    os_application_credential_id: str | None = Field(
        default=None, description="An application credential: better than a password, as it can be revoked by itself."
    )
    os_application_credential_name: str | None = Field(
        default=None, description="In place of the id, with `os_username`."
    )
    os_application_credential_secret: SecretStr | None = Field(default=None, description="Its secret.")
    os_token: SecretStr | None = Field(
        default=None, description="A token that exists. What comes of it ends when it does: for trying out."
    )
    os_project_name: str | None = Field(default=None, description="The project in which things are stored.")
    os_project_id: str | None = Field(default=None, description="The same, as an id, which needs no domain.")
    os_tenant_name: str | None = Field(default=None, description="What projects were called before.")
    os_tenant_id: str | None = Field(default=None, description="The same, as an id.")
    os_project_domain_name: str | None = Field(
        default=None, description="The project's domain. Unset it is `Default`."
    )
    os_project_domain_id: str | None = Field(default=None, description="The same, as an id.")
    os_region_name: str | None = Field(
        default=None, description="Which endpoint of the catalogue; needed if there is more than one region."
    )
    os_interface: Annotated[
        Literal["public", "internal", "admin"] | None, Allowed("public, internal, admin")
    ] = Field(
        default=None, description="Which endpoint of the catalogue; `public` if nobody says."
    )
    os_cacert: Authorities = Field(
        default=None, description="Authorities that certificates are verified with, in place of the "
        "system's."
    )
    os_insecure: bool = Field(
        default=False, description="Whether certificates are not verified. Anybody on the way can then read the "
        "password and change images."
    )

    @field_validator("os_auth_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and not is_url(value):
            raise unsuitable("not https://HOST:PORT/PATH, without a password")
        return value

    @property
    def openstack(self) -> dict[str, str]:
        """What is set, by the names without ``os_``."""
        values = {name.removeprefix("os_"): getattr(self, name) for name in OpenStack.model_fields}
        return {name: _text(value) for name, value in values.items() if value}


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
