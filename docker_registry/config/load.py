"""From a file, a flavor and the environment to a checked `Config`; every problem at once."""

from __future__ import annotations

import difflib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

import docker_registry
from docker_registry.config import document
from docker_registry.config.document import Value, shown
from docker_registry.config.model import FLAT, Config
from docker_registry.config.problems import ConfigError, Place, Problem
from docker_registry.config.section import Section, allowed, group
from docker_registry.config.values import UNSUITABLE, FromEnvironment, endpoint, tls_key

SAMPLE = str(Path(__file__).parent / "sample.yml")
"""config_sample.yml of the checkout, as it is installed."""

_ABSENT = object()
_NAME = "[key]"
"""What pydantic calls the name itself of something that has names and values."""

_SECRET = re.compile(r"secret|passw|key|token|credential|\.headers", re.IGNORECASE)
_PASSWORD = re.compile(r"//[^/]*@")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Loaded:
    """:ivar file: where it was read from.
    :ivar warnings: what an operator should mend, a line each.
    :ivar source: the text of the file.
    :ivar listen: endpoints that the command line had in place of the file's.
    """

    config: Config
    flavor: str
    file: str
    warnings: tuple[str, ...]
    source: bytes = field(default=b"", repr=False)
    listen: tuple[str, ...] = ()


def load(
    file: str | None, flavor: str | None, environ: Mapping[str, str], listen: Sequence[str] = ()
) -> Loaded:
    """Read one flavor of a file, over what the file has under ``common``.

    :param file: from the command line, relative to the working directory. Without it ``DOCKER_REGISTRY_CONFIG`` is
        asked, relative to the directory that holds the package (a checkout); without that the sample is read.
    :param flavor: from the command line; without it ``SETTINGS_FLAVOR`` is asked; without that it is ``dev``.
    :param listen: endpoints that take the place of the file's.
    :raises ConfigError: anything is wrong.
    """
    path = file or _named_by(environ) or SAMPLE
    name = flavor or environ.get("SETTINGS_FLAVOR") or "dev"
    source = document.read(path)
    config = _Checker(path, name, environ).check(document.parse(source, path), listen)
    return Loaded(config, name, path, tuple(_warnings(path, config)), source, tuple(listen))


def load_again(source: bytes, file: str, flavor: str, environ: Mapping[str, str], listen: Sequence[str]) -> Loaded:
    """What another process has loaded, whatever the file has become since.

    :raises ConfigError: what it refers to is not what it was.
    """
    config = _Checker(file, flavor, environ).check(document.parse(source, file), listen)
    return Loaded(config, flavor, file, (), source, tuple(listen))


def _named_by(environ: Mapping[str, str]) -> str | None:
    named = environ.get("DOCKER_REGISTRY_CONFIG")
    return str(Path(docker_registry.__file__).parent.parent / named) if named else None


def _warnings(path: str, config: Config) -> Iterator[str]:
    if os.stat(path).st_mode & stat.S_IWOTH:
        yield f"{path}: everybody may write to it"
    for key in filter(None, dict.fromkeys(map(tls_key, (*config.listen, *config.admin_listen)))):
        if os.stat(key).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield f"{key}: a private key that others than its owner can read"


