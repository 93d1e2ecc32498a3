"""``docker-registry recover``: content that a store holds and has lost the records of."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from docker_registry.alone import over_store, resumable
from docker_registry.config.model import Config
from docker_registry.output import complain, say
from docker_registry.progress import Progress
from docker_registry.service import Core
from docker_registry.storage.interface import IRecovers, IRecovery, Lost

ALL, SOME_LEFT = 0, 3
"""Statuses that the command ends with when it came to its end."""


@dataclass(frozen=True, slots=True)
class Left:
    """:ivar reason: why it stays lost."""

    what: Lost
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """:ivar store: what tells this store's content from that of others.
    :ivar others: content of other stores, where there is none of this one.
    """

    store: str
    recovered: int
    left: Sequence[Left]
    others: Mapping[str, int]

    @property
    def status(self) -> int:
        return SOME_LEFT if self.left or self.others else ALL

    def lines(self) -> list[str]:
        """For people."""
        if self.others:
            said = [f"nothing here is of store {self.store}; --store STORE takes what another one left:"]
            return said + [f"  {store} has {count}" for store, count in sorted(self.others.items())]
        said = [f"{each.what.key} is lost: {each.reason}" for each in self.left]
        return [*said, f"{self.recovered} recovered" + (f", {len(self.left)} left" if self.left else "")]

    def json(self) -> str:
        """For programs."""
        left = [{"key": each.what.key, "image": each.what.id, "reason": each.reason} for each in self.left]
        return json.dumps({"store": self.store, "recovered": self.recovered, "left": left, "others": {**self.others}})


class Command:
    """:param store: whose content is to be this one's, if it is another.
    :param say: a line for people who watch.
    """

    def __init__(self, clock: IReactorTime, recovery: IRecovery, store: str | None, say: Callable[[str], None]) -> None:
        self._recovery = recovery
        self._store = store
        self._progress = Progress(clock, sys.stderr.isatty(), say)
        self._say = say
        self._read = 0

    async def run(self) -> Outcome:
        """:raises StorageError: it did not come to its end."""
        self._say("looking for images in Glance")
        stores = await self._recovery.stores()
        wanted = self._store or self._recovery.store
        if stores and wanted not in stores:
            return Outcome(wanted, 0, [], stores)
        if wanted != self._recovery.store:
            await self._recovery.adopt(wanted)
        lost = await self._recovery.lost()
        size = sum(each.size for each in lost)
        self._say(f"{stores.get(self._recovery.store, 0)} images, {len(lost)} without a record, "
                  f"{size / 1e6:.0f} MB to be read")
        return await self._progress.of("reading", size, lambda: self._read, self._recover(lost))

    async def _recover(self, lost: Sequence[Lost]) -> Outcome:
        recovered: set[str] = set()
        left: list[Left] = []
        for each in lost:
            reason = await self._recovery.recover(each, self._saw)
            if reason:
                left.append(Left(each, reason))
            else:
                recovered.add(each.key)
        # Of a push that was repeated the first try may be there as well, and is a leftover.
        return Outcome(
            self._recovery.store, len(recovered), [each for each in left if each.what.key not in recovered], {}
        )

    def _saw(self, count: int) -> None:
        self._read += count


def recover(reactor: Any, config: Config, store: str | None, as_json: bool) -> Deferred[None]:
    """Fails with `SystemExit` unless all went well. When the reactor stops, the work does."""

    async def work(made: Core) -> int:
        command = Command(reactor, IRecovers(made.storage).recovery, store, complain)
        return await resumable(_told(command, as_json), complain)

    return over_store(reactor, config, work)


async def _told(command: Command, as_json: bool) -> int:
    outcome = await command.run()
    for line in [outcome.json()] if as_json else outcome.lines():
        say(line)
    return outcome.status
