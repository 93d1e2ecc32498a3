"""What the processes of one daemon share: locks, counts, and directories that are being made (C1, D3, D10, D12)."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Coroutine, Hashable
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docker_registry.digest import Digest
from docker_registry.errors import Damaged, ManifestUnknown, NotFound, RangeInvalid, TooManyUploads, UploadUnknown
from docker_registry.names import ImageId, Repository, Tag, UploadId
from docker_registry.registry.locks import LONGEST, Locks
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.registry.shared import Shared
from docker_registry.registry.uploads import Chunk
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.system import System
from docker_registry.test.registry_case import Direct, Held, Parts
from docker_registry.workers.board import SLOTS, Board

R = TypeVar("R")

NAME = Repository.parse("library/busybox")
AGAIN = """
import os, sys
from docker_registry.workers.board import Board
board = Board(int(sys.argv[1]), 1)
board.uploads.add(5)
board.making.begin("a/b")
print(board.take(7), flush=True)
sys.stdin.read()
"""


class BoardCase(SynchronousTestCase):
    """A board, as the parent and two workers have it."""

    def setUp(self) -> None:
        self.parent = Board.make(2)
        self.boards = [self.parent, *(Board(self.parent.open_again(), row) for row in (1, 2))]
        for board in self.boards:
            self.addCleanup(os.close, board.fd)


class BoardTests(BoardCase):
    def test_exclusion(self) -> None:
        _, first, second = self.boards
        for number in (0, 1, 2**62 - 1):
            self.assertTrue(first.take(number))
            self.assertFalse(second.take(number))
            self.assertTrue(second.take(number ^ 2), "its neighbour is another")
            second.give(number ^ 2)
            first.give(number)
            self.assertTrue(second.take(number))
            second.give(number)

    def test_count(self) -> None:
        _, first, second = self.boards
        first.uploads.add(3)
        second.uploads.add(-1)
        self.assertEqual([board.uploads.total() for board in self.boards], [2, 2, 2])
        self.parent.uploads.correct(7)
        first.uploads.add(1)
        self.assertEqual(second.uploads.total(), 8)

    def test_connections(self) -> None:
        _, first, second = self.boards
        first.connected(1)
        self.assertFalse(first.is_busier(), "one more is nothing")
        first.connected(2)
        self.assertEqual((first.is_busier(), second.is_busier()), (True, False))
        second.connected(9)
        self.assertEqual((first.is_busier(), second.is_busier()), (False, True))
        self.parent.ended(2)
        self.assertTrue(first.is_busier())

    def test_making(self) -> None:
        _, first, second = self.boards
        first.making.begin("a/b")
        first.making.begin("a/b")
        self.assertEqual(second.making.above("a/b/c/d"), ["a/b"])
        self.assertEqual(second.making.above("a/b"), ["a/b"])
        self.assertEqual(list(second.making.above("a/bc")), [])
        first.making.end("a/b")
        self.assertEqual(first.making.above("a/b"), ["a/b"], "another thread is not done")
        first.making.end("a/b")
        self.assertEqual(list(second.making.above("a/b")), [])

    def test_more_than_can_be_noted(self) -> None:
        """Then everything counts as being made."""
        _, first, second = self.boards
        names = [f"d{number}" for number in range(SLOTS + 2)]
        for name in names:
            first.making.begin(name)
        self.assertEqual(second.making.above("x/y"), ["x", "x/y"])
        for name in names[-2:]:
            first.making.end(name)
        self.assertEqual(list(second.making.above("x/y")), [])
        self.assertEqual(second.making.above("d1/y"), ["d1"])

    def test_killed(self) -> None:
        """Its locks are free at once, its numbers stay until the parent has seen to them."""
        fd = self.parent.open_again()
        process = Popen([sys.executable, "-c", AGAIN, str(fd)], stdin=PIPE, stdout=PIPE, pass_fds=[fd])
        os.close(fd)
        with process:
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), b"True\n")
            self.assertFalse(self.parent.take(7))
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.assertTrue(self.parent.take(7))
        self.assertEqual(self.parent.uploads.total(), 5)
        self.assertEqual(self.parent.making.above("a/b"), ["a/b"])
        self.parent.clear(1)
        self.assertEqual(list(self.parent.making.above("a/b")), [])
        self.assertEqual(self.parent.uploads.total(), 5, "its sessions are still there")


class LockTests(BoardCase):
    """`Locks` of two processes."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.first, self.second = (Locks(self.clock, board) for board in self.boards[1:])
        self.holding: dict[str, Deferred[None]] = {}
        self.running: list[Deferred[None]] = []
        self.addCleanup(self.finish)

    def finish(self) -> None:
        """Whoever holds or waits comes to an end."""
        while self.holding or self.clock.getDelayedCalls():
            for who in list(self.holding):
                self.release(who)
            self.clock.advance(LONGEST)
        for each in self.running:
            self.successResultOf(each)

    def hold(self, locks: Locks, who: str, name: Hashable = NAME) -> Deferred[None]:
        """Get the lock, or wait for it, and hold it until `release`."""
        running = Deferred.fromCoroutine(self._hold(locks, who, name))
        self.running.append(running)
        return running

    async def _hold(self, locks: Locks, who: str, name: Hashable) -> None:
        async with locks.held(name):
            self.holding[who] = Deferred()
            await self.holding[who]

    def release(self, who: str) -> None:
        self.holding.pop(who).callback(None)

    def holders(self) -> list[str]:
        return sorted(self.holding)

    def test_other_process_waits(self) -> None:
        self.hold(self.first, "first")
        self.hold(self.second, "second")
        self.clock.pump([LONGEST] * 10)
        self.assertEqual(self.holders(), ["first"])
        self.release("first")
        self.clock.advance(LONGEST)
        self.assertEqual(self.holders(), ["second"])

    def test_nobody_is_passed_over(self) -> None:
        """A process with many requests does not keep another one waiting for all of them."""
        for number in range(5):
            self.hold(self.first, f"first {number}")
        self.hold(self.second, "second")
        self.release("first 0")
        self.clock.pump([LONGEST] * 3)
        self.assertEqual(self.holders(), ["second"])

    def test_names(self) -> None:
        """A repository is not held up by another, nor by an image that is called the same."""
        image = ImageId.parse("0" * 64)
        names = [NAME, Repository.parse("library/other"), image, Repository.parse(f"library/{image}")]
        for number, name in enumerate(names):
            self.hold(self.first, str(number), name)
        self.assertEqual(len(self.holding), 4)

    def test_cancelled_while_it_waits(self) -> None:
        self.hold(self.first, "first")
        waiting = self.hold(self.second, "second")
        waiting.addErrback(lambda failure: failure.trap(CancelledError))
        waiting.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.release("first")
        self.hold(self.first, "again")
        self.assertEqual(self.holders(), ["again"])

    def test_tried(self) -> None:
        upload = UploadId.new()
        with self.first.tried(upload) as mine:
            self.assertTrue(mine)
            for locks in (self.first, self.second):
                with locks.tried(upload) as other:
                    self.assertFalse(other)
        with self.second.tried(upload) as free:
            self.assertTrue(free)

    def test_one_process_needs_no_board(self) -> None:
        locks = Locks(self.clock)
        self.hold(locks, "one")
        self.hold(locks, "two")
        self.assertEqual(self.holders(), ["one"])
        self.release("one")
        self.assertEqual(self.holders(), ["two"])
        with locks.tried(NAME) as free:
            self.assertFalse(free)


