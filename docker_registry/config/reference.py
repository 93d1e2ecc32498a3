"""The options as a chapter of docs/configuration.md: ``python -m docker_registry.config.reference``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from docker_registry.config.model import Config
from docker_registry.config.section import Section, allowed, group, is_list, show

HEADING = "## Options\n"
"""Everything in the document from here on is generated."""


def text() -> str:
    """The chapter, in Markdown."""
    return "\n".join([HEADING, *_section(Config, [])])


def _section(section: type[Section], path: list[str], mark: str = "") -> Iterator[str]:
    """Plain options, then the groups.

    :param path: the lines that the section stands below.
    :param mark: what stands before the first option of an entry.
    """
    heading = "###" + "#" * len(path)
    # Those that other modules add stand behind its own.
    own = section.__annotations__
    options = dict(sorted(section.model_fields.items(), key=lambda option: option[0] not in own))
    groups = {name: inner for name, field in options.items() if (inner := group(field))}
    for option, field in options.items():
        if option not in groups:
            yield f"{heading} {option}\n"
            yield f"{field.description}\n"
            yield f"- allowed: {allowed(field)}\n- default: {_default(field)}\n"
    for name, inner in groups.items():
        field = section.model_fields[name]
        yield f"{heading} {name}\n"
        yield f"{field.description} They stand in {'a list' if is_list(field) else 'a group'} of their own:\n"
        below, inner_mark = [*path, f"{mark}{name}:"], "- " if is_list(field) else ""
        first = f"{inner_mark}{next(iter(inner.model_fields))}: …"
        lines = [f"{'    ' * depth}{line}" for depth, line in enumerate(["prod:", *below, first])]
        yield "\n".join(["```yaml", *lines, "```\n"])
        yield from _section(inner, below, inner_mark)


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if field.is_required():
        return "none, it is required"
    if value is None:
        return "none"
    if not value and isinstance(value, str | tuple | dict | SecretStr):
        return "empty"
    if isinstance(value, bool | str):
        return f"`{json.dumps(value) if isinstance(value, bool) else value}`"
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`"
    return f"`{show(field, value)}`"


if __name__ == "__main__":
    print(text(), end="")
