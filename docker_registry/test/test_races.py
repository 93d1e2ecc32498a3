"""Requests at the same time, in any order of their steps (D4, D8, D10, E6)."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from docker_registry.digest import Digest
from docker_registry.errors import (
    BlobInUse,
    BlobUnknown,
    ManifestBlobUnknown,
    ManifestUnknown,
    RangeInvalid,
    UploadUnknown,
)
from docker_registry.names import Tag, UploadId
from docker_registry.registry.locks import FIRST
from docker_registry.registry.registry import Registry
from docker_registry.registry.shared import Shared
from docker_registry.registry.uploads import Chunk
from docker_registry.storage import layout
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.system import System
from docker_registry.test.registry_case import LATEST, REPOSITORY, Direct, Parts, RegistryCase
from docker_registry.workers.board import Board

ROUNDS = 500


class Stepped:
    """A store whose calls wait until the test takes one of them, whichever it likes."""

    def __init__(self, storage: Any, choose: random.Random) -> None:
        self._storage = storage
        self._choose = choose
        self._waiting: list[tuple[Deferred[Any], Any, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)          # it provides no interface, and has no ability beyond the common ones
        method = getattr(self._storage, name)

        def later(*args: Any, **kwargs: Any) -> Deferred[Any]:
            waiting: Deferred[Any] = Deferred()
            self._waiting.append((waiting, method, args, kwargs))
            return waiting

        return later

    def step(self) -> bool:
        """Whether there was one to take."""
        if self._waiting:
            waiting, method, args, kwargs = self._waiting.pop(self._choose.randrange(len(self._waiting)))
            method(*args, **kwargs).chainDeferred(waiting)
            return True
        return False

    def run(self) -> None:
        while self.step():
            continue


class RaceTests(RegistryCase):
    timeout = 120

    def race(self, seed: int, *works: Any) -> list[Any]:
        """What each of ``works`` came to, their steps mixed; each is given a registry and makes a coroutine."""
        stepped = Stepped(self.storage, random.Random(seed))
        registries = itertools.cycle(self.registries(stepped))
        outcomes: list[Any] = [None] * len(works)

        def record(outcome: Any, number: int) -> None:
            outcomes[number] = outcome or "done"

        order = list(range(len(works)))
        random.Random(seed).shuffle(order)
        for number in order:
            running = Deferred.fromCoroutine(works[number](next(registries)))
            running.addErrback(lambda failure: failure.value)
            running.addCallback(record, number)
        stepped.run()
        while None in outcomes and self.clock.getDelayedCalls():        # one process waits for another
            self.clock.advance(FIRST)
            stepped.run()
        self.assertNotIn(None, outcomes)
        return outcomes

    def registries(self, storage: Any) -> Sequence[Registry]:
        """Those that take turns in serving requests."""
        return [self.process(storage)]

    def process(self, storage: Any, shared: Shared | None = None) -> Registry:
        return Registry(storage, Direct(), self.clock, self.settings, self.clock.seconds, shared)

    def test_delete_a_blob_while_its_manifest_is_pushed(self) -> None:
        """Whoever comes first: a manifest that was accepted has all its blobs."""
        content = self.image(b"layer")
        layer = Digest.of(b"layer")
        seen = set()
        for seed in range(ROUNDS):
            self.push_blob(b"layer")
            pushed, deleted = self.race(
                seed,
                lambda registry: registry.manifests.put(REPOSITORY, LATEST, content, None),
                lambda registry: registry.manifests.delete_blob(REPOSITORY, layer),
            )
            held = self.blob_is_there(layer)
            if isinstance(pushed, ManifestBlobUnknown):
                self.assertEqual((deleted, held), ("done", False), seed)
            else:
                self.assertIsInstance(deleted, BlobInUse, seed)
                self.assertTrue(held, seed)
                self.now(self.registry.manifests.delete(REPOSITORY, Digest.of(content)))
            seen.add(type(pushed))
        self.assertEqual(len(seen), 2)

    def test_two_tags_at_once(self) -> None:
        """Both are accepted, and the tag is one of them, whole."""
        contents = [self.image(b"1"), self.image(b"2")]
        for seed in range(ROUNDS // 5):
            outcomes = self.race(
                seed,
                *[
                    lambda registry, content=content: registry.manifests.put(REPOSITORY, LATEST, content, None)
                    for content in contents
                ],
            )
            self.assertFalse([each for each in outcomes if isinstance(each, Exception)])
            self.assertIn(self.now(self.open().manifests.get(REPOSITORY, LATEST)).content, contents)
            for content in contents:
                self.now(self.open().manifests.get(REPOSITORY, Digest.of(content)))

    def test_read_while_a_tag_moves(self) -> None:
        """The old or the new one, never nothing."""
        contents = [self.image(b"1"), self.image(b"2")]
        self.push(contents[0])
        for seed in range(ROUNDS // 5):
            _, *read = self.race(
                seed,
                lambda registry, seed=seed: registry.manifests.put(REPOSITORY, LATEST, contents[seed % 2], None),
                *[lambda registry: registry.manifests.get(REPOSITORY, LATEST)] * 5,
            )
            for each in read:
                self.assertIn(each.content, contents)

    def test_delete_and_push_the_same_manifest(self) -> None:
        """Afterwards it is there with its tag, or gone with its tag."""
        content = self.image(b"layer")
        for seed in range(ROUNDS // 5):
            self.push(content)
            self.race(
                seed,
                lambda registry: registry.manifests.put(REPOSITORY, LATEST, content, None),
                lambda registry: registry.manifests.delete(REPOSITORY, Digest.of(content)),
            )
            found = [self.is_there(reference) for reference in (LATEST, Digest.of(content))]
            self.assertEqual(found[0], found[1], seed)

    def test_the_same_blob_twice(self) -> None:
        for seed in range(ROUNDS // 5):
            outcomes = self.race(
                seed,
                *[lambda registry: registry.uploads.take(REPOSITORY, Digest.of(b"abc"), Parts(b"a", b"bc"), Chunk())]
                * 3,
            )
            self.assertEqual(outcomes, ["done"] * 3)
            self.assertTrue(self.blob_is_there(Digest.of(b"abc")))

    def test_go_on_while_old_uploads_are_removed(self) -> None:
        """What is acknowledged stays; a client that is too late is told so."""
        seen = set()
        for seed in range(ROUNDS // 2):
            upload = self.now(self.registry.uploads.start(REPOSITORY))
            self.now(self.registry.uploads.append(REPOSITORY, upload, Parts(b"abc"), Chunk()))
            self.clock.advance(self.settings.upload_purge_age + 1)

            async def go_on(registry: Registry, upload: UploadId = upload, seed: int = seed) -> int:
                for _ in range(seed % 8):
                    await registry.uploads.offset(REPOSITORY, upload)
                return await registry.uploads.append(REPOSITORY, upload, Parts(b"def"), Chunk())

            async def purge(registry: Registry) -> None:
                registry.start()

            appended, _ = self.race(seed, go_on, purge)
            if isinstance(appended, Exception):
                self.assertIsInstance(appended, (UploadUnknown, RangeInvalid), str(seed))
            else:
                self.assertEqual(self.now(self.open().uploads.offset(REPOSITORY, upload)), 6, str(seed))
            seen.add(type(appended))
        self.assertEqual(seen, {int, UploadUnknown, RangeInvalid})

    def blob_is_there(self, digest: Digest) -> bool:
        return self.succeeds(self.open().blobs.size(REPOSITORY, digest), BlobUnknown)

    def is_there(self, reference: Tag | Digest) -> bool:
        return self.succeeds(self.open().manifests.get(REPOSITORY, reference), ManifestUnknown)

    def succeeds(self, work: Any, otherwise: type[Exception]) -> bool:
        found: list[bool] = []
        attempt = Deferred.fromCoroutine(work)
        attempt.addCallbacks(lambda _: found.append(True), lambda failure: found.append(not failure.trap(otherwise)))
        return found[0]


class GoneTests(RegistryCase):
    """The client goes at each step of something that must not be torn: it is done all the same (E6)."""

    def gone(self, work: Any) -> Iterator[int]:
        """Do it, leave it after so many steps, and wait until nothing is running; yields the steps."""
        for steps in range(1000):
            stepped = Stepped(self.storage, random.Random(0))
            registry = Registry(stepped, Direct(), self.clock, self.settings, self.clock.seconds)
            running = Deferred.fromCoroutine(work(registry))
            running.addErrback(lambda failure: failure.trap(CancelledError))
            left = all(stepped.step() for _ in range(steps))
            running.cancel()
            stepped.run()
            self.successResultOf(registry.idle())
            yield steps
            if not left:
                self.assertGreater(steps, 1)
                return

    def test_push(self) -> None:
        content = self.image(b"layer")
        for steps in self.gone(lambda registry: registry.manifests.put(REPOSITORY, LATEST, content, None)):
            self.assertEqual(self.now(self.open().manifests.get(REPOSITORY, LATEST)).content, content, str(steps))
            self.now(self.registry.manifests.delete(REPOSITORY, Digest.of(content)))

    def test_untag(self) -> None:
        digest = self.push(self.image(b"layer"))
        for _ in self.gone(lambda registry: registry.manifests.untag(REPOSITORY, LATEST)):
            self.fails(self.open().manifests.get(REPOSITORY, LATEST), ManifestUnknown)
            self.now(self.open().manifests.get(REPOSITORY, digest))
            self.push(self.image(b"layer"))

    def test_delete(self) -> None:
        digest = self.push(self.image(b"layer"))
        for _ in self.gone(lambda registry: registry.manifests.delete(REPOSITORY, digest)):
            self.fails(self.open().manifests.get(REPOSITORY, digest), ManifestUnknown)
            self.fails(self.open().manifests.get(REPOSITORY, LATEST), ManifestUnknown)
            self.push(self.image(b"layer"))

    def test_delete_blob(self) -> None:
        digest = self.push_blob(b"layer")
        for _ in self.gone(lambda registry: registry.manifests.delete_blob(REPOSITORY, digest)):
            self.fails(self.open().blobs.size(REPOSITORY, digest), BlobUnknown)
            self.push_blob(b"layer")

    def test_blob(self) -> None:
        digest = Digest.of(b"layer")
        for _ in self.gone(lambda registry: registry.uploads.take(REPOSITORY, digest, Parts(b"layer"), Chunk())):
            self.assertEqual(self.now(self.open().blobs.size(REPOSITORY, digest)), 5)
            self.assertEqual(self.successResultOf(self.storage.list(layout.uploads(REPOSITORY))), [])
            self.now(self.registry.manifests.delete_blob(REPOSITORY, digest))

    def test_end_of_an_upload(self) -> None:
        digest = Digest.of(b"layer")
        uploads = [self.now(self.registry.uploads.start(REPOSITORY))]
        self.now(self.registry.uploads.append(REPOSITORY, uploads[-1], Parts(b"lay"), Chunk()))
        for _ in self.gone(
            lambda registry: registry.uploads.finish(REPOSITORY, uploads[-1], digest, Parts(b"er"), Chunk())
        ):
            self.assertEqual(self.now(self.open().blobs.size(REPOSITORY, digest)), 5)
            self.fails(self.open().uploads.offset(REPOSITORY, uploads[-1]), UploadUnknown)
            self.now(self.registry.manifests.delete_blob(REPOSITORY, digest))
            uploads.append(self.now(self.registry.uploads.start(REPOSITORY)))
            self.now(self.registry.uploads.append(REPOSITORY, uploads[-1], Parts(b"lay"), Chunk()))

    def test_cancelled_upload(self) -> None:
        uploads = [self.now(self.registry.uploads.start(REPOSITORY))]
        for _ in self.gone(lambda registry: registry.uploads.cancel(REPOSITORY, uploads[-1])):
            self.fails(self.open().uploads.offset(REPOSITORY, uploads[-1]), UploadUnknown)
            uploads.append(self.now(self.registry.uploads.start(REPOSITORY)))


class WorkerRaceTests(RaceTests):
    """The same between two processes of one daemon (C11)."""

    def setUp(self) -> None:
        super().setUp()
        board = Board.make(2)
        self.boards = [Board(board.open_again(), row) for row in (1, 2)]
        for each in (board, *self.boards):
            self.addCleanup(os.close, each.fd)

    def registries(self, storage: Any) -> Sequence[Registry]:
        return [self.process(storage, Shared(board, board.uploads)) for board in self.boards]


class DirectoryTests(RegistryCase):
    """What only a store shows whose directories stand before anything is in them."""

    def begin(self, last: int) -> int:
        """Begin an upload, and look for abandoned ones before system call number ``last`` of that; how many it made."""
        calls: list[str] = []

        def before(call: str, subject: str) -> None:
            calls.append(call)
            if len(calls) == last:
                self.registry.start()

        storage = LocalStorage(Path(self.mktemp()), Direct(), self.clock, system=System(before))
        self.successResultOf(storage.start())
        self.addCleanup(storage.close)
        self.registry = Registry(storage, Direct(), self.clock, self.settings, self.clock.seconds)
        calls.clear()
        upload = self.now(self.registry.uploads.start(REPOSITORY))
        made = len(calls)
        self.assertEqual(self.now(self.registry.uploads.offset(REPOSITORY, upload)), 0, str(calls[:last]))
        return made

    def test_begin_while_old_uploads_are_removed(self) -> None:
        """For a moment the new session has a directory and nothing in it; it is not abandoned."""
        steps = self.begin(0)
        self.assertGreater(steps, 10)
        for step in range(1, steps + 1):
            self.begin(step)
