"""``docker-registry warm``: what there is to do, how far it is, and what is left."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from docker_registry.config.model import Config
from docker_registry.errors import StorageError
from docker_registry.registry.registry import Registry
from docker_registry.registry.warming import Left, Warming
from docker_registry.service import core
from docker_registry.storage.interface import IExplores, IStorage

READY, STOPPED, SOME_LEFT = 0, 1, 3
"""Statuses that the command ends with."""

LOOK = 0.5
"""Seconds between two looks at how far it is."""

EVERY = 10.0
"""Seconds between two lines that say so, where there is no terminal."""


R = TypeVar("R")
T = TypeVar("T")


class Display(Protocol):
    """:param total: of what `show` is told how much of it is done."""

    def show(self, done: int) -> None: ...

    def finish(self) -> None: ...


class Bar:
    """On a terminal: a bar with an estimate."""

    def __init__(self, label: str, total: int) -> None:
        self._bar: Any = click.progressbar(length=total, label=label, file=sys.stderr, show_percent=True, show_eta=True)
        self._bar.render_progress()

    def show(self, done: int) -> None:
        self._bar.update(done - self._bar.pos)

    def finish(self) -> None:
        self._bar.render_finish()


class Lines:
    """Elsewhere: now and then a line, for a log."""

    def __init__(self, label: str, total: int, clock: IReactorTime, say: Callable[[str], None]) -> None:
        self._label = label
        self._total = total
        self._clock = clock
        self._say = say
        self._started = self._last = clock.seconds()

    def show(self, done: int) -> None:
        now = self._clock.seconds()
        if done and now - self._last >= EVERY:
            self._last = now
            left = (now - self._started) * (self._total - done) / done
            self._say(f"{self._label}: {100 * done // self._total} %, {in_words(left)} left")

    def finish(self) -> None:
        """What follows says it."""


def in_words(seconds: float) -> str:
    """As exact as an estimate is."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    hours, rest = divmod(minutes, 60)
    return f"about {hours} h {rest} min" if hours else f"about {rest} min"


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
        self._reactor = reactor
        self._storage = storage
        self._warming = Warming(storage, registry)
        self._terminal = terminal
        self._say = say
        self._tell = tell
        self._told = told

    async def run(self) -> int:
        """The status to end with."""
        try:
            return await self._run()
        except CancelledError:
            self._say("stopped: run it again to go on")
        except StorageError as error:
            self._say(f"{error}: mend that and run it again to go on")
        return STOPPED

    async def _run(self) -> int:
        if IExplores.providedBy(self._storage):
            self._say("looking for images in Glance")
            await IExplores(self._storage).explored()
        self._say("looking for tags")
        work = await self._warming.survey()
        self._say(f"{len(work.tags)} tags, {len(work.layers)} layers to read, {work.size / 1e6:.0f} MB")
        await self._shown("reading", work.size, lambda: self._warming.bytes_read, self._warming.read(work))
        setting = self._warming.set_tags(work)
        left = await self._shown("setting tags", len(work.tags), lambda: self._warming.tags_set, setting)
        for line in self._told(len(work.tags) - len(left), left):
            self._tell(line)
        return SOME_LEFT if left else READY

    async def _shown(self, label: str, total: int, done: Callable[[], int], work: Awaitable[R]) -> R:
        """What ``work`` comes to; meanwhile is shown how far it is."""
        if not total:
            return await work
        display = self._display(label, total)
        looking = LoopingCall(lambda: display.show(done()))
        looking.clock = self._reactor
        looking.start(LOOK, now=False)
        try:
            result = await work
            display.show(total)
            return result
        finally:
            looking.stop()
            display.finish()

    def _display(self, label: str, total: int) -> Display:
        return Bar(label, total) if self._terminal else Lines(label, total, self._reactor, self._say)


def warm(reactor: Any, config: Config, as_json: bool) -> Deferred[None]:
    """Fails with `SystemExit` unless all went well. When the reactor stops, the work does."""
    made = core(reactor, config)
    made.pool.start()
    reactor.addSystemEventTrigger("during", "shutdown", made.pool.stop)
    running = Deferred.fromCoroutine(_warm(reactor, made.storage, made.registry, as_json))
    ended: Deferred[None] = Deferred()

    def end(result: T) -> T:
        ended.callback(None)
        return result

    def stop() -> Deferred[None]:
        made.registry.stop()
        running.cancel()
        return ended

    reactor.addSystemEventTrigger("before", "shutdown", stop)
    return running.addBoth(end)


async def _warm(reactor: Any, storage: IStorage, registry: Registry, as_json: bool) -> None:
    say = partial(click.echo, err=True)
    told = for_programs if as_json else for_people
    try:
        await storage.start()
    except StorageError as error:
        say(str(error))
        raise SystemExit(STOPPED) from None
    try:
        status = await Command(reactor, storage, registry, sys.stderr.isatty(), say, click.echo, told).run()
    finally:
        await registry.idle()
        await registry.close()
        await storage.close()
    if status:
        raise SystemExit(status)
