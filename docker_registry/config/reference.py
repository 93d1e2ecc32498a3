"""The options as a chapter of docs/configuration.md: ``python -m docker_registry.config.reference``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from docker_registry.config.model import Config, Limits, Section, allowed, show

HEADING = "## Options\n"
"""Everything in the document from here on is generated."""


def text() -> str:
    """The chapter, in Markdown."""
    return "\n".join([HEADING, *_section("", Config), *_section("limits", Limits)])


def _is_group(field: FieldInfo) -> bool:
    return isinstance(field.default, Section)


def _section(name: str, section: type[Section]) -> Iterator[str]:
    if name:
        yield f"### {name}\n"
        yield f"{Config.model_fields[name].description} They stand in a group of their own:\n"
        yield f"```yaml\nprod:\n    {name}:\n        {next(iter(section.model_fields))}: …\n```\n"
    for option, field in section.model_fields.items():
        if not _is_group(field):
            yield f"{'####' if name else '###'} {option}\n"
            yield f"{field.description}\n"
            yield f"- allowed: {allowed(field)}\n- default: {_default(field)}\n"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is None:
        return "none"
    if isinstance(value, bool | str):
        return f"`{json.dumps(value) if isinstance(value, bool) else value}`"
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`"
    return f"`{show(field, value)}`"


if __name__ == "__main__":
    print(text(), end="")
