"""Upload sessions (D1-D7, D11-D13)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, execute, fail
from zope.interface import alsoProvides

from docker_registry.deferreds import deferred
from docker_registry.digest import Digest
from docker_registry.errors import (
    BlobUnknown,
    DigestInvalid,
    DigestMismatch,
    NotFound,
    RangeInvalid,
    SizeInvalid,
    StorageFailed,
    StorageFull,
    StoreUnavailable,
    TooManyUploads,
    UploadUnknown,
)
from docker_registry.names import UploadId
from docker_registry.registry import arriving
from docker_registry.registry.registry import Registry
from docker_registry.registry.settings import Settings
from docker_registry.registry.uploads import Chunk
from docker_registry.storage import layout
from docker_registry.storage.interface import IDistant
from docker_registry.storage.local import LocalStorage
from docker_registry.test.registry_case import OTHER, REPOSITORY, Direct, Held, Parts, RegistryCase


class Gone(Exception):
    """The client went away."""


class UploadTests(RegistryCase):
    def start(self) -> UploadId:
        return self.now(self.registry.uploads.start(REPOSITORY))

    def append(self, upload: UploadId, *parts: bytes, chunk: Chunk | None = None) -> int:
        return self.now(self.registry.uploads.append(REPOSITORY, upload, Parts(*parts), chunk or Chunk()))

    def finish(self, upload: UploadId, content: bytes, *parts: bytes, algorithm: str = "sha256") -> Digest:
        digest = Digest.of(content, algorithm)
        self.now(self.registry.uploads.finish(REPOSITORY, upload, digest, Parts(*parts), Chunk()))
        return digest

    def read(self, digest: Digest) -> bytes:
        reader = self.now(self.registry.blobs.open(REPOSITORY, digest))
        content = b""
        while piece := self.successResultOf(reader.read(1 << 20)):
            content += piece
        reader.close()
        return content

    def offset(self, upload: UploadId) -> int:
        return self.now(self.registry.uploads.offset(REPOSITORY, upload))

    def assertGone(self, upload: UploadId) -> None:
        self.fails(self.registry.uploads.offset(REPOSITORY, upload), UploadUnknown)
        for key in (layout.upload_state(REPOSITORY, upload), layout.upload_data(REPOSITORY, upload)):
            self.failureResultOf(self.storage.stat(key), NotFound)

    def test_every_way_to_push(self) -> None:
        """Streamed, in chunks, whole in the last request, whole in the first; each for each algorithm and size (D7)."""
        for algorithm in ("sha256", "sha512"):
            for content in (b"", b"x", b"hello world" * 1000):
                half = len(content) // 2
                streamed = self.start()
                self.append(streamed, content[:half], content[half:])
                chunked = self.start()
                self.append(chunked, content[:half])
                self.append(chunked, content[half:], chunk=Chunk(half, len(content) - half))
                last = self.start()
                self.append(last, content[:half])
                for upload, rest in ((streamed, b""), (chunked, b""), (last, content[half:]), (self.start(), content)):
                    digest = self.finish(upload, content, rest, algorithm=algorithm)
                    self.assertEqual(self.read(digest), content)
                    self.assertGone(upload)
                    self.successResultOf(self.storage.delete_tree(layout.blob(digest)))
                self.now(self.registry.uploads.take(REPOSITORY, digest, Parts(content), Chunk()))
                self.assertEqual(self.read(digest), content)

    def test_announced_algorithm(self) -> None:
        upload = self.now(self.registry.uploads.start(REPOSITORY, "sha512"))
        self.append(upload, b"abc")
        self.assertEqual(self.read(self.finish(upload, b"abc", algorithm="sha512")), b"abc")

    def test_unsupported_algorithm(self) -> None:
        self.fails(self.registry.uploads.start(REPOSITORY, "md5"), DigestInvalid)

    def test_offset_is_what_was_stored(self) -> None:
        upload = self.start()
        self.assertEqual(self.offset(upload), 0)
        self.assertEqual(self.append(upload, b"abc"), 3)
        self.assertEqual(self.offset(upload), 3)

    def test_chunk_out_of_order(self) -> None:
        """Refused with the truth, and nothing changes (D2)."""
        upload = self.start()
        self.append(upload, b"abc")
        for first in (0, 2, 4, 10**17):
            error = self.fails(
                self.registry.uploads.append(REPOSITORY, upload, Parts(b"def"), Chunk(first, 3)), RangeInvalid
            )
            self.assertEqual(error.offset, 3)
            finish = self.registry.uploads.finish(REPOSITORY, upload, Digest.of(b"def"), Parts(b"def"), Chunk(first, 3))
            self.assertEqual(self.fails(finish, RangeInvalid).offset, 3)
        self.assertEqual(self.read(self.finish(upload, b"abcdef", b"def")), b"abcdef")

    def test_one_byte_taken_for_none(self) -> None:
        """A session of one byte and one of none answer the same range, so a first chunk is taken at both (D1)."""
        upload = self.start()
        self.append(upload, b"x")
        self.append(upload, b"abc", chunk=Chunk(0, 3))
        self.assertEqual(self.read(self.finish(upload, b"abc")), b"abc")

    def test_chunk_of_another_length(self) -> None:
        """Nothing of it is kept (D2)."""
        upload = self.start()
        self.append(upload, b"abc")
        for chunk in (Chunk(3, 3), Chunk(3, 5), Chunk(3, 3, sent=4), Chunk(None, 5)):
            self.fails(self.registry.uploads.append(REPOSITORY, upload, Parts(b"de", b"fg"), chunk), SizeInvalid)
            self.assertEqual(self.offset(upload), 3)
        self.assertEqual(self.read(self.finish(upload, b"abcdef", b"def")), b"abcdef")

    def test_two_writers(self) -> None:
        """One is served; the other learns where the session stands (D3)."""
        upload = self.start()
        held = Held()
        first = Deferred.fromCoroutine(self.registry.uploads.append(REPOSITORY, upload, held, Chunk()))
        held.give(b"aaa")
        for attempt in (
            self.registry.uploads.append(REPOSITORY, upload, Parts(b"bbb"), Chunk()),
            self.registry.uploads.finish(REPOSITORY, upload, Digest.of(b"bbb"), Parts(b"bbb"), Chunk()),
            self.registry.uploads.cancel(REPOSITORY, upload),
        ):
            self.fails(attempt, RangeInvalid)
        held.give()
        self.assertEqual(self.successResultOf(first), 3)
        self.assertEqual(self.read(self.finish(upload, b"aaa")), b"aaa")

    def test_same_blob_at_once(self) -> None:
        """Both are accepted, and nothing of either session stays (D4)."""
        first, second = self.start(), self.start()
        self.append(first, b"abc")
        self.append(second, b"abc")
        self.assertEqual(self.finish(first, b"abc"), self.finish(second, b"abc"))
        self.assertGone(first)
        self.assertGone(second)

    def test_client_goes(self) -> None:
        """What came is kept, and no blob appears (D5)."""
        upload = self.start()
        self.fails(self.registry.uploads.append(REPOSITORY, upload, Parts(b"abc", error=Gone()), Chunk()), Gone)
        self.assertEqual(self.offset(upload), 3)
        self.fails(
            self.registry.uploads.finish(REPOSITORY, upload, Digest.of(b"abcdef"), Parts(), Chunk()), DigestMismatch
        )
        self.fails(self.registry.blobs.size(REPOSITORY, Digest.of(b"abcdef")), BlobUnknown)
        self.assertEqual(self.read(self.finish(upload, b"abcdef", b"def")), b"abcdef")

    def test_handler_cancelled(self) -> None:
        """The client goes while bytes are awaited: what came is kept all the same (E6)."""
        upload = self.start()
        held = Held()
        running = Deferred.fromCoroutine(self.registry.uploads.append(REPOSITORY, upload, held, Chunk()))
        held.give(b"abc")
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertNoResult(self.registry.idle())
        held.fail(Gone())
        self.successResultOf(self.registry.idle())
        self.flushLoggedErrors(Gone)
        self.assertEqual(self.offset(upload), 3)

    def test_wrong_digest_keeps_the_session(self) -> None:
        """D6."""
        upload = self.start()
        wrong = Digest.of(b"abd")
        for algorithm in ("sha256", "sha512"):
            source = Parts(b"abc") if algorithm == "sha256" else Parts()
            named = Digest.of(b"abd", algorithm)
            attempt = self.registry.uploads.finish(REPOSITORY, upload, named, source, Chunk())
            self.fails(attempt, DigestMismatch)
        self.assertEqual(self.offset(upload), 3)
        self.fails(self.registry.blobs.size(REPOSITORY, wrong), BlobUnknown)
        self.assertEqual(self.read(self.finish(upload, b"abc")), b"abc")

    def test_wrong_digest_without_session(self) -> None:
        """Nothing is left of it."""
        self.fails(
            self.registry.uploads.take(REPOSITORY, Digest.of(b"x"), Parts(b"y"), Chunk()), DigestMismatch
        )
        self.assertEqual(self.successResultOf(self.storage.list(layout.uploads(REPOSITORY))), [])

    def test_another_process_goes_on(self) -> None:
        """A restart loses the hash, not the session (D11)."""
        for algorithm in ("sha256", "sha512"):
            for rest in (b"", b"def"):
                upload = self.start()
                self.append(upload, b"abc")
                self.registry = self.open()
                self.assertEqual(self.offset(upload), 3)
                digest = self.finish(upload, b"abc" + rest, rest, algorithm=algorithm)
                self.assertEqual(self.read(digest), b"abc" + rest)

    def test_bytes_beyond_the_state_are_not_counted(self) -> None:
        """A crash in the middle of a chunk leaves bytes that nobody was told about (B6)."""
        self.patch(arriving, "FEW", 0)
        upload = self.start()
        self.append(upload, b"abc")
        writer = self.successResultOf(self.storage.resume(layout.upload_data(REPOSITORY, upload), 3))
        self.successResultOf(writer.write([b"garbage"]))
        self.successResultOf(writer.close())
        self.registry = self.open()
        self.assertEqual(self.offset(upload), 3)
        self.assertEqual(self.read(self.finish(upload, b"abcdef", b"def")), b"abcdef")

    def test_crash_after_publishing(self) -> None:
        """The bytes have moved and the session is still there: it stands at the beginning, and can be pushed again."""
        self.patch(arriving, "FEW", 0)
        upload = self.start()
        self.append(upload, b"abc")
        writer = self.successResultOf(self.storage.resume(layout.upload_data(REPOSITORY, upload), 3))
        self.successResultOf(writer.commit(layout.blob(Digest.of(b"abc"))))
        self.registry = self.open()
        self.assertEqual(self.offset(upload), 0)
        self.assertEqual(self.read(self.finish(upload, b"abc", b"abc")), b"abc")

    def test_unreadable_state(self) -> None:
        half = b'{"offset": 1, "digest": "md5:x", "active": 0}'
        torn = b'{"offset": 2, "digest": "%b", "active": 0}\nx' % str(Digest.of(b"xy")).encode()
        line, _, _ = torn.partition(b"\n")
        beyond = [line.replace(b"2", each, 1) for each in (b"-1", b"1e999", b"[" * 100_000)]
        for content in (b"{", b"[]", b'{"offset": "x"}', half, b"\xff", b"\n", torn, *beyond):
            upload = self.start()
            self.successResultOf(self.storage.put(layout.upload_state(REPOSITORY, upload), content))
            self.fails(self.registry.uploads.offset(REPOSITORY, upload), UploadUnknown)

    def test_belongs_to_one_repository(self) -> None:
        """T4: elsewhere it is as if it did not exist."""
        upload = self.start()
        for attempt in (
            self.registry.uploads.offset(OTHER, upload),
            self.registry.uploads.append(OTHER, upload, Parts(b"x"), Chunk()),
            self.registry.uploads.finish(OTHER, upload, Digest.of(b"x"), Parts(b"x"), Chunk()),
            self.registry.uploads.cancel(OTHER, upload),
            self.registry.uploads.offset(REPOSITORY, UploadId.new()),
        ):
            self.fails(attempt, UploadUnknown)
        self.assertEqual(self.offset(upload), 0)

    def test_cancel(self) -> None:
        upload = self.start()
        self.append(upload, b"abc")
        self.now(self.registry.uploads.cancel(REPOSITORY, upload))
        self.assertGone(upload)
        self.fails(self.registry.uploads.cancel(REPOSITORY, upload), UploadUnknown)

    def test_finished_is_gone(self) -> None:
        """D13: who repeats the last request is told so, and finds the blob."""
        upload = self.start()
        digest = self.finish(upload, b"abc", b"abc")
        self.fails(self.registry.uploads.finish(REPOSITORY, upload, digest, Parts(), Chunk()), UploadUnknown)
        self.assertEqual(self.now(self.registry.blobs.size(REPOSITORY, digest)), 3)


    def test_few_bytes_are_in_the_state(self) -> None:
        """And stay there until they are a blob, or more than a few."""
        for content, are_few in ((b"x" * arriving.FEW, True), (b"x" * (arriving.FEW + 1), False)):
            for parts in ((content,), (content[:100], content[100:])):
                upload = self.start()
                for part in parts:
                    self.append(upload, part)
                session = self.successResultOf(self.storage.list(layout.upload(REPOSITORY, upload)))
                self.assertEqual(session == [], are_few)
                self.registry = self.open()
                self.assertEqual(self.offset(upload), len(content))
                self.assertEqual(self.read(self.finish(upload, content)), content)
                self.assertGone(upload)

    def test_client_goes_while_few_bytes_become_more(self) -> None:
        """What was durable stays so, and what came as well."""
        upload = self.start()
        self.append(upload, b"abc")
        more = b"x" * arriving.FEW
        source = Parts(b"de", more, error=Gone())
        self.fails(self.registry.uploads.append(REPOSITORY, upload, source, Chunk()), Gone)
        self.registry = self.open()
        self.assertEqual(self.offset(upload), 5 + len(more))
        self.assertEqual(self.read(self.finish(upload, b"abcde" + more)), b"abcde" + more)

    def test_too_many_when_few_bytes_become_more(self) -> None:
        """Bytes that are refused do not take those with them that were acknowledged."""
        upload = self.start()
        self.append(upload, b"abc")
        more = b"x" * arriving.FEW
        self.fails(
            self.registry.uploads.append(REPOSITORY, upload, Parts(more, b"y"), Chunk(length=len(more))), SizeInvalid
        )
        self.assertEqual(self.offset(upload), 3)
        entries = self.successResultOf(self.storage.list(layout.upload(REPOSITORY, upload)))
        self.assertEqual(entries == [], arriving.FEW > 0)
        self.assertEqual(self.read(self.finish(upload, b"abcdef", b"def")), b"abcdef")


class WrittenTests(UploadTests):
    """The same where no bytes are so few that they are kept in the state."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(arriving, "FEW", 0)


