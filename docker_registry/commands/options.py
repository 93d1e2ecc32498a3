"""What commands have in common: which configuration, and what they end with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import click
from twisted.internet import task
from twisted.internet.defer import Deferred

from docker_registry.config.load import Loaded, load
from docker_registry.config.problems import EXIT_STATUS, ConfigError
from docker_registry.output import complain, leave, say

CONFIG = click.option(
    "--config", "-c", metavar="FILE", help="YAML file of flavors [$DOCKER_REGISTRY_CONFIG, or the sample].",
    type=click.Path(readable=False),            # which is for completion: what is wrong with it is said by `loaded`
)
FLAVOR = click.option("--flavor", "-f", metavar="NAME", help="Flavor to run [$SETTINGS_FLAVOR, or dev].")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")

Work = Callable[[Any], Coroutine[Deferred[Any], Any, None]]


def loaded(config: str | None, flavor: str | None) -> Loaded:
    """The configuration; everything that is wrong with it ends the command."""
    try:
        found = load(config, flavor, os.environ)
    except ConfigError as error:
        leave(EXIT_STATUS, str(error))
    for warning in found.warnings:
        complain(f"warning: {warning}")
    return found


def run(work: Work) -> NoReturn:
    """Do ``work`` with a reactor, and end the process: 0 when it is done."""
    task.react(lambda reactor: Deferred.fromCoroutine(work(reactor)))


def print_json(value: object) -> None:
    say(json.dumps(value))
