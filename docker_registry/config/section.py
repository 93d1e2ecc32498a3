"""What a set of options is made of, and what is said of each."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from docker_registry.config import document
from docker_registry.config.problems import ConfigError
from docker_registry.config.values import Allowed, FromEnvironment, Units, unsuitable


class Section(BaseModel):
    """Options that stand together. Types are strict: ``"yes"`` is no boolean, ``"5"`` no number."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_groups(cls, values: Any) -> Any:
        """A group whose lines are all commented out is not there."""
        if not isinstance(values, dict):
            return values
        fields = cls.model_fields
        return {
            name: value for name, value in values.items()
            if value is not None or name not in fields or group(fields[name]) is None
        }

    @field_validator("*", mode="before")
    @classmethod
    def _from_environment(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, FromEnvironment):
            return value
        field = cls.model_fields[info.field_name or ""]
        kind = field.annotation
        if group(field):
            return _in_yaml(value)
        if kind in (bool, int, float):
            return document.scalar(value)
        return tuple(value.split()) if get_origin(kind) is tuple else str(value)


def _in_yaml(text: str) -> object:
    """Entries with options of their own, in a variable."""
    try:
        return document.plain(text)
    except ConfigError:
        raise unsuitable("not a list in YAML") from None


def group(field: FieldInfo) -> type[Section] | None:
    """The options that stand below an option, or in each entry of its list; ``None`` if it is a plain one."""
    kind = get_args(field.annotation)[0] if is_list(field) else field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def is_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple


def allowed(field: FieldInfo) -> str:
    """What may be written for an option."""
    said = next((each.text for each in field.metadata if isinstance(each, Allowed)), "") or _allowed_by_type(field)
    low, high = (
        next((show(field, getattr(each, name)) for each in field.metadata if hasattr(each, name)), None)
        for name in ("ge", "le")
    )
    if high is not None:
        return f"{said}; from {low} to {high}"
    return f"{said}; at least {low}" if low is not None else said


def _allowed_by_type(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Literal:
        return ", ".join(get_args(kind))
    if group(field):
        return "a list of entries with options" if is_list(field) else "options, one in a line"
    if is_list(field):
        inner = get_args(kind)[0]
        return f"a list of {', '.join(get_args(inner)) if get_origin(inner) is Literal else 'texts'}"
    return "true, false" if kind is bool else "a whole number" if kind is int else "text"


def show(field: FieldInfo, number: float) -> str:
    """``number`` with the unit that suits the option."""
    units = next((each for each in field.metadata if isinstance(each, Units)), None)
    return units.show(number) if units else str(number)
