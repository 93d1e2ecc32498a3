"""``docker-registry leftovers``"""

from __future__ import annotations

import click
from twisted.internet import task
from twisted.internet.defer import Deferred

from docker_registry import leftovers as leftover
from docker_registry.commands.options import CONFIG, FLAVOR, JSON, loaded
from docker_registry.config.values import TIME


@click.command()
@CONFIG
@FLAVOR
@click.option("--older-than", metavar="TIME", help="Since the last byte, such as 2h or 7d [upload_purge_age].")
@click.option("--remove", is_flag=True, help="Remove them.")
@JSON
def leftovers(config: str | None, flavor: str | None, older_than: str | None, remove: bool, as_json: bool) -> None:
    """Name the halves of objects that pushes left in the store when a registry crashed.

    They cost room, and no key leads to them. A registry that runs removes those that are older than upload_purge_age
    once an hour. Parts of pushes that still go on are young: what is younger than an hour is shown, and not removed.

    Example: docker-registry leftovers --config config.yml --flavor prod --older-than 2d --remove
    """
    found = loaded(config, flavor)
    age = found.config.upload_purge_age if older_than is None else TIME.parse(older_than)
    if not isinstance(age, int | float):
        raise click.BadParameter(f"{older_than} is no time such as 30m, 2h or 7d", param_hint="--older-than")
    if remove and age < min(leftover.LEAST, found.config.upload_purge_age):
        raise click.BadParameter(
            f"{older_than} is too little for --remove, which would take from pushes that go on: 1h at least",
            param_hint="--older-than",
        )
    task.react(lambda reactor: Deferred.fromCoroutine(leftover.leftovers(reactor, found.config, age, remove, as_json)))
