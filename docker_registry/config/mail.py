"""Options: mail on exceptions."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from docker_registry.config.section import Section
from docker_registry.config.values import Allowed, unsuitable

_HOST = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9._-]{0,252})|[0-9a-fA-F:]{2,45}")
_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
)


MOST = 50
"""Recipients."""


def _address(text: str) -> str:
    """A bare one, of RFC 5321's dot-string and a domain; names beside it and quotes are for people."""
    local = text.partition("@")[0]
    if not _ADDRESS.fullmatch(text) or len(text) > 254 or ".." in text or local.startswith(".") or local.endswith("."):
        raise unsuitable("not a mail address")
    return text


def _addresses(text: str) -> list[str]:
    return [address for address in re.split(r"[,\s]+", text) if address]


def _in_a_list(value: object) -> object:
    """docker-registry 0.x had one address, and a text."""
    return (value,) if isinstance(value, str) else value


def _of_addresses(text: str) -> str:
    """Each by itself, so that what is wrong is found where it stands."""
    for address in _addresses(text):
        _address(address)
    return text


def _one_by_one(value: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(address for text in value for address in _addresses(text))
    if len(found) > MOST:
        raise unsuitable(f"more than {MOST} addresses")
    return found


def _security(value: object) -> object:
    """docker-registry 0.x had a boolean."""
    return {"true": "starttls", "false": "auto"}.get(str(value).lower(), value)


class Mail(Section):
    """Mail on exceptions."""

    smtp_host: str = Field(default="", description="The mail server. Without one there is no mail.")
    smtp_port: int = Field(default=25, ge=1, le=65535, description="587 where one logs in, 465 with `tls`.")
    smtp_login: str = Field(default="", description="Whom to log in as. Empty is nobody.")
    smtp_password: SecretStr = Field(default=SecretStr(""), description="The password of `smtp_login`.")
    smtp_secure: Annotated[
        Literal["auto", "starttls", "tls", "never"],
        Allowed("auto, starttls, tls, never; true is starttls and false is auto"),
        BeforeValidator(_security),
    ] = Field(
        default="auto",
        description="`auto` asks for TLS where the server offers it, and insists on it when there is a password to "
        "protect. `starttls` insists in any case, `tls` begins with it, `never` does without: the password is then "
        "readable on its way. Certificates are checked.",
    )
    from_addr: Annotated[str, Allowed("a mail address")] = Field(
        default="", description="The sender. Required with `smtp_host`."
    )
    to_addr: Annotated[
        tuple[Annotated[str, AfterValidator(_of_addresses)], ...],
        BeforeValidator(_in_a_list),
        AfterValidator(_one_by_one),
        Allowed("a mail address, or a list of them"),
    ] = Field(default=(), description="Who gets the mail. Required with `smtp_host`.")

    @field_validator("smtp_host")
    @classmethod
    def _server(cls, value: str) -> str:
        if value and not _HOST.fullmatch(value):
            raise unsuitable("not the name or the address of a host")
        return value

    @field_validator("smtp_password")
    @classmethod
    def _both(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if bool(value) != bool(info.data.get("smtp_login")):
            raise unsuitable("smtp_login and smtp_password go together")
        return value

    @field_validator("from_addr")
    @classmethod
    def _sender(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("smtp_host"):
            raise unsuitable("missing, and there is an smtp_host")
        return _address(value) if value else value

    @field_validator("to_addr")
    @classmethod
    def _recipients(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not value and info.data.get("smtp_host"):
            raise unsuitable("missing, and there is an smtp_host")
        return value
