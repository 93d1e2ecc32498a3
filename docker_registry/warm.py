"""``docker-registry warm``: what there is to do, how far it is, and what is left."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from docker_registry.alone import Status, over_store, resumable
from docker_registry.assembly import Core, core
from docker_registry.config.model import Config
from docker_registry.output import complain, say
from docker_registry.progress import Progress
from docker_registry.registry.registry import Registry
from docker_registry.registry.warming import Left, Warming
from docker_registry.storage.interface import IExplores, IStorage

READY, SOME_LEFT = 0, 3
"""Statuses that the command ends with when it came to its end."""


def for_people(ready: int, left: Sequence[Left]) -> Iterator[str]:
    """What came of it, in lines."""
    for each in left:
        yield f"{each.repository}:{each.tag} cannot be served by v2: {each.reason}"
    yield f"{ready} tags are ready" + (f", {len(left)} left" if left else "")


def for_programs(ready: int, left: Sequence[Left]) -> Iterator[str]:
    """The same in one line of JSON."""
    found = [{"repository": str(each.repository), "tag": str(each.tag), "reason": each.reason} for each in left]
    yield json.dumps({"ready": ready, "left": found})


class Command:
    """:param say: a line for people who watch.
    :param tell: a line of the result.
    :param told: makes those lines of how many tags are ready, and of those that are left.
    """

    def __init__(
        self,
        reactor: Any,
        storage: IStorage,
        registry: Registry,
        terminal: bool,
        say: Callable[[str], None],
        tell: Callable[[str], None],
        told: Callable[[int, Sequence[Left]], Iterator[str]] = for_people,
    ) -> None:
        self._storage = storage
        self._warming = Warming(storage, registry)
        self._progress = Progress(reactor, terminal, say)
        self._say = say
        self._tell = tell
        self._told = told

    async def run(self) -> int:
        """The status to end with."""
        return await resumable(self._run(), self._say)

    async def _run(self) -> int:
        if IExplores.providedBy(self._storage):
            self._say("looking for images in Glance")
            await IExplores(self._storage).explored()
        self._say("looking for tags")
        work = await self._warming.survey()
        self._say(f"{len(work.tags)} tags, {len(work.layers)} layers to read, {work.size / 1e6:.0f} MB")
        await self._progress.of("reading", work.size, lambda: self._warming.bytes_read, self._warming.read(work))
        setting = self._warming.set_tags(work)
        left = await self._progress.of("setting tags", len(work.tags), lambda: self._warming.tags_set, setting)
        for line in self._told(len(work.tags) - len(left), left):
            self._tell(line)
        return SOME_LEFT if left else READY


def warm(reactor: Any, config: Config, as_json: bool) -> Deferred[None]:
    """Fails with `SystemExit` unless all went well. When the reactor stops, the work does."""
    told = for_programs if as_json else for_people

    def work(made: Core) -> Status:
        return Command(reactor, made.storage, made.registry, sys.stderr.isatty(), complain, say, told).run()

    return over_store(reactor, core(reactor, config), work)
