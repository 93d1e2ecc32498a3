"""The store is read while it changes, in any order of the steps: then the catalogue says what the store says."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from docker_registry.errors import NotFound, RegistryError
from docker_registry.names import Repository, Tag
from docker_registry.registry import records, rounds
from docker_registry.registry.database import Database
from docker_registry.registry.records import Records
from docker_registry.registry.registry import Registry
from docker_registry.storage.memory import MemoryStorage
from docker_registry.test.catalogue_case import CatalogueCase
from docker_registry.test.registry_case import LATEST, Direct
from docker_registry.test.test_images import image_id
from docker_registry.test.test_races import Stepped

SEEDS = 200
TAGS = [LATEST, LATEST, Tag("1")]
NAMES = ["a", "b/c", "new"]

Work = Callable[[Registry], Coroutine[Any, Any, Any]]


class RaceTests(CatalogueCase):
    timeout = 120

    def prepare(self) -> None:
        """A store of its own for each race: a few repositories with a tag or two."""
        self.storage = MemoryStorage(self.clock)
        self.registry = self.open()
        self.put_json("unfinished")
        self.push_image("finished")
        self.contents: dict[str, list[bytes]] = {}
        for name in NAMES:
            digests = [self.put(name, "one"), self.put(name, "two", Tag("1"))]
            self.contents[name] = [self.now(self.registry.manifests.read(each)).content for each in digests]
        for digest in digests:                      # the blobs stay
            self.now(self.registry.manifests.delete(Repository(name), digest))

    def work(self, chance: random.Random) -> Work:
        """Something that a client does."""
        name, tag, image = chance.choice(NAMES), chance.choice(TAGS), chance.choice(["finished", "unfinished"])
        repository, content, private = Repository(name), chance.choice(self.contents[name]), chance.random() < 0.5

        async def delete(registry: Registry) -> None:
            found = await registry.manifests.get(repository, tag)
            await registry.manifests.delete(repository, found.digest)

        return chance.choice([
            *[lambda registry: registry.manifests.put(repository, tag, content, None)] * 4,
            *[delete] * 3,
            lambda registry: registry.manifests.untag(repository, tag),
            lambda registry: registry.manifests.delete_all(repository),
            lambda registry: registry.set_private(repository, private),
            lambda registry: registry.image_tags.set(repository, tag, image_id(image)),
        ])

    def race(self, seed: int, cache: Path | None) -> Registry:
        """Clients do this and that while the catalogue is made; a registry with a complete one."""
        chance = random.Random(seed)
        stepped = Stepped(self.storage, chance)
        self.cache = cache
        registry = self.open(stepped)
        self.addCleanup(lambda: self.now(registry.close()))
        running: list[Deferred[Any]] = []
        works = [self.work(chance) for _ in range(chance.randint(3, 12))]
        begin = chance.randrange(len(works))
        for number, work in enumerate(works):
            if number == begin:
                registry.start()
            done = Deferred.fromCoroutine(work(registry))
            done.addErrback(lambda failure: failure.trap(RegistryError) and None)
            running.append(done)
            for _ in range(chance.randrange(40)):
                stepped.step()
                self.clock.advance(0.1)
        for _ in range(10_000):
            stepped.step()
            self.clock.advance(0.1)
            running.append(registry.idle())
            if registry.catalogue.is_complete and all(each.called for each in running):
                break
            running.pop()
        registry.stop()
        self.assertTrue(registry.catalogue.is_complete)
        return registry

    def assertAgree(self, registry: Registry, cache: Path, seed: int) -> None:
        """The catalogue says what the store does."""
        self.cache = None
        truth = self.open()
        self.assertEqual(self.names(registry), self.names(truth), seed)
        for term in ("", "a"):
            self.assertEqual(self.search(term, registry=registry), self.search(term, registry=truth), (seed, term))
        database = Database(cache, Direct(), records.SCHEMA, records.VERSION)
        for name in self.names(truth):
            repository = Repository(name)
            noted = self.now(Records(database).tags(repository))
            self.assertEqual(list(noted), self.now(truth.tags.page(repository, "", 100)), (seed, name))
            for tag, record in noted.items():
                self.assertEqual(record.digest, self.linked(truth, repository, Tag(tag)), (seed, name, tag))
        self.now(database.close())

    def linked(self, registry: Registry, repository: Repository, tag: Tag) -> str | None:
        async def linked() -> str | None:
            try:
                return str(await registry.tags.linked(repository, tag))
            except NotFound:
                return None

        return self.now(linked())

    def test_read_while_clients_push_and_delete(self) -> None:
        self.patch(rounds, "PAGE", 2)
        self.patch(rounds, "SLICE", 2)
        directory = Path(self.mktemp()).absolute()
        for seed in range(SEEDS):
            self.prepare()
            cache = directory / str(seed)
            self.assertAgree(self.race(seed, cache), cache, seed)
