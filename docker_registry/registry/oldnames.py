"""Which directories of an old store are which repository's.

docker-registry 0.x kept ``b/c`` of the namespace ``a`` in ``repositories/a/<quoted>``, where versions up to 0.8.0
quoted the name once (``b%2Fc``) and later ones twice (``b%252Fc``). A store that both have used holds both forms, and
perhaps of one name: then the two are one repository. What is new is quoted as the last version did, and so it would
find it.

``x`` and ``library/x`` were one repository there, and that is ``x`` here: so nothing old is the ``library/x`` of v2.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import quote_plus, unquote_plus

from twisted.logger import Logger

from docker_registry.errors import NameInvalid
from docker_registry.names import Repository, is_component
from docker_registry.registry.recent import Recent
from docker_registry.storage import layout
from docker_registry.storage.interface import IStorage

LIBRARY = "library"
"""The namespace of names without one."""

LEVEL = 2000
"""Directories read at a time."""

NAMESPACES = 1000
"""Namespaces of which is remembered what is quoted otherwise in them."""

TOLD = 10_000
"""Names that cannot be served, of which it is remembered that the log has said so."""


@dataclass(frozen=True, slots=True)
class Place:
    """A repository and its directories, that for what is new first."""

    repository: Repository
    directories: tuple[str, ...]


class OldNames:
    log = Logger()

    def __init__(self, storage: IStorage) -> None:
        self._storage = storage
        self._odd: Recent[str, dict[str, tuple[str, ...]]] = Recent(NAMESPACES)
        self._told: set[str] = set()

    async def directories(self, repository: Repository) -> tuple[str, ...]:
        """Where something may be kept of it: what is new comes to the first, and what is there counts in this order.

        One directory, and nothing is asked for that, unless the name has a slash besides that of the namespace.
        """
        parts = _split(repository)
        if parts is None:
            return ()
        namespace, name = parts
        if "/" not in name:
            return (_directory(namespace, name),)
        return (_directory(namespace, name), *(await self._quoted_otherwise(namespace)).get(name, ()))

    async def _quoted_otherwise(self, namespace: str) -> dict[str, tuple[str, ...]]:
        """Directories that we would have called otherwise, by name.

        We never make one, so what was found once can be remembered, whoever else works on the store.
        """
        found = self._odd.get(namespace)
        if found is None:
            found = {}
            async for name, listed in self._in_order(layout.old_repository(namespace), "", _unquoted):
                home = _directory(namespace, name)
                odd = tuple(each for each in (f"{namespace}/{one}" for one in listed) if each != home)
                if odd and "/" in name:
                    found[name] = odd
            self._odd.keep(namespace, found)
        return found

    async def bare(self, after: str) -> AsyncIterator[Place]:
        """The repositories without a namespace that have a directory, beyond ``after``, in byte order."""
        async for name, found in self._in_order(layout.old_repository(LIBRARY), after, _unquoted):
            if "/" not in name and name > after:
                place = self._place(LIBRARY, name, name, found)
                if place is not None:
                    yield place

    async def in_namespaces(self, after: str) -> AsyncIterator[Place]:
        """As `bare`, of those in a namespace."""
        async for above, (namespace,) in self._in_order(layout.OLD_REPOSITORIES, after, lambda name: f"{name}/"):
            if not is_component(namespace):
                self._skip(layout.old_repository(namespace))
                continue
            if not after.startswith(above) and after > above:
                continue
            below = after.removeprefix(above) if after.startswith(above) else ""
            async for name, found in self._in_order(layout.old_repository(namespace), below, _unquoted):
                if name > below and (namespace != LIBRARY or "/" in name):
                    place = self._place(namespace, name, above + name, found)
                    if place is not None:
                        yield place

    def _place(self, namespace: str, name: str, whole: str, found: list[str]) -> Place | None:
        """``None`` for a name that v2 does not allow, and for a directory that no version would have made."""
        home = _directory(namespace, name)
        directories = [each for each in (f"{namespace}/{one}" for one in found) if "/" in name or each == home]
        try:
            repository = Repository.parse(whole)
        except NameInvalid:
            directories = []
        if not directories:
            self._skip(layout.old_repository(f"{namespace}/{found[0]}"))
            return None
        return Place(repository, (home, *sorted(set(directories) - {home})))

    def _skip(self, key: str) -> None:
        if key not in self._told and len(self._told) < TOLD:
            self._told.add(key)
            self.log.warn("{key} is not served: its name is none that clients of today could ask for", key=key)

    async def _in_order(
        self, prefix: str, after: str, rename: Callable[[str], str]
    ) -> AsyncIterator[tuple[str, list[str]]]:
        """The directories below ``prefix`` by what ``rename`` makes of them, in byte order of that.

        May begin before ``after``.

        :param rename: never makes less of a name, in byte order: ``%2F`` becomes ``/``. So nothing that comes later can
            stand before the directory that was read last, and what does is due.
        """
        waiting: list[tuple[str, str]] = []
        last = _first(after)
        while True:
            entries = await self._storage.list(prefix, after=last, limit=LEVEL)
            for entry in entries:
                if entry.is_prefix:
                    for due in _due(waiting, entry.name):
                        yield due
                    heapq.heappush(waiting, (max(rename(entry.name), entry.name), entry.name))
            if len(entries) < LEVEL:
                break
            last = entries[-1].name
        for due in _due(waiting, None):
            yield due


def _due(waiting: list[tuple[str, str]], before: str | None) -> list[tuple[str, list[str]]]:
    """Take what stands before ``before``, or all; directories that have one name together."""
    due: list[tuple[str, list[str]]] = []
    while waiting and (before is None or waiting[0][0] < before):
        name, directory = heapq.heappop(waiting)
        if due and due[-1][0] == name:
            due[-1][1].append(directory)
        else:
            due.append((name, [directory]))
    return due


def _first(after: str) -> str:
    """A name before all directories whose repository's name is beyond ``after``.

    ``b%252Fc`` stands before ``b-x``, and its name ``b/c`` beyond: so as far as ``after`` has signs that stand after
    ``/``, less one.
    """
    return after[: next((at for at, sign in enumerate(after) if sign < "0"), len(after))][:-1]


def _split(repository: Repository) -> tuple[str, str] | None:
    """Namespace and name in an old store; ``None`` for what cannot be there."""
    first, _, rest = str(repository).partition("/")
    if not rest:
        return LIBRARY, first
    return None if first == LIBRARY and "/" not in rest else (first, rest)


def _directory(namespace: str, name: str) -> str:
    """Where a repository is kept that is new."""
    return f"{namespace}/{quote_plus(quote_plus(name))}"


def _unquoted(directory: str) -> str:
    """The name that a directory is of, however often it was quoted."""
    while (name := unquote_plus(directory)) != directory:
        directory = name
    return name
