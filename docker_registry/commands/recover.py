"""``docker-registry recover``"""

from __future__ import annotations

import click
from twisted.internet import task

from docker_registry import recover as recovering
from docker_registry.commands.options import CONFIG, FLAVOR, JSON, loaded
from docker_registry.config.problems import EXIT_STATUS
from docker_registry.output import leave


@click.command()
@CONFIG
@FLAVOR
@click.option("--store", metavar="STORE", help="Whose images are this registry's: their docker_registry_store.")
@click.option("--tags", is_flag=True, help="Set tags that are lost to the manifests that are called so in Glance.")
@JSON
def recover(config: str | None, flavor: str | None, store: str | None, tags: bool, as_json: bool) -> None:
    """Find images in Glance again when storage_alternate has lost what it knew of them.

    Every one that is without a record is read, and its bytes are compared with their digest. It may be stopped, and
    goes on where it was. Tags and repositories are not in Glance: bring the backup of storage_alternate back first.
    Without one, and with glance_names, --tags sets what images are called: the last tag of each manifest. The registry
    must not be running.

    Status 0: nothing is lost any more. 1: it did not come to its end; run it again. 3: some stay lost, each is named
    with the reason; or --store is needed. 78: the configuration is wrong, or not of storage glance.

    Example: docker-registry recover --config config.yml --flavor openstack
    """
    found = loaded(config, flavor)
    if found.config.storage != "glance":
        leave(EXIT_STATUS, f"{found.file}: flavor {found.flavor} has storage {found.config.storage}: there is nothing "
                           "to recover, as with glance")
    if tags and not found.config.glance_names:
        leave(EXIT_STATUS, f"{found.file}: --tags goes by names, and flavor {found.flavor} has not glance_names: true")
    task.react(lambda reactor: recovering.recover(reactor, found.config, store, tags, as_json))
