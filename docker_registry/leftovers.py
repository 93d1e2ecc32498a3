"""``docker-registry leftovers``: halves of objects that pushes left in a store, and their end."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from docker_registry.config.model import Config
from docker_registry.errors import StorageError
from docker_registry.service import core
from docker_registry.storage.interface import ILeftovers, IStorage


async def leftovers(reactor: Any, config: Config, age: float, remove: bool) -> None:
    """Name what is older than ``age`` seconds, and remove it if asked to.

    :raises SystemExit: the store failed.
    """
    made = core(reactor, config)
    if not ILeftovers.providedBy(made.storage):
        click.echo(f"nothing: storage {config.storage} keeps no halves of objects")
        return
    made.pool.start()
    reactor.addSystemEventTrigger("during", "shutdown", made.pool.stop)
    try:
        await made.storage.start()
        try:
            await show(made.storage, time.time() - age, remove, click.echo)
        finally:
            await made.registry.close()
            await made.storage.close()
    except StorageError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from None


async def show(storage: IStorage, before: float, remove: bool, say: Callable[[str], None]) -> None:
    """:param before: seconds since the epoch, when the last byte came."""
    store = ILeftovers(storage)
    found = await store.leftovers(before)
    for each in found:
        if remove:
            await store.remove_leftover(each)
        when = datetime.fromtimestamp(each.modified, UTC).strftime("%Y-%m-%d %H:%M")
        say(f"{'removed' if remove else 'found'} {each.key} {when} {each.id[:16]}")
    say(f"{len(found)} {'removed' if remove else 'found; --remove would remove them'}")
