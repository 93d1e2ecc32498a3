"""``docker-registry recover``: content that a store has lost the records of, and tags that are names there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from docker_registry.alone import over_store, resumable
from docker_registry.assembly import Core, core
from docker_registry.config.model import Config
from docker_registry.output import complain, say
from docker_registry.progress import Progress
from docker_registry.registry.restoring import Missing, Restoring
from docker_registry.storage.interface import INames, IRecovers, IRecovery, Lost

ALL, SOME_LEFT = 0, 3
"""Statuses that the command ends with when it came to its end."""


@dataclass(frozen=True, slots=True)
class Left:
    """:ivar reason: why it stays lost."""

    what: Lost
    reason: str


@dataclass(frozen=True, slots=True)
class Tags:
    """:ivar set: how many stand for a manifest again.
    :ivar left: those that do not, and why.
    """

    set: int
    left: Mapping[Missing, str]

    def lines(self) -> list[str]:
        """For people."""
        said = [f"{each.repository}:{each.tag} is lost: {reason}" for each, reason in self.left.items()]
        return [*said, f"{self.set} tags set" + (f", {len(self.left)} left" if self.left else "")]

    def fields(self) -> dict[str, Any]:
        """For programs."""
        left = [{"repository": str(each.repository), "tag": str(each.tag), "reason": reason}
                for each, reason in self.left.items()]
        return {"set": self.set, "left": left}


@dataclass(frozen=True, slots=True)
class Outcome:
    """:ivar store: what tells this store's content from that of others.
    :ivar others: content of other stores, where there is none of this one.
    :ivar tags: ``None`` if nobody asked for them.
    """

    store: str
    recovered: int
    left: Sequence[Left]
    others: Mapping[str, int]
    tags: Tags | None = None

    @property
    def status(self) -> int:
        return SOME_LEFT if self.left or self.others or (self.tags and self.tags.left) else ALL

    def lines(self) -> list[str]:
        """For people."""
        if self.others:
            said = [f"nothing here is of store {self.store}; --store STORE takes what another one left:"]
            return said + [f"  {store} has {count}" for store, count in sorted(self.others.items())]
        said = [f"{each.what.key} is lost: {each.reason}" for each in self.left]
        said.append(f"{self.recovered} recovered" + (f", {len(self.left)} left" if self.left else ""))
        return said if self.tags is None else [*said, *self.tags.lines()]

    def json(self) -> str:
        """For programs."""
        left = [{"key": each.what.key, "image": each.what.id, "reason": each.reason} for each in self.left]
        said = {"store": self.store, "recovered": self.recovered, "left": left, "others": {**self.others}}
        return json.dumps(said if self.tags is None else {**said, "tags": self.tags.fields()})


class Command:
    """:param store: whose content is to be this one's, if it is another.
    :param restoring: of tags; ``None`` if they are left as they are.
    :param say: a line for people who watch.
    """

    def __init__(
        self, clock: IReactorTime, recovery: IRecovery, store: str | None, restoring: Restoring | None,
        say: Callable[[str], None],
    ) -> None:
        self._recovery = recovery
        self._store = store
        self._restoring = restoring
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
        outcome = await self._progress.of("reading", size, lambda: self._read, self._recover(lost))
        return outcome if self._restoring is None else replace(outcome, tags=await self._restore(self._restoring))

    async def _restore(self, restoring: Restoring) -> Tags:
        missing = await restoring.missing()
        self._say(f"{len(missing)} tags are names in Glance only")
        reasons = {each: await restoring.restore(each) for each in missing}
        left = {each: reason for each, reason in reasons.items() if reason}
        return Tags(len(missing) - len(left), left)

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


def recover(reactor: Any, config: Config, store: str | None, tags: bool, as_json: bool) -> Deferred[None]:
    """Fails with `SystemExit` unless all went well. When the reactor stops, the work does."""

    async def work(made: Core) -> int:
        restoring = Restoring(made.storage, INames(made.storage), made.registry) if tags else None
        command = Command(reactor, IRecovers(made.storage).recovery, store, restoring, complain)
        return await resumable(_told(command, as_json), complain)

    return over_store(reactor, core(reactor, config), work)


async def _told(command: Command, as_json: bool) -> int:
    outcome = await command.run()
    for line in [outcome.json()] if as_json else outcome.lines():
        say(line)
    return outcome.status