class HopTests(RegistryCase):
    """A hop to a thread costs as much as a small answer: what is in memory is not asked of one."""

    def test_small_push(self) -> None:
        """As docker makes it: one hop to begin, one for the bytes, one for the blob, two for its link and the end.

        None to find the session again. Where the bytes are not few each step of theirs takes one.
        """
        few = self.hops()
        self.patch(arriving, "FEW", 0)
        for (counts, read), expected in ((few, (1, 1, 3)), (self.hops(), (1, 4, 5))):
            begin, bytes_, end = expected
            self.assertEqual(counts, [begin, begin + bytes_ + read, begin + bytes_ + end + 2 * read])

    def hops(self) -> tuple[list[int], int]:
        """After each request, of the second push; and those to read what is in memory."""
        hops: list[str] = []

        class Counting(Direct):
            def slow(self, function: Any, *args: Any, **kwargs: Any) -> Any:
                hops.append(function.__name__)
                return execute(function, *args, **kwargs)

            quick = slow

        storage = LocalStorage(Path(self.mktemp()), Counting(), self.clock)
        self.successResultOf(storage.start())
        self.addCleanup(storage.close)
        self.successResultOf(storage.put("probe", b"x"))
        hops.clear()
        self.successResultOf(storage.get("probe"))
        read = len(hops)                # none, where the kernel tells what it has in memory
        uploads = Registry(storage, Counting(), self.clock, self.settings, self.clock.seconds).uploads
        counts = []
        for content in (b"first", b"second"):
            hops.clear()
            upload = self.now(uploads.start(REPOSITORY))
            counts.append(len(hops))
            self.now(uploads.append(REPOSITORY, upload, Parts(content), Chunk()))
            counts.append(len(hops))
            self.now(uploads.finish(REPOSITORY, upload, Digest.of(content), Parts(), Chunk()))
            counts.append(len(hops))
        return counts[3:], read


