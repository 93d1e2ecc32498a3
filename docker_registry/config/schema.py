"""The JSON schema of a file of flavors: for editors. What it lets pass is still checked by `load`."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from docker_registry.config.model import FLAT, Config
from docker_registry.config.section import Section, group, is_list
from docker_registry.config.values import Units

_FROM_ENVIRONMENT = {"type": "string", "pattern": "^_env:[A-Za-z_][A-Za-z0-9_]*(:.*)?$"}


def text() -> str:
    """The schema, indented."""
    return json.dumps(document(), indent=2)


def document() -> dict[str, Any]:
    flavor = _section(Config)
    flavor["properties"] |= {name: _section(_inner(around))["properties"][name] for name, around in FLAT.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Flavors of docker-registry",
        "description": "Each key is a flavor; what stands under `common` holds in all of them.",
        "type": "object",
        "additionalProperties": {"anyOf": [flavor, {"type": "null"}]},
    }


def _inner(name: str) -> type[Section]:
    inner = group(Config.model_fields[name])
    assert inner is not None
    return inner


def _section(section: type[Section]) -> dict[str, Any]:
    plain = section.model_json_schema(mode="validation")["properties"]
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, field in section.model_fields.items() if field.is_required()],
        "properties": {name: _option(field, plain[name]) for name, field in section.model_fields.items()},
    }


def _option(field: FieldInfo, plain: dict[str, Any]) -> dict[str, Any]:
    inner = group(field)
    said = {"description": field.description, **({"default": plain["default"]} if "default" in plain else {})}
    if inner is not None:
        within = {"type": "array", "items": _section(inner)} if is_list(field) else _section(inner)
        return {"description": field.description, "anyOf": [within, {"type": "null"}]}
    kind = {name: value for name, value in plain.items() if name not in ("title", "description", "default", "anyOf")}
    kinds = [each for each in plain.get("anyOf", [kind]) if each]
    return {**said, "anyOf": [*kinds, *_spelled_otherwise(field), _FROM_ENVIRONMENT]}


def _spelled_otherwise(field: FieldInfo) -> list[dict[str, Any]]:
    """What an option takes beside its own type."""
    units = next((each for each in field.metadata if isinstance(each, Units)), None)
    if units is not None:
        return [{"type": "string", "pattern": rf"^[0-9]{{1,15}}\s*({'|'.join(units.factors)})$"}]
    if any(isinstance(each, BeforeValidator) for each in field.metadata):
        return [{"type": ["string", "boolean"]}]
    return []
