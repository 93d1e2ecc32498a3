"""What is the local store's own: faults of the disk, damage, links, the lock, threads (C3-C7, C11, T7, E9)."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.threadable import isInIOThread
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from docker_registry.deferreds import outcomes
from docker_registry.digest import Digest
from docker_registry.errors import Damaged, NotFound, StorageError, StorageFailed, StorageFull
from docker_registry.storage.interface import ICopying
from docker_registry.storage.local import LocalStorage
from docker_registry.storage.root import FORMAT, QUARANTINE, TMP
from docker_registry.storage.system import System
from docker_registry.test.crash import DyingSystem
from docker_registry.test.reactor_case import ReactorCase
from docker_registry.test.registry_case import Direct
from docker_registry.threads import Threads

LARGE = 300_000
"""Bytes of an object that is not read when it is opened."""


class FaultySystem(System):
    """Raises ``error`` in place of call number ``last``; 0 is never."""

    def __init__(self, error: int, last: int = 0, only: str = "") -> None:
        super().__init__(before=self._count)
        self.calls = 0
        self.last = last
        self._error = error
        self._only = only

    def _count(self, call: str, subject: str) -> None:
        if not self._only or call == self._only:
            self.calls += 1
            if self.calls == self.last:
                raise OSError(self._error, os.strerror(self._error), subject)


class LocalCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(int(time.time()))
        self.root = Path(self.mktemp()).absolute()
        self.storage = self.open()

    def open(self, system: System | None = None, cached: bool = True) -> LocalStorage:
        storage = LocalStorage(self.root, Direct(), self.clock, system=system, cached=cached)
        self.successResultOf(storage.start())
        self.addCleanup(storage.close)
        return storage

    def now(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def path(self, key: str) -> Path:
        return self.root / key


class CopyingTests(LocalCase):
    """A writer that goes easy on the disk and on the processors; the bytes are the same."""

    PART = b"x" * (3 << 20)

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[str] = []
        self.storage.close()
        self.storage = self.open(System(before=lambda call, _: self.calls.append(call)))
        self.writer: Any = self.successResultOf(self.storage.create("a"))

    def writebacks(self) -> int:
        return self.calls.count("writeback")

    def test_interface(self) -> None:
        verifyObject(ICopying, self.writer)
        self.assertEqual((self.writer.is_spare, self.writer.in_turn), (False, False))

    def test_spare(self) -> None:
        """The disk begins with it when it is no spare any more; what was synced is durable in any case."""
        self.writer.is_spare = True
        for _ in range(4):
            self.successResultOf(self.writer.write([self.PART]))
        self.assertEqual(self.writebacks(), 0)
        self.writer.is_spare = False
        self.successResultOf(self.writer.write([self.PART]))
        self.assertEqual(self.writebacks(), 1)
        self.writer.is_spare = True
        before = self.calls.count("fsync")
        self.assertEqual(self.successResultOf(self.writer.sync()), 5 * len(self.PART))
        self.assertGreater(self.calls.count("fsync"), before)
        self.successResultOf(self.writer.commit("b"))
        self.assertEqual(self.path("b").read_bytes(), 5 * self.PART)

    def test_in_turn(self) -> None:
        """All in one call, and not each hash in its own."""
        calls: list[Any] = []
        runner: Any = self.storage._runner
        slow = runner.slow

        def count(*call: Any) -> Any:
            calls.append(call)
            return slow(*call)

        self.patch(runner, "slow", count)
        for in_turn, hops in ((False, 3), (True, 1)):
            seen = [hashlib.sha256(), hashlib.sha512()]
            self.writer.in_turn = in_turn
            self.successResultOf(self.writer.write([self.PART], seen))
            self.assertEqual(len(calls), hops)
            self.assertEqual(seen[0].digest(), hashlib.sha256(self.PART).digest())
            self.assertEqual(seen[1].digest(), hashlib.sha512(self.PART).digest())
            calls.clear()
        self.successResultOf(self.writer.commit("b"))
        self.assertEqual(self.path("b").read_bytes(), 2 * self.PART)


class FaultTests(LocalCase):
    """Each call fails once: what was there is there, or what is new; never a part, nothing listed or left open."""

    async def put(self, storage: LocalStorage) -> None:
        await storage.put("a/b/c", b"new")

    async def begin(self, storage: LocalStorage) -> None:
        await storage.put("a/b/c", b"")

    async def commit(self, storage: LocalStorage) -> None:
        writer = await storage.create("u/1/data")
        try:
            await writer.write([b"n", b"e"])
            await writer.sync()
            await writer.close()
            writer = await storage.resume("u/1/data", 1)
            await writer.write([b"ew"])
            await writer.commit("a/b/c")
        finally:
            await writer.abandon()

    async def delete(self, storage: LocalStorage) -> None:
        await storage.delete("a/b/c")

    async def delete_tree(self, storage: LocalStorage) -> None:
        await storage.delete_tree("a")

    async def quarantine(self, storage: LocalStorage) -> None:
        await storage.quarantine("a/b/c")

    async def read(self, storage: LocalStorage) -> None:
        await storage.stat("a/b/c")
        await storage.get("a/b/c")
        reader = await storage.open("a/b/c")
        await reader.read(10)
        reader.close()
        await storage.list("a/b")
        await storage.touch("a/b/c")

    def test_every_call(self) -> None:
        for error in (errno.EIO, errno.ENOSPC, errno.EMFILE):
            for name in ("put", "begin", "commit", "delete", "delete_tree", "quarantine", "read"):
                for old in (b"old", None):
                    self.assertHarmless(error, name, old)

    def assertHarmless(self, error: int, name: str, old: bytes | None) -> None:
        system = FaultySystem(error)
        self.successResultOf(self.storage.close())
        storage = self.open(system, cached=False)
        number = 0
        while True:
            number += 1
            system.last = 0
            self.successResultOf(storage.delete_tree("a"))
            self.successResultOf(storage.delete_tree("u"))
            if old is not None:
                self.successResultOf(storage.put("a/b/c", old))
            descriptors = len(os.listdir("/proc/self/fd"))
            system.calls, system.last = 0, number
            running = Deferred.fromCoroutine(getattr(self, name)(storage))
            reached = system.calls >= number
            system.last = 0
            label = (errno.errorcode[error], name, old, number)
            outcome: list[Any] = []
            running.addBoth(outcome.append)
            self.assertEqual(len(outcome), 1, label)
            if outcome[0] is not None and reached:
                self.assertTrue(outcome[0].check(StorageError), (label, outcome[0]))
            if error == errno.ENOSPC and reached and outcome[0] is not None and name in ("put", "begin", "commit"):
                self.assertTrue(outcome[0].check(StorageFull), label)
            self.assertEqual(len(os.listdir("/proc/self/fd")), descriptors, label)
            found: list[Any] = []
            storage.get("a/b/c").addBoth(found.append)
            if found[0] not in (b"old", b"" if name == "begin" else b"new"):
                found[0].trap(NotFound)
                self.assertTrue(old is None or name in ("delete", "delete_tree", "quarantine"), label)
            entries = self.successResultOf(storage.list("a/b"))
            self.assertLessEqual({entry.name for entry in entries}, {"c"}, label)
            if not reached:
                break
        self.assertGreater(number, 1)
        self.successResultOf(storage.close())

    def test_what_was_synced_survives_a_power_cut(self) -> None:
        """The bytes, and the name that they are found by (C1)."""
        self.successResultOf(self.storage.close())
        for begun in (False, True):
            system = DyingSystem(Path(self.mktemp()))
            storage = self.open(system)
            if begun:
                self.successResultOf(self.successResultOf(storage.create("u/1/data")).close())
            writer = self.successResultOf(storage.create("u/1/data"))
            self.successResultOf(writer.write([b"abc"]))
            self.assertEqual(self.successResultOf(writer.sync()), 3)
            self.successResultOf(storage.close())
            system.cut_power()
            self.assertEqual(self.path("u/1/data").read_bytes(), b"abc")
            self.path("u/1/data").unlink()

    def test_directories_are_made_before_the_file_is_synced(self) -> None:
        """So that the disk writes its journal once for both; nothing is in its place before all of that is durable."""
        calls: list[str] = []
        self.successResultOf(self.storage.close())
        storage = self.open(System(lambda call, _: calls.append(call)))
        writer = self.successResultOf(storage.create("u/1/data"))
        for work in (lambda: storage.put("a/b/c", b"x"), lambda: writer.commit("d/e/f")):
            calls.clear()
            self.successResultOf(work())
            steps = [call for call in calls if call in ("mkdir", "fsync", "rename")]
            self.assertEqual(steps, ["mkdir"] * 2 + ["fsync"] * 3 + ["rename", "fsync"])

    def test_begun_again_after_a_commit_that_failed(self) -> None:
        """The length that was noted for the commit does not judge what is written instead."""
        self.successResultOf(self.storage.close())
        storage = self.open(FaultySystem(errno.ENOSPC, last=1, only="rename"))
        writer = self.successResultOf(storage.create("u/1/data"))
        self.successResultOf(writer.write([b"whole"]))
        self.failureResultOf(writer.commit("a/b/c"), StorageFull)
        self.successResultOf(writer.close())
        writer = self.successResultOf(storage.create("u/1/data"))
        self.successResultOf(writer.write([b"wh"]))
        self.successResultOf(writer.sync())
        self.successResultOf(writer.close())
        self.assertEqual(self.successResultOf(storage.stat("u/1/data")).size, 2)

    def test_no_durability_is_claimed(self) -> None:
        """Whatever fsync fails, the caller hears of it (C5)."""
        self.successResultOf(self.storage.close())
        for name in ("put", "begin", "commit"):
            system = FaultySystem(errno.EIO, only="fsync")
            storage = self.open(system)
            for number in range(1, 100):
                self.successResultOf(storage.delete_tree("a"))
                system.calls, system.last = 0, number
                running = Deferred.fromCoroutine(getattr(self, name)(storage))
                if system.calls < number:
                    self.successResultOf(running)
                    break
                self.failureResultOf(running, StorageFailed)
            self.assertGreater(number, 3 if name == "begin" else 4)
            self.successResultOf(storage.close())


class DamageTests(LocalCase):
    """C7: what is not as long as it was committed is not served, and pushing it again heals it."""

    DAMAGES: dict[str, Callable[[Path], object]] = {
        "cut to nothing": lambda path: os.truncate(path, 0),
        "cut by one byte": lambda path: os.truncate(path, path.stat().st_size - 1),
        "one byte more": lambda path: path.open("ab").write(b"x"),
        "a directory": lambda path: _put_directory(path),
    }

    def test_damage(self) -> None:
        for size in (10, LARGE):
            for name, damage in self.DAMAGES.items():
                for reopened in (False, True):
                    for cached in (False, True):
                        self.assertHeals(size, name, damage, reopened, cached)

    def assertHeals(self, size: int, name: str, damage: Callable[[Path], object], reopened: bool, cached: bool) -> None:
        label = (size, name, reopened, cached)
        content = b"x" * size
        self.successResultOf(self.storage.put("b/data", content))
        self.successResultOf(self.storage.stat("b/data"))
        damage(self.path("b/data"))
        if reopened:
            self.successResultOf(self.storage.close())
            self.storage = self.open(cached=cached)
        for attempt in (self.storage.stat, self.storage.open, self.storage.get):
            self.failureResultOf(attempt("b/data"), Damaged)
        self.successResultOf(self.storage.put("b/data", content))
        self.assertEqual(self.successResultOf(self.storage.get("b/data")), content, label)

    def test_commit_over_a_directory(self) -> None:
        (self.path("b/data") / "in").mkdir(parents=True)

        async def work() -> None:
            writer = await self.storage.create("u/data")
            await writer.write([b"abc"])
            await writer.commit("b/data")

        self.now(work())
        self.assertEqual(self.successResultOf(self.storage.get("b/data")), b"abc")
        self.assertEqual(len(list((self.root / QUARANTINE).iterdir())), 1)

    def test_removed(self) -> None:
        self.successResultOf(self.storage.put("b/data", b"x"))
        self.path("b/data").unlink()
        self.failureResultOf(self.storage.get("b/data"), NotFound)

    def test_files_of_others_are_not_judged(self) -> None:
        """There is no committed length to compare with."""
        self.path("b").mkdir()
        self.path("b/data").write_bytes(b"abc")
        self.assertEqual(self.successResultOf(self.storage.get("b/data")), b"abc")

    def test_a_link_that_another_registry_has_written_over(self) -> None:
        """In place, so that the length of what was there stays noted; a digest tells by itself that it is whole."""
        long, short = (str(Digest.of(b"x", algorithm)).encode() for algorithm in ("sha512", "sha256"))
        for before, after in ((long, short), (short, long)):
            self.successResultOf(self.storage.put("t/link", before))
            self.path("t/link").write_bytes(after)
            self.assertEqual(self.successResultOf(self.storage.get("t/link")), after)
            self.assertEqual(self.successResultOf(self.storage.stat("t/link")).size, len(after))
            for cut in (after[:-1], after + b"x", b""):
                self.path("t/link").write_bytes(cut)
                self.failureResultOf(self.storage.get("t/link"), Damaged)

    def test_what_was_cut_to_a_digest_is_no_link(self) -> None:
        """A blob may well begin with one."""
        digest = str(Digest.of(b"x")).encode()
        self.successResultOf(self.storage.put("b/data", digest + b" and more"))
        self.path("b/data").write_bytes(digest)
        self.failureResultOf(self.storage.stat("b/data"), Damaged)

    def test_ends_early_while_it_is_read(self) -> None:
        self.successResultOf(self.storage.put("b/data", b"x" * LARGE))
        reader = self.successResultOf(self.storage.open("b/data"))
        os.truncate(self.path("b/data"), 10)
        self.successResultOf(reader.read(100))
        self.failureResultOf(reader.read(100), Damaged)
        reader.close()

    def test_a_pipe_in_an_objects_place(self) -> None:
        """Nobody waits for its other end."""
        self.path("b").mkdir()
        os.mkfifo(self.path("b/data"))
        self.failureResultOf(self.storage.get("b/data"), Damaged)

    def test_kept_for_the_operator(self) -> None:
        self.successResultOf(self.storage.put("b/data", b"evidence"))
        self.successResultOf(self.storage.quarantine("b/data"))
        (kept,) = (self.root / QUARANTINE).iterdir()
        self.assertEqual(kept.read_bytes(), b"evidence")
        self.assertTrue(kept.name.endswith("b%2Fdata"))


class EscapeTests(LocalCase):
    """T7: a link that leads out of the root is not followed, to read, to write or to remove."""

    beneath: bool | None = None

    def setUp(self) -> None:
        super().setUp()
        self.successResultOf(self.storage.close())
        self.storage = self.open(System(beneath=self.beneath))
        self.outside = Path(self.mktemp()).absolute()
        self.outside.mkdir()
        (self.outside / "secret").write_bytes(b"secret")
        (self.root / "out").symlink_to(self.outside)
        (self.root / "up").symlink_to("../" + self.outside.name)
        (self.root / "file").symlink_to(self.outside / "secret")

    def test_nothing_leaves(self) -> None:
        for key in ("out/secret", "up/secret", "file"):
            for attempt in (
                self.storage.get(key), self.storage.stat(key), self.storage.open(key), self.storage.touch(key),
                self.storage.resume(key, 0),
            ):
                self.failureResultOf(attempt, StorageError)
        for key in ("out", "up"):
            for attempt in (
                self.storage.put(f"{key}/new", b"x"), self.storage.create(f"{key}/new"),
                self.storage.delete(f"{key}/secret"), self.storage.quarantine(f"{key}/secret"),
            ):
                self.failureResultOf(attempt, StorageError)
            self.assertEqual(self.successResultOf(self.storage.list(key)), [])
            self.successResultOf(self.storage.delete_tree(f"{key}/secret").addErrback(lambda f: f.trap(StorageError)))
            self.successResultOf(self.storage.delete_tree(key))
        self.assertEqual([entry.name for entry in self.outside.iterdir()], ["secret"])
        self.assertEqual((self.outside / "secret").read_bytes(), b"secret")

    def test_no_key(self) -> None:
        for key in ("", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "a\0b", "a\nb", ".", "a/.", "a\x7f", "\udc80"):
            for attempt in (self.storage.get, self.storage.delete, self.storage.delete_tree, self.storage.create):
                self.failureResultOf(attempt(key), StorageError)


class EscapeByPartsTests(EscapeTests):
    beneath = False


class StartTests(LocalCase):
    def refused(self, root: Path) -> str:
        storage = LocalStorage(root, Direct(), self.clock)
        return str(self.failureResultOf(storage.start(), StorageError).value)

    def test_second_registry(self) -> None:
        """It names the process that has the store (C11)."""
        self.assertIn(f"process {os.getpid()}", self.refused(self.root))

    def test_the_lock_of_a_killed_process_does_not_block(self) -> None:
        self.successResultOf(self.storage.close())
        program = (
            "import sys, time; from pathlib import Path; from twisted.internet.task import Clock\n"
            "from docker_registry.storage.local import LocalStorage\n"
            "from docker_registry.test.registry_case import Direct\n"
            "storage = LocalStorage(Path(sys.argv[1]), Direct(), Clock()); storage.start(); print('up', flush=True)\n"
            "sys.stdin.read()\n"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", program, str(self.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert other.stdout is not None
        assert other.stdin is not None
        self.assertEqual(other.stdout.readline(), b"up\n")
        self.assertIn(f"process {other.pid}", self.refused(self.root))
        other.send_signal(signal.SIGKILL)
        other.wait(10)
        other.stdout.close()
        other.stdin.close()
        self.storage = self.open()

    def test_newer_format(self) -> None:
        self.successResultOf(self.storage.close())
        for mark in (str(FORMAT + 1), "x"):
            (self.root / ".format").write_text(mark)
            self.assertIn("format", self.refused(self.root))

    def test_unusable(self) -> None:
        file = Path(self.mktemp())
        file.write_bytes(b"")
        for root in (file, file / "below", Path("/proc/none")):
            self.assertIn("cannot be used", self.refused(root))

    def test_left_over_files_go(self) -> None:
        self.successResultOf(self.storage.close())
        (self.root / TMP / "old").write_bytes(b"x")
        (self.root / TMP / "tree" / "in").mkdir(parents=True)
        self.open()
        self.assertEqual(list((self.root / TMP).iterdir()), [])

    def test_modes(self) -> None:
        """Nobody else reads images."""
        self.successResultOf(self.storage.put("a/b", b"x"))
        self.assertEqual(self.path("a/b").stat().st_mode & 0o007, 0)
        self.assertEqual(self.path("a").stat().st_mode & 0o007, 0)


class ThreadTests(ReactorCase):
    """E9: with the daemon's threads no call that may wait is made on the reactor's."""

    async def test_structure(self) -> None:
        from twisted.internet import reactor

        calls: list[str] = []

        def watch(call: str, subject: str) -> None:
            calls.append(call)
            if isInIOThread():
                raise AssertionError(f"{call} {subject} on the reactor's thread")

        pool = ThreadPool(0, 4)
        pool.start()
        storage = LocalStorage(Path(self.mktemp()), Threads(reactor, pool), reactor, system=System(before=watch))
        try:
            await storage.start()
            for size in (100, LARGE):
                await storage.put("a/b", b"x" * size)
                for _ in range(2):
                    await storage.stat("a/b")
                    await storage.get("a/b")
                    reader = await storage.open("a/b")
                    while await reader.read(100_000):
                        continue
                    reader.close()
                await storage.touch("a/b")
                await storage.list("a")
                writer = await storage.create("u/data")
                seen = hashlib.sha256()
                await writer.write([b"x" * 100] * (size // 100), [seen])
                self.assertEqual(seen.digest(), hashlib.sha256(b"x" * (size // 100 * 100)).digest())
                await writer.sync()
                await writer.close()
                writer = await storage.resume("u/data", 5)
                await writer.commit("a/c")
                await storage.quarantine("a/c")
                await (await storage.create("u/data")).abandon()
                await storage.delete("a/b")
                await storage.delete_tree("a")
        finally:
            await storage.close()
            pool.stop()
        self.assertGreater(len(calls), 50)

    async def test_full_while_another_thread_hashes(self) -> None:
        """What is written and hashed at the same time fails when both are done."""
        from twisted.internet import reactor

        system = FaultySystem(errno.ENOSPC, only="write")
        pool = ThreadPool(0, 4)
        pool.start()
        storage = LocalStorage(Path(self.mktemp()), Threads(reactor, pool), reactor, system=system)
        try:
            await storage.start()
            writer = await storage.create("u/data")
            system.calls, system.last = 0, 1
            seen = hashlib.sha256()
            with self.assertRaises(StorageFull):
                await writer.write([b"x" * LARGE], [seen])
            self.assertEqual(seen.digest(), hashlib.sha256(b"x" * LARGE).digest())
            await writer.abandon()
        finally:
            await storage.close()
            pool.stop()

    async def test_what_nobody_was_told_of_is_closed(self) -> None:
        """A file that was at hand, for a client that went while the disk was asked for something else."""
        root = Path(self.mktemp()).absolute()
        runner = Direct()
        storage = LocalStorage(root, runner, Clock(), sync=False)
        await storage.start()
        self.addCleanup(storage.close)
        for key in ("blob", "link"):
            await storage.put(key, b"x" * LARGE)
        (root / "link").touch()                     # to be looked at again
        self.patch(runner, "quick", lambda *call: Deferred())
        both = Deferred.fromCoroutine(outcomes(storage.stat("link"), storage.open("blob")))
        self.assertNoResult(both)
        both.addErrback(lambda failure: None)
        both.cancel()
        del both
        self.assertEqual([fd for fd in os.listdir("/proc/self/fd") if _leads_to(fd, root / "blob")], [])

    async def test_dropped_results_are_closed(self) -> None:
        """A reader that arrives after its caller was cancelled leaves nothing open."""
        from twisted.internet import reactor

        pool = ThreadPool(0, 4)
        pool.start()
        root = Path(self.mktemp()).absolute()
        storage = LocalStorage(root, Threads(reactor, pool), reactor, cached=False)
        try:
            await storage.start()
            await storage.put("a", b"x" * LARGE)
            opening = storage.open("a")
            opening.addErrback(lambda failure: None)
            opening.cancel()
            await storage.stat("a")
            self.assertEqual([fd for fd in os.listdir("/proc/self/fd") if _leads_to(fd, root / "a")], [])
        finally:
            await storage.close()
            pool.stop()


def _put_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "in").write_bytes(b"x")


def _leads_to(fd: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == str(path)
    except OSError:
        return False