class RegistryTests(BoardCase):
    """Two registries over one directory, as two workers have it."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.root = Path(self.mktemp())
        self.calls: list[tuple[str, str]] = []
        self.owner = LocalStorage(self.root, Direct(), self.clock, making=self.parent.making)
        self.successResultOf(self.owner.start())
        self.stores = [
            LocalStorage(self.root, Direct(), self.clock, making=board.making, joins=True, system=System(self.note))
            for board in self.boards[1:]
        ]
        for store in self.stores:
            self.successResultOf(store.start())
        for store in (self.owner, *self.stores):
            self.addCleanup(store.close)
        self.first, self.second = (
            Registry(store, Direct(), self.clock, Settings(max_uploads=2), self.clock.seconds,
                     Shared(board, board.uploads))
            for store, board in zip(self.stores, self.boards[1:], strict=True)
        )

    def note(self, call: str, subject: str) -> None:
        self.calls.append((call, subject))

    def now(self, work: Coroutine[Deferred[Any], Any, R]) -> R:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def fails(self, work: Coroutine[Deferred[Any], Any, Any], error: type[Exception]) -> Any:
        return self.failureResultOf(Deferred.fromCoroutine(work), error).value

    def test_two_writers(self) -> None:
        """D3: the second one is told where the session stands."""
        upload = self.now(self.first.uploads.start(NAME))
        held = Held()
        writing = Deferred.fromCoroutine(self.first.uploads.append(NAME, upload, held, Chunk()))
        held.give(b"aaa")
        for attempt in (
            self.second.uploads.append(NAME, upload, Parts(b"bbb"), Chunk()),
            self.second.uploads.finish(NAME, upload, Digest.of(b"bbb"), Parts(b"bbb"), Chunk()),
            self.second.uploads.cancel(NAME, upload),
        ):
            self.assertEqual(self.fails(attempt, RangeInvalid).offset, 0)
        held.give()
        self.assertEqual(self.successResultOf(writing), 3)

    def test_session_goes_back_and_forth(self) -> None:
        """Whoever was not the last to write reads the bytes again (D11)."""
        upload = self.now(self.first.uploads.start(NAME))
        turns = itertools.cycle([self.first, self.second, self.second, self.first])
        for number in range(6):
            offset = self.now(next(turns).uploads.append(NAME, upload, Parts(b"%d" % number), Chunk(number)))
            self.assertEqual(offset, number + 1)
        self.now(self.second.uploads.finish(NAME, upload, Digest.of(b"012345"), Parts(), Chunk()))
        self.assertEqual(self.now(self.first.blobs.size(NAME, Digest.of(b"012345"))), 6)

    def test_as_many_as_may_be(self) -> None:
        """Sessions are counted in all processes, and end in any."""
        upload = self.now(self.first.uploads.start(NAME))
        self.now(self.second.uploads.start(NAME))
        for registry in (self.first, self.second):
            self.fails(registry.uploads.start(NAME), TooManyUploads)
        self.now(self.second.uploads.cancel(NAME, upload))
        self.now(self.first.uploads.start(NAME))

    def test_purge_leaves_what_is_written_to(self) -> None:
        """D12, by a process that is not the one that writes."""
        purging = Registry(
            self.owner, Direct(), self.clock, Settings(upload_purge_age=60.0), self.clock.seconds,
            Shared(self.parent, self.parent.uploads),
        )
        upload, left = (self.now(self.first.uploads.start(NAME)) for _ in range(2))
        held = Held()
        writing = Deferred.fromCoroutine(self.first.uploads.append(NAME, upload, held, Chunk()))
        for path in self.root.rglob("*"):
            os.utime(path, (0, 0))
        purging.start()
        self.addCleanup(purging.stop)
        self.fails(self.second.uploads.offset(NAME, left), UploadUnknown)
        self.assertEqual(self.parent.uploads.total(), 1)
        held.give(b"abc")
        held.give()
        self.assertEqual(self.successResultOf(writing), 3)

    def test_directory_of_another_process(self) -> None:
        """C1: what is put into a directory that another one has not made durable yet sees to it itself."""
        path = self.root / "a" / "b"
        path.mkdir(parents=True)
        self.boards[1].making.begin("a/b")
        self.calls.clear()
        self.successResultOf(self.stores[1].put("a/b/c", b"x"))
        parent = [subject for call, subject in self.calls if call == "open" and subject == "a"]
        self.assertEqual(parent, ["a"], "the directory that has the entry is opened, to be synced")
        self.assertEqual([call for call, _ in self.calls].count("fsync"), 3)
        self.boards[1].making.end("a/b")
        self.calls.clear()
        self.successResultOf(self.stores[1].put("a/b/c", b"x"))
        self.assertEqual([call for call, _ in self.calls].count("fsync"), 2)

    def test_replaced_by_another_process(self) -> None:
        """C10: what was found whole is looked at again when it is another file."""
        self.successResultOf(self.stores[0].put("a", b"old"))
        self.assertEqual(self.successResultOf(self.stores[1].get("a")), b"old")
        self.successResultOf(self.stores[0].put("a", b"newer"))
        self.assertEqual(self.successResultOf(self.stores[1].get("a")), b"newer")
        (self.root / "a").write_bytes(b"cut")
        self.failureResultOf(self.stores[1].get("a"), Damaged)
        self.successResultOf(self.stores[0].delete("a"))
        self.failureResultOf(self.stores[1].get("a"), NotFound)

    def test_manifest_deleted_by_another_process(self) -> None:
        """C10: the bytes may be remembered, whether the repository holds them is asked."""
        content = b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}'
        digest = Digest.of(content)
        for registry in (self.first, self.second):
            self.now(registry.manifests.put(NAME, Tag("latest"), content, None))
            self.assertEqual(self.now(registry.manifests.get(NAME, digest)).content, content)
        self.now(self.first.manifests.delete(NAME, digest))
        for reference in (digest, Tag("latest")):
            self.fails(self.second.manifests.get(NAME, reference), ManifestUnknown)

    def test_after_a_worker(self) -> None:
        """What one that was killed had on its way goes, and nothing of the others."""
        for name in ("4711-0", "4711-12", "47110-1", f"{os.getpid()}-1"):
            (self.root / ".tmp" / name).write_bytes(b"x")
        self.successResultOf(self.owner.settle(4711))
        self.assertEqual(sorted(os.listdir(self.root / ".tmp")), sorted(["47110-1", f"{os.getpid()}-1"]))
