"""``docker-registry leftovers``: halves of objects that pushes left in a store, and their end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from docker_registry import output
from docker_registry.alone import over_store, resumable
from docker_registry.assembly import Core, core
from docker_registry.config.model import Config
from docker_registry.storage.interface import ILeftovers, IStorage, Leftover

LEAST = 3600.0
"""Seconds for which what a push has written is left alone: nobody sees whether a registry somewhere goes on with it."""


async def leftovers(reactor: Any, config: Config, age: float, remove: bool, as_json: bool) -> None:
    """Name what is older than ``age`` seconds, and remove it if asked to. When the reactor stops, the work does.

    :raises SystemExit: the store failed.
    """
    made = core(reactor, config)
    if not ILeftovers.providedBy(made.storage):
        nothing = f"nothing: storage {config.storage} keeps no halves of objects"
        output.say(_in_json([], remove) if as_json else nothing)
        return

    async def work(made: Core) -> int:
        return await resumable(
            show(made.storage, time.time() - age, remove, output.say, as_json), output.complain
        )

    await over_store(reactor, made, work)


async def show(
    storage: IStorage, before: float, remove: bool, say: Callable[[str], None], as_json: bool = False
) -> int:
    """:param before: seconds since the epoch, when the last byte came.
    :param as_json: whether all is said in one line, at the end.
    :returns: the status to end with.
    """
    store = ILeftovers(storage)
    found = await store.leftovers(before)
    for each in found:
        if remove:
            await store.remove_leftover(each)
        if not as_json:
            when = datetime.fromtimestamp(each.modified, UTC).strftime("%Y-%m-%d %H:%M")
            say(f"{'removed' if remove else 'found'} {each.key} {when} {each.id[:16]}")
    if as_json:
        say(_in_json(found, remove))
    else:
        say(f"{len(found)} {'removed' if remove else 'found; --remove would remove them'}")
    return 0


def _in_json(found: Sequence[Leftover], removed: bool) -> str:
    """Ids are whole there."""
    listed = [{"key": each.key, "modified": each.modified, "id": each.id} for each in found]
    return json.dumps({"removed": removed, "leftovers": listed})