class FullDiskTests(RegistryCase):
    """What the store refuses (C4, C5)."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(arriving, "FEW", 0)

    def failing(self, method: str, error: Exception) -> None:
        """Let the next call of a writer's ``method`` fail."""
        for opener in ("create", "resume"):
            self.patch(self.storage, opener, self._wrapped(getattr(self.storage, opener), method, error))

    def _wrapped(self, opener, method, error):
        def opened(*args):
            return opener(*args).addCallback(broken)

        def broken(writer):
            real = getattr(writer, method)
            attempts = iter([error])

            def once(*args):
                failure = next(attempts, None)
                return Deferred.fromCoroutine(fail(failure)) if failure else real(*args)

            setattr(writer, method, once)
            return writer

        async def fail(error):
            raise error

        return opened

    def test_full_disk_keeps_what_was_durable(self) -> None:
        for method in ("write", "sync"):
            upload = self.now(self.registry.uploads.start(REPOSITORY))
            self.now(self.registry.uploads.append(REPOSITORY, upload, Parts(b"abc"), Chunk()))
            self.failing(method, StorageFull())
            self.fails(self.registry.uploads.append(REPOSITORY, upload, Parts(b"def"), Chunk()), StorageFull)
            self._unpatch()
            self.assertEqual(self.now(self.registry.uploads.offset(REPOSITORY, upload)), 3)
            if method == "write":
                data = self.successResultOf(self.storage.stat(layout.upload_data(REPOSITORY, upload)))
                self.assertEqual(data.size, 3)      # the room of the rest is given back
            digest = Digest.of(b"abcdef")
            self.now(self.registry.uploads.finish(REPOSITORY, upload, digest, Parts(b"def"), Chunk()))
            self.assertEqual(self.now(self.registry.blobs.size(REPOSITORY, digest)), 6)

    def test_failed_sync_loses_the_session(self) -> None:
        """What the system dropped, a second fsync would not tell (C5)."""
        for method in ("sync", "commit"):
            upload = self.now(self.registry.uploads.start(REPOSITORY))
            self.now(self.registry.uploads.append(REPOSITORY, upload, Parts(b"abc"), Chunk()))
            self.failing(method, StorageFailed())
            digest = Digest.of(hashlib.sha256(method.encode()).digest())
            content = hashlib.sha256(method.encode()).digest()
            work = (
                self.registry.uploads.append(REPOSITORY, upload, Parts(b"def"), Chunk())
                if method == "sync"
                else self.registry.uploads.finish(REPOSITORY, upload, Digest.of(b"abc"), Parts(), Chunk())
            )
            self.fails(work, StorageFailed)
            self._unpatch()
            self.fails(self.registry.uploads.offset(REPOSITORY, upload), UploadUnknown)
            self.now(self.registry.uploads.take(REPOSITORY, digest, Parts(content), Chunk()))
            self.assertEqual(self.now(self.registry.blobs.size(REPOSITORY, digest)), 32)

    def _unpatch(self) -> None:
        for opener in ("create", "resume"):
            self.storage.__dict__.pop(opener, None)


