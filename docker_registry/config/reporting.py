"""Options: what the registry says of itself, and where."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from docker_registry.config.section import Section
from docker_registry.config.values import Allowed, AnyEndpoints, LocalPath, unsuitable, why_not_writable


def _off(value: object) -> object:
    """YAML takes a plain ``off`` for false."""
    return "off" if value is False else value


def _nothing(value: object) -> object:
    return None if value == "" else value


class Reporting(Section):
    """What the registry says of itself, and where."""

    loglevel: Literal["debug", "info", "warn", "error", "critical"] = Field(
        default="info", description="What is less important than this is not logged."
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="Of the daemon's log. `json` is one object in a line, also for a traceback.",
    )
    access_log: Annotated[
        Literal["combined", "json", "off"], BeforeValidator(_off), Allowed("combined, json, off")
    ] = Field(
        default="combined",
        description="A line for each request: `combined` as Apache and nginx write it, with the request's id and the "
        "seconds that it took after it, or `json`.",
    )
    access_log_file: Annotated[
        LocalPath, BeforeValidator(_nothing),
        Allowed("an absolute path, or one that begins with ./, from the working directory"),
    ] = Field(
        default=None,
        description="Where those lines go; several processes may share it. Empty is the standard output, which is "
        "nowhere when twistd runs in the background.",
    )

    admin_listen: AnyEndpoints = Field(
        default=(),
        description="Where `/metrics`, `/readyz`, `/livez` and `/debug/health` are: not for everybody. Empty is "
        "nowhere. From `_env:` several are separated by blanks.",
    )

    @field_validator("access_log_file")
    @classmethod
    def _writable(cls, value: LocalPath) -> LocalPath:
        if value is not None and (reason := why_not_writable(value)):
            raise unsuitable(reason)
        return value
