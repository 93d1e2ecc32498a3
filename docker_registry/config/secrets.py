"""What of a configuration must not be seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import SecretStr

from docker_registry.config.section import Section


def secrets(value: object) -> Iterator[str]:
    """Every secret of a section, at any depth."""
    match value:
        case SecretStr():
            if secret := value.get_secret_value():
                yield secret
        case Section():
            for name in type(value).model_fields:
                yield from secrets(getattr(value, name))
        case Mapping():
            for each in value.values():
                yield from secrets(each)
        case tuple():
            for each in value:
                yield from secrets(each)