class CeilingTests(RegistryCase):
    settings = Settings(max_uploads=2)

    def test_open_sessions(self) -> None:
        """T18, E8."""
        first = self.now(self.registry.uploads.start(REPOSITORY))
        self.now(self.registry.uploads.start(REPOSITORY))
        self.fails(self.registry.uploads.start(REPOSITORY), TooManyUploads)
        self.now(self.registry.uploads.cancel(REPOSITORY, first))
        self.now(self.registry.uploads.start(REPOSITORY))


class PurgeTests(RegistryCase):
    """D12."""

    settings = Settings(upload_purge_age=10 * 3600.0)

    def test_counts_from_the_last_byte(self) -> None:
        idle, active = (self.now(self.registry.uploads.start(REPOSITORY)) for _ in range(2))
        self.registry.start()
        self.addCleanup(self.registry.stop)
        for _ in range(9):
            self.clock.advance(3600)
        self.now(self.registry.uploads.append(REPOSITORY, active, Parts(b"abc"), Chunk()))
        for _ in range(2):
            self.clock.advance(3600)
        self.fails(self.registry.uploads.offset(REPOSITORY, idle), UploadUnknown)
        self.assertEqual(self.now(self.registry.uploads.offset(REPOSITORY, active)), 3)

    def test_not_while_it_is_written(self) -> None:
        upload = self.now(self.registry.uploads.start(REPOSITORY))
        held = Held()
        running = Deferred.fromCoroutine(self.registry.uploads.append(REPOSITORY, upload, held, Chunk()))
        self.registry.start()
        self.addCleanup(self.registry.stop)
        for _ in range(12):
            self.clock.advance(3600)
        held.give(b"abc")
        held.give()
        self.assertEqual(self.successResultOf(running), 3)

    def test_clock_set_forward(self) -> None:
        """Ten days that nobody lived through are not held against a session."""
        upload = self.now(self.registry.uploads.start(REPOSITORY))
        self.registry.start()
        self.addCleanup(self.registry.stop)
        self.clock.rightNow += 10 * 24 * 3600
        self.clock.advance(0)
        self.assertEqual(self.now(self.registry.uploads.offset(REPOSITORY, upload)), 0)
        for _ in range(12):
            self.clock.advance(3600)
        self.fails(self.registry.uploads.offset(REPOSITORY, upload), UploadUnknown)

    def test_forms_of_others(self) -> None:
        """What registry:2 and earlier versions left, and halves of ours: it stays while it is young, and is counted."""
        self.registry.start()
        self.addCleanup(self.registry.stop)
        forms = (
            ("/data", "/startedat", "/hashstates/sha256/0"), ("/startedat",), ("/data", "/state"), ("/state",),
            (".state",), ("/data",),
        )
        for names in forms:
            upload = layout.upload(REPOSITORY, UploadId.new())
            for name in names:
                self.successResultOf(self.storage.put(upload + name, b"x"))
        self.clock.advance(3600)
        self.assertEqual(self.registry.uploads.open, len(forms))
        for _ in range(10):
            self.clock.advance(3600)
        self.assertEqual(self.registry.uploads.open, 0)
        self.assertEqual(self.successResultOf(self.storage.list(layout.uploads(REPOSITORY))), [])


