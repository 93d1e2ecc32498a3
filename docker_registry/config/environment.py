"""A configuration in which the environment has a say in every option: ``python -m docker_registry.config.environment``.

It is what a container runs with. The variable of an option is its name in capitals, with those of its groups before it:
``LIMITS_CONNECTIONS``; those of mail begin with ``SMTP_``, as in docker-registry 0.x, and those of registry:2's section
``swift`` are called as there: ``REGISTRY_STORAGE_SWIFT_CONTAINER``. A list of entries with options of
their own is one variable, in YAML.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from docker_registry.config.model import Config
from docker_registry.config.section import Section, group, is_list

VOLUME = "/var/lib/registry"
"""Where a container keeps what must outlive it, as that of ``registry:2`` does."""

OTHERWISE: Mapping[str, str] = MappingProxyType({
    "listen": "tcp:5000",
    "admin_listen": "tcp:5001:interface=127.0.0.1",
})
"""Options that in a container are something else than by default, as long as nobody says so."""

_BESIDE = {
    "cache_path": f"_env:CACHE_PATH:{VOLUME}/cache",
    "notifications": f'{{outbox: "_env:NOTIFICATIONS_OUTBOX:{VOLUME}/notifications"}}',
}
"""What is in the volume of a container whose store is elsewhere."""

FLAVORS: Mapping[str, Mapping[str, str]] = MappingProxyType({
    "prod": {"storage": "local", "storage_path": f"_env:STORAGE_PATH:{VOLUME}"},
    "s3": {"storage": "s3", **_BESIDE},
    "swift": {"storage": "swift", **_BESIDE},
    "glance": {"storage": "glance", "storage_path": f"_env:STORAGE_PATH:{VOLUME}"},
    "test": {"storage": "memory"},
})

_HEAD = """\
# Made by `python -m docker_registry.config.environment`. Each option is taken from a variable of the environment; one
# that is not set, or empty, has its default. docs/configuration.md says what the options do.
"""


def text() -> str:
    """The file."""
    lines = [_HEAD, "common:", *_options(Config, (), "    ")]
    for flavor, options in FLAVORS.items():
        lines += ["", f"{flavor}:", *(f"    {name}: {_quoted(value)}" for name, value in options.items())]
    return "\n".join(lines) + "\n"


def variable(path: tuple[str, ...]) -> str:
    """The variable of the option that ``path`` leads to."""
    if path[0] == "email_exceptions":
        return f"SMTP_{path[1].removeprefix('smtp_')}".upper()
    if path[0] == "swift":
        path = "registry_storage", *path
    return "_".join(path).upper()


def _options(section: type[Section], path: tuple[str, ...], indent: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = group(field)
        if inner is not None and not is_list(field):
            yield f"{indent}{name}:"
            yield from _options(inner, (*path, name), f"{indent}    ")
        elif name != "storage":
            yield f'{indent}{name}: "_env:{variable((*path, name))}:{OTHERWISE.get(name, "")}"'


def _quoted(value: str) -> str:
    return f'"{value}"' if value.startswith("_env:") else value


if __name__ == "__main__":
    print(text(), end="")
