"""Protocol v1, layers and chains that are meant to harm: pushed and pulled like any others, and read within limits."""

from __future__ import annotations

import atexit
import gzip
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from docker_registry.registry.layers import MAX_CHAIN
from docker_registry.test.clients.daemon import Ours
from docker_registry.test.clients.v1_case import MISMATCH, V1Case
from docker_registry.test.clients.v1_clients import Docker15
from docker_registry.test.clients.v1_images import Chain, Image, image
from docker_registry.test.clients.wire import Wire
from docker_registry.test.layer_case import expected_tarsum, extended, header, member, record, tar

MIB = 1 << 20
REFUSED = "Layer format not supported"
READ = 10.0
"""Seconds until a layer that is not worth reading has been refused."""

MEMORY = 150 * MIB
"""Bytes that reading a layer may take."""

WAIT = 2.0
"""Seconds that others may wait meanwhile. On a quiet machine it is some milliseconds."""


@cache
def registry() -> Ours:
    """A daemon whose memory is looked at."""
    work = Path(tempfile.mkdtemp(prefix="hostile-"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    ours = Ours(work / "registry")
    atexit.register(ours.stop)
    return ours


class HostileCase(V1Case):
    timeout = 120

    def setUp(self) -> None:
        super().setUp()
        self.registry = registry()
        self.wire = Wire(f"http://{self.registry.host}")
        self.addCleanup(self.wire.close)

    @property
    def host(self) -> str:
        return self.registry.host

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Meanwhile others are served, and the daemon does not grow."""
        process = Path(f"/proc/{self.registry.daemon.process.pid}")
        (process / "clear_refs").write_text("5")                    # the peak is what is resident now: proc(5)
        before, ended = _peak(process), threading.Event()
        waits: list[float] = []

        def others() -> None:
            while True:
                asked = time.monotonic()
                self.call("GET", "/v1/_ping").expect(200)
                self.call("GET", "/v1/search?q=none").expect(200)
                waits.append(time.monotonic() - asked)
                if ended.wait(0.02):
                    break

        asking = threading.Thread(target=others)
        asking.start()
        try:
            yield
        finally:
            ended.set()
            asking.join()
        self.assertLess(max(waits), WAIT)
        self.assertLess(_peak(process) - before, MEMORY)

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.assertLess(time.monotonic() - begun, seconds)

    def assertRefusesToRead(self, image: Image) -> None:
        for what in ("files", "diff"):
            with self.watched(), self.within(READ):
                self.call("GET", self.of(image, what)).error(400, REFUSED)


class BombTests(HostileCase):
    def test_zeros(self) -> None:
        """12 GiB of them, a file in an archive as it should be, in 12 MB."""
        zeros = gzip.compress(bytes(64 * MIB), 9, mtime=0)
        size = 192 * 64 * MIB
        layer = gzip.compress(header(size=b"\x80" + size.to_bytes(11, "big")), mtime=0) + zeros * 192
        made = image(archive=b"")
        with self.watched(), self.within(READ):
            self.put_image(made).says(True)
            self.put_layer(made, layer)
            self.confirm_payload(made, layer)
            self.put_tag("latest", made).says(True)
            self.assertComplete(made, layer)
        self.assertRefusesToRead(made)
        self.wire("GET", f"/v2/{self.name}/manifests/latest").error(404, "MANIFEST_UNKNOWN")

    def test_sum_of_zeros(self) -> None:
        """docker up to 0.8 knows the sum of the archive only; whoever claims one for a bomb is refused in time."""
        made = self.started()
        self.put_layer(made, gzip.compress(bytes(64 * MIB), 9, mtime=0) * 192)
        with self.watched(), self.within(READ):
            self.confirm(made, expected_tarsum(made.json, made.archive)).error(400, MISMATCH)
        self.assertUploading(made)

    def test_many_streams(self) -> None:
        """Each costs a decoder of its own, for nothing."""
        made = self.started(archive=b"")
        layer = gzip.compress(b"", mtime=0) * 1_100_000
        self.put_layer(made, layer)
        self.confirm_payload(made, layer)
        with self.watched(), self.within(3 * READ):
            self.call("GET", self.of(made, "files")).error(400, REFUSED)


class ArchiveTests(HostileCase):
    def test_records(self) -> None:
        """300 000 of them in extended headers: pushed by their sum, and listed."""
        records = b"".join(record(b"SCHILY.xattr.user.%d" % number, b"x" * 8) for number in range(3000))
        archive = b"".join(extended(records) + header(name=b"file%03d" % number) for number in range(100))
        made = self.started(archive=archive)
        layer = self.put_layer(made)
        with self.watched(), self.within(READ):
            self.confirm(made, expected_tarsum(made.json, b"".join(
                header(name=b"file%03d" % number) for number in range(100)
            ))).says(True)
        self.assertComplete(made, layer)
        with self.watched(), self.within(READ):
            self.assertEqual(len(self.call("GET", self.of(made, "files")).expect(200).json), 100)
        self.put_tag("latest", made).says(True)
        self.wire("GET", f"/v2/{self.name}/manifests/latest").expect(200)

    def test_records_in_one_header(self) -> None:
        records = b"".join(record(b"SCHILY.xattr.user.%d" % number, b"x" * 8) for number in range(300_000))
        made = self.pushed(archive=b"", layer=extended(records) + header())
        self.assertRefusesToRead(made)

    def test_a_header_for_each_record(self) -> None:
        thousand = gzip.compress((extended(record(b"comment", b"x")) + header()) * 1000, mtime=0)
        made = self.pushed(archive=b"", layer=thousand * 300)
        self.assertRefusesToRead(made)

    def test_many_members(self) -> None:
        """Their list has 13 MB."""
        archive = b"".join(header(name=b"%099d" % number) for number in range(100_000))
        made = self.pushed(archive=b"", layer=gzip.compress(archive, 1, mtime=0))
        for what in ("files", "diff"):
            with self.watched(), self.within(3 * READ):
                answer = self.call("GET", self.of(made, what)).expect(200).json
        self.assertEqual(len(answer["created"]), 100_000)


class ChainTests(HostileCase):
    def chain(self, length: int) -> Chain:
        layer = tar([member("a", b"1")])
        images: list[Image] = []
        for _ in range(length):
            images.append(image(images[-1].id if images else None, layer))
        return tuple(images)

    def test_longest(self) -> None:
        """As many as docker could mount: pushed, pulled, and served by v2."""
        chain = self.chain(MAX_CHAIN)
        Docker15(self.host).push(self.name, "latest", chain)
        pulled = Docker15(self.host).pull(self.name, "latest")
        self.assertEqual([each.id for each in pulled], [each.id for each in chain])
        answer = self.wire("GET", f"/v2/{self.name}/manifests/latest").expect(200)
        self.assertEqual(len(answer.json["layers"]), MAX_CHAIN)

    def test_too_long(self) -> None:
        """Of 200 images what is too much is refused when it is pushed, and never when it is pulled."""
        chain = self.chain(200)
        for each in chain[:MAX_CHAIN]:
            self.put_image(each).says(True)
        for each in chain[MAX_CHAIN:MAX_CHAIN + 1]:
            self.put_image(each).error(400, f"Image has more than {MAX_CHAIN} ancestors")
        for each in chain[MAX_CHAIN + 1:]:
            self.put_image(each).error(400, "Image depends on a non existing parent")

    def test_too_long_for_v1(self) -> None:
        """An image of v2 that has more layers is not for clients of v1, and hides no others."""
        self.push_through_v2(*(tar([member("a", b"%d" % number)]) for number in range(MAX_CHAIN + 1)), tag="long")
        self.push_through_v2(tar([member("a", b"1")]), tag="short")
        self.assertEqual(list(self.call("GET", self.below("tags")).expect(200).json), ["short"])
        self.call("GET", self.below("tags/long")).error(404, "Tag not found")


def _peak(process: Path) -> int:
    """The most that was resident, in bytes."""
    (line,) = [each for each in (process / "status").read_text().splitlines() if each.startswith("VmHWM:")]
    return int(line.split()[1]) << 10