class AheadTests(RegistryCase):
    """Over a store that is another machine, a small blob is stored while the session is looked for."""

    def setUp(self) -> None:
        super().setUp()
        alsoProvides(self.storage, IDistant)
        self.upload = self.now(self.registry.uploads.start(REPOSITORY))
        self.other = self.open()

    def finish(self, whole: bytes, sent: bytes | None = None, **options: Any) -> Deferred[None]:
        source = Parts(whole if sent is None else sent, **options)
        work = self.registry.uploads.finish(
            REPOSITORY, self.upload, Digest.of(whole), source, Chunk(length=len(whole if sent is None else sent))
        )
        return Deferred.fromCoroutine(work)

    def is_linked(self, whole: bytes) -> bool:
        return layout.layer_link(REPOSITORY, Digest.of(whole)) in self.storage.objects

    def test_at_the_same_time(self) -> None:
        """The link waits for both."""
        asked: Deferred[None] = Deferred()
        get = self.storage.get

        @deferred
        async def slow(key: str) -> bytes:
            await asked
            return await get(key)

        self.patch(self.storage, "get", slow)
        finishing = self.finish(b"abc")
        self.assertEqual(self.storage.objects[layout.blob(Digest.of(b"abc"))].content, b"abc")
        self.assertNoResult(finishing)
        self.assertFalse(self.is_linked(b"abc"))
        asked.callback(None)
        self.successResultOf(finishing)
        self.assertTrue(self.is_linked(b"abc"))
        self.assertEqual([key for key in self.storage.objects if "_uploads" in key], [])
        self.assertEqual(self.registry.uploads.open, 0)

    def test_ended_elsewhere(self) -> None:
        self.now(self.other.uploads.cancel(REPOSITORY, self.upload))
        self.failureResultOf(self.finish(b"abc"), UploadUnknown)
        self.assertFalse(self.is_linked(b"abc"))

    def test_taken_elsewhere(self) -> None:
        """What another process was sent comes first."""
        self.now(self.other.uploads.append(REPOSITORY, self.upload, Parts(b"abc"), Chunk()))
        self.failureResultOf(self.finish(b"def"), DigestMismatch)
        self.assertFalse(self.is_linked(b"def"))
        self.assertEqual(self.now(self.other.uploads.offset(REPOSITORY, self.upload)), 6)
        self.successResultOf(self.finish(b"abcdefghi", b"ghi"))
        self.assertTrue(self.is_linked(b"abcdefghi"))

    def test_another_repository(self) -> None:
        work = self.registry.uploads.finish(OTHER, self.upload, Digest.of(b"abc"), Parts(b"abc"), Chunk(length=3))
        self.fails(work, UploadUnknown)
        self.assertNotIn(layout.blob(Digest.of(b"abc")), self.storage.objects)

    def test_wrong_digest(self) -> None:
        self.failureResultOf(self.finish(b"abc", b"abd"), DigestMismatch)
        self.assertEqual(self.now(self.other.uploads.offset(REPOSITORY, self.upload)), 3)
        self.assertNotIn(layout.blob(Digest.of(b"abc")), self.storage.objects)

    def test_cut_off(self) -> None:
        """What came is kept."""
        work = self.registry.uploads.finish(
            REPOSITORY, self.upload, Digest.of(b"abc"), Parts(b"ab", error=Gone()), Chunk(length=3)
        )
        self.fails(work, Gone)
        self.assertEqual(self.now(self.registry.uploads.offset(REPOSITORY, self.upload)), 2)
        self.successResultOf(self.finish(b"abc", b"c"))

    def test_more_than_announced(self) -> None:
        """They are not gathered: a body in chunks may go on for as long as it likes."""
        self.patch(arriving, "FEW", 10)
        source = Parts(*[b"x" * 6] * 9)
        work = self.registry.uploads.finish(REPOSITORY, self.upload, Digest.of(b"x"), source, Chunk(0, 12))
        self.fails(work, SizeInvalid)
        self.assertEqual(len(source._parts), 6)

    def test_fewer_than_announced(self) -> None:
        """Though they are the blob that was named."""
        work = self.registry.uploads.finish(REPOSITORY, self.upload, Digest.of(b"abc"), Parts(b"abc"), Chunk(0, 12))
        self.fails(work, SizeInvalid)
        self.assertNotIn(layout.blob(Digest.of(b"abc")), self.storage.objects)

    def test_the_store_fails(self) -> None:
        """The session stands as it stood."""
        put = self.storage.put
        self.patch(self.storage, "put", lambda key, content: fail(StoreUnavailable("busy")))
        self.failureResultOf(self.finish(b"abc"), StoreUnavailable)
        self.patch(self.storage, "put", put)
        self.assertEqual(self.now(self.registry.uploads.offset(REPOSITORY, self.upload)), 0)
        self.successResultOf(self.finish(b"abc"))
        self.assertTrue(self.is_linked(b"abc"))
