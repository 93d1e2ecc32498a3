"""Options: webhooks, with the names that registry:2 gave them."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator

from docker_registry.config.section import Section
from docker_registry.config.values import (
    TIME,
    Allowed,
    FromEnvironment,
    LocalPath,
    unsuitable,
    why_not_usable,
)

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FRAMING = frozenset({"content-length", "transfer-encoding"})

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _go_duration(value: object) -> object:
    """Seconds of what registry:2 has for a time: ``500ms``, ``1m30s``."""
    if not isinstance(value, str) or not re.fullmatch(f"(?:{_PART.pattern})+", value):
        return value
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))


Patience = Annotated[
    float, Allowed("seconds, or with units: 500ms, 30s, 1m30s"), BeforeValidator(_go_duration), TIME,
    Field(allow_inf_nan=False),
]


def _url(value: SecretStr) -> SecretStr:
    """:raises PydanticCustomError: nothing could be sent there. The text has none of it: it may hold a password."""
    text = value.get_secret_value()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise unsuitable("not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not text.isascii():
        raise unsuitable("not a URL of http or https")
    if parts.username is not None or parts.password is not None:
        raise unsuitable("with a user or a password; an Authorization field below headers says that")
    if parts.fragment or not text.isprintable() or " " in text:
        raise unsuitable("with a fragment, blanks or control characters")
    return value


def _each_in_a_list(value: object) -> object:
    """registry:2 has lists of values; one by itself is meant just as well."""
    if not isinstance(value, dict):
        return value
    lists = {name: each if isinstance(each, tuple) else (each,) for name, each in value.items()}
    return {
        name: tuple(str(part) if isinstance(part, FromEnvironment) else part for part in each)
        for name, each in lists.items()
    }


def _field_name(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise unsuitable("a name that no header field has")
    if text.lower() in _FRAMING:
        raise unsuitable("a field that says where a request ends, which depends on the events")
    return text


def _field_value(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable():
        raise unsuitable("a value that no header field has")
    return value


FieldName = Annotated[str, AfterValidator(_field_name)]
FieldValue = Annotated[SecretStr, AfterValidator(_field_value)]


class Ignore(Section):
    """Events that an endpoint is not sent."""

    mediatypes: tuple[str, ...] = Field(
        default=(), description="Media types of what an event is about; `application/octet-stream` is every blob."
    )
    actions: tuple[Literal["push", "pull", "mount", "delete"], ...] = Field(
        default=(), description="What happened."
    )


class Endpoint(Section):
    """Where events are sent."""

    name: Annotated[str, Allowed("letters, digits, '.', '_', '-'")] = Field(description="Stands in the log.")
    url: Annotated[SecretStr, AfterValidator(_url), Allowed("a URL of http or https")] = Field(
        description="Events are sent there by POST, and nowhere else, whatever it answers. The log names its host "
        "only: often its path is all that keeps others from sending there."
    )
    disabled: bool = Field(default=False, description="Whether nothing is sent, nor kept to be sent.")
    headers: Annotated[
        dict[FieldName, tuple[FieldValue, ...]], BeforeValidator(_each_in_a_list),
        Allowed("names of header fields, each with a value or a list of them"),
    ] = Field(
        default={},
        description="Sent along, such as `Authorization`; `Content-Type` takes the place of "
        "`application/vnd.docker.distribution.events.v2+json`.",
    )
    timeout: Patience = Field(default=5.0, ge=0.1, le=300, description="Until the endpoint must have answered.")
    threshold: int = Field(
        default=10, ge=1, le=1000,
        description="Failures in a row after which every attempt waits for `backoff`; those before it come after 1, 2, "
        "4 seconds and so on, up to that.",
    )
    backoff: Patience = Field(default=30.0, ge=1, le=86400, description="Before another attempt.")
    ignoredmediatypes: tuple[str, ...] = Field(default=(), description="The same as `mediatypes` of `ignore`.")
    ignore: Ignore = Field(default=Ignore(), description="What is not sent.")

    @field_validator("name")
    @classmethod
    def _short(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise unsuitable("not a name for the log, of 1 to 64 characters")
        return value


class EventOptions(Section):
    """What events say."""

    includereferences: bool = Field(
        default=False, description="Whether the event of a manifest lists what the manifest refers to."
    )


def _different(value: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    if len({each.name for each in value}) < len(value):
        raise unsuitable("two of one name")
    return value


class Notifications(Section):
    """Webhooks."""

    outbox: LocalPath = Field(
        default=None,
        description="The directory of what is still to be sent, on a local disk and for this registry alone. Unset it "
        "lies in `storage_path` of `local`, and otherwise in memory.",
    )
    queue: int = Field(
        default=10_000, ge=100, le=1_000_000,
        description="Events that wait for one endpoint; beyond it the oldest are dropped.",
    )
    events: EventOptions = Field(default=EventOptions(), description="What events say.")
    endpoints: Annotated[tuple[Endpoint, ...], AfterValidator(_different)] = Field(
        default=(), max_length=50, description="Where events are sent, each with these options."
    )

    @field_validator("outbox")
    @classmethod
    def _usable(cls, value: LocalPath) -> LocalPath:
        if value is not None and (reason := why_not_usable(value)):
            raise unsuitable(reason)
        return value