class _Checker:
    """One flavor of one file on its way to a `Config`."""

    def __init__(self, file: str, flavor: str, environ: Mapping[str, str]) -> None:
        self._file = file
        self._flavor = flavor
        self._environ = environ
        self._problems: list[Problem] = []
        self._unset: set[str] = set()
        self._variables: dict[Place, str] = {}
        self._flat: dict[Place, str] = {}

    def check(self, flavors: Mapping[str, Value], listen: Sequence[str]) -> Config:
        own = flavors.get(self._flavor)
        if own is None:
            known = ", ".join(sorted(name for name in flavors if name != "common"))
            raise ConfigError([Problem(self._file, Place(), self._flavor, "no such flavor in this file", known)])
        below = self._section("common", flavors.get("common"))
        config = self._validated(Value(_merged(below, self._section(self._flavor, own)), own.key, own.key))
        self._problems += _check_listen(listen)
        if self._problems or config is None:
            raise ConfigError(self._problems)
        return config.model_copy(update={"listen": tuple(listen)}) if listen else config

    def _section(self, name: str, value: Value | None) -> dict[str, Value]:
        if value is None or value.content is None:
            return {}
        if isinstance(value.content, dict):
            return self._gathered(name, value.content)
        self._complain(value.place, name, "not a mapping", "options, one in a line, indented below the flavor")
        return {}

    def _gathered(self, flavor: str, written: Mapping[str, Value]) -> dict[str, Value]:
        """What is ``written``, with the options that stand by themselves in the groups that they belong to."""
        result = {name: value for name, value in written.items() if name not in FLAT}
        for name, value in written.items():
            if name not in FLAT:
                continue
            around = result.get(FLAT[name])
            inner = around.content if around else None
            if isinstance(inner, dict) and name in inner:
                self._complain(value.key, f"{flavor}.{name}", f"stands below {FLAT[name]} as well")
            elif inner is None or isinstance(inner, dict):
                self._flat |= dict.fromkeys(_places(value), FLAT[name])
                result[FLAT[name]] = Value({**(inner or {}), name: value}, value.place, value.key)
        return result

    def _complain(self, place: Place, option: str, text: str, allowed: str = "") -> None:
        if place in self._flat:
            option = option.replace(f".{self._flat[place]}.", ".")
        self._problems.append(Problem(self._file, place, option, text, allowed))

    # the environment

    def _plain(self, value: Value, option: str) -> Any:
        """``value`` without places, and with what the environment has in place of ``_env:``."""
        content = value.content
        if isinstance(content, dict):
            inner = {name: self._plain(each, f"{option}.{name}") for name, each in content.items()}
            return {name: each for name, each in inner.items() if each is not _ABSENT}
        if isinstance(content, tuple):
            items = [self._plain(each, option) for each in content]
            return tuple(each for each in items if each is not _ABSENT)
        if isinstance(content, str) and content.startswith("_env:"):
            return self._looked_up(content.removeprefix("_env:"), value.place, option)
        return content

    def _looked_up(self, reference: str, place: Place, option: str) -> object:
        """``NAME`` or ``NAME:default``; what is empty in the end is as if it were not written."""
        variable, colon, default = reference.partition(":")
        self._variables[place] = variable
        text = self._environ.get(variable, default if colon else None)
        if not _VARIABLE.fullmatch(variable):
            self._unset.add(option)
            self._complain(place, option, "_env: without the name of a variable", "_env:NAME, _env:NAME:default")
        elif text is None:
            self._unset.add(option)
            self._complain(place, option, f"${variable} is not set, and has no default here")
        return FromEnvironment(text) if text else _ABSENT

    # the model

    def _validated(self, merged: Value) -> Config | None:
        plain = self._plain(merged, self._flavor)
        try:
            return Config.model_validate(plain, context={"flavor": self._flavor})
        except ValidationError as error:
            for each in error.errors(include_url=False, include_input=False):
                self._explain(each["type"], each["msg"], each["loc"], merged)
        return None

    def _explain(self, kind: str, message: str, path: tuple[int | str, ...], merged: Value) -> None:
        """Say an error of pydantic's in the words of the file, and never a value that may be secret."""
        is_name = path[-1:] == (_NAME,)
        path = path[:-1] if is_name else path
        names = [step for step in path if isinstance(step, str)]
        option = ".".join([self._flavor, *names])
        value = _find(merged, path)
        if option in self._unset:
            return
        if kind == "extra_forbidden":
            known = [*_section_at(names[:-1]).model_fields, *(FLAT if len(names) == 1 else ())]
            near = difflib.get_close_matches(names[-1], known, 1, 0.5)
            visible = _visible(option, names[-1])
            text = f"unknown option; the nearest is {near[0]}" if near else "unknown option"
            self._complain(value.key, visible, text, "" if near else ", ".join(known))
            return
        variable, field = self._variables.get(value.place), _field_at(names)
        if kind == UNSUITABLE:
            text = f"${variable}: {message}" if variable else message
        else:
            text = f"wrong value in ${variable}" if variable else f"wrong value{_quoted(value, option, field)}"
        if is_name:
            self._complain(value.key, _visible(option, names[-1]), text, allowed(field))
            return
        self._complain(value.place, option, "missing" if kind == "missing" else text, allowed(field))


def _check_listen(listen: Sequence[str]) -> Iterator[Problem]:
    for text in listen:
        try:
            endpoint(text)
        except PydanticCustomError as error:
            yield Problem("--listen", None, text, error.message(), allowed(Config.model_fields["listen"]))


def _visible(option: str, name: str) -> str:
    """``option`` without the ``name`` at its end if that is no name, and may be anything."""
    return option if shown(name) else option.removesuffix(f".{name}")


def _merged(below: Mapping[str, Value], above: Mapping[str, Value]) -> dict[str, Value]:
    """``above`` laid over ``below``, groups too."""
    result = dict(below)
    for name, value in above.items():
        under = below.get(name)
        if under is not None and isinstance(under.content, dict) and isinstance(value.content, dict | None):
            value = Value(_merged(under.content, value.content or {}), value.place, value.key)
        result[name] = value
    return result


def _find(value: Value, path: Sequence[int | str]) -> Value:
    """What stands at ``path``, or the nearest thing around it."""
    for step in path:
        content = value.content
        if isinstance(content, dict) and step in content:
            value = content[str(step)]
        elif isinstance(content, tuple) and isinstance(step, int) and step < len(content):
            value = content[step]
        else:
            break
    return value


def _places(value: Value) -> Iterator[Place]:
    """Where ``value`` stands, and what is in it."""
    yield value.place
    content = value.content
    for each in content.values() if isinstance(content, dict) else content if isinstance(content, tuple) else ():
        yield from _places(each)


def _section_at(names: Sequence[str]) -> type[Section]:
    section: type[Section] = Config
    for name in names:
        section = group(section.model_fields[name]) or section
    return section


def _field_at(names: Sequence[str]) -> FieldInfo:
    """The option that ``names`` lead to; below it there may be names that are no options."""
    section: type[Section] | None = Config
    for name in names:
        if section is None:
            break
        field = section.model_fields[name]
        section = group(field)
    return field


def _quoted(value: Value, option: str, field: FieldInfo) -> str:
    """The value for a message, unless it may be a secret; text in the place of a group may be one of its."""
    content = value.content
    if isinstance(content, dict | tuple):
        return f": {'a mapping' if isinstance(content, dict) else 'a list'}"
    may_be_one = "SecretStr" in str(field.annotation) or (group(field) is not None and isinstance(content, str))
    if may_be_one or _SECRET.search(option) or _PASSWORD.search(str(content)):
        return ""
    return f" {json.dumps(content)}" if len(str(content)) <= 60 else ""
