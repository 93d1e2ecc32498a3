"""``docker-registry check-config`` and ``docker-registry config-schema``"""

from __future__ import annotations

import os

import click

from docker_registry.commands.options import CONFIG, FLAVOR, JSON, loaded, print_json
from docker_registry.config import schema
from docker_registry.config.load import load
from docker_registry.config.problems import EXIT_STATUS, ConfigError, Problem
from docker_registry.output import say


@click.command()
@CONFIG
@FLAVOR
@JSON
def check_config(config: str | None, flavor: str | None, as_json: bool) -> None:
    """Read a configuration, say everything that is wrong with it, and start nothing.

    Status 0: the registry would start with it. 78: it would not.

    Example: docker-registry check-config --config config.yml --flavor prod
    """
    if as_json:
        _check_for_programs(config, flavor)
        return
    found = loaded(config, flavor)
    say(f"ok: flavor {found.flavor} of {found.file}")


def _check_for_programs(config: str | None, flavor: str | None) -> None:
    try:
        found = load(config, flavor, os.environ)
    except ConfigError as error:
        print_json({"ok": False, "problems": [*map(_for_programs, error.problems)]})
        raise SystemExit(EXIT_STATUS) from None
    print_json({"ok": True, "file": found.file, "flavor": found.flavor, "warnings": found.warnings})


def _for_programs(problem: Problem) -> dict[str, object]:
    line, column = (problem.place.line, problem.place.column) if problem.place else (None, None)
    return {
        "file": problem.file, "line": line, "column": column, "option": problem.option, "problem": problem.text,
        "allowed": problem.allowed,
    }


@click.command()
def config_schema() -> None:
    """Print the JSON schema of configuration files, by which editors complete and check them.

    Example: docker-registry config-schema > registry.schema.json
    """
    say(schema.text())
