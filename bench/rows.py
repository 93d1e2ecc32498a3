"""What is measured, and what is to be reached."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import ailing, client, wrk
from bench.buckets import Place
from bench.client import Client, Way
from bench.contents import Archive, Content, Large, small
from bench.failures import LoadFailed
from bench.registries import Ours, Registry
from bench.rounds import MIB, Outcome, Row, Target, Unit
from bench.wire import LOOPBACK, Connection

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

ACCEPT = f"{MANIFEST}, application/vnd.oci.image.manifest.v1+json, */*"
"""As clients ask; without it the other registry makes a manifest of an older kind for each request."""

PULLED, PUSHED, BROKEN = "bench/pulled", "bench/pushed", "bench/broken"
"""Repositories: what is there from the start, what the loads make, and one that cannot be read."""

GIB = 1 << 30

NOT_SLOWER = Target(ratio=1.0)


@dataclass(frozen=True, slots=True)
class Sizes:
    """:ivar rounds: of each row.
    :ivar seconds: of each of wrk's runs.
    :ivar connections: of its runs.
    :ivar download, upload, layer: bytes of the blobs in the rows that are called so.
    :ivar archive: bytes of the layer in the rows of protocol v1.
    :ivar pushes: of small blobs in a row.
    :ivar uploads: in parallel, of ``layer`` bytes.
    :ivar readers: that stop.
    :ivar hold: seconds that they are left so.
    :ivar paced: requests whose times are taken one by one.
    """

    rounds: int
    seconds: int
    connections: Sequence[int]
    download: int
    upload: int
    layer: int
    archive: int
    pushes: int
    uploads: int
    readers: int
    hold: float
    paced: int


FULL = Sizes(3, 2, (1, 16, 64), 256 * MIB, GIB, 64 * MIB, 300 * MIB, 200, 50, 200, 3.0, 4000)
QUICK = Sizes(1, 1, (16,), 16 * MIB, 32 * MIB, 4 * MIB, 16 * MIB, 20, 10, 20, 1.0, 500)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that share their registries' processes, which have no other past.

    :ivar prepare: called for each registry; makes what the rows push, and pushes what they pull.
    :ivar alone: whether the other registry has no part in it.
    :ivar options: of ours.
    :ivar against: options of ours as it is compared with, in the other registry's place.
    :ivar bucket: whether each has its blobs in a bucket, all of one store.
    :ivar redirects: and sends clients there.
    :ivar place: where ours has its blobs, if it is something else.
    """

    rows: Sequence[Row]
    prepare: Callable[[Registry], None]
    alone: bool = False
    options: Mapping[str, object] = field(default_factory=dict)
    against: Mapping[str, object] | None = None
    bucket: bool = False
    redirects: bool = False
    place: Place | None = None


def groups(sizes: Sizes, making: Client, files: Path) -> Iterator[Group]:
    """All rows; nothing is made on disk before a group is prepared.

    :param making: where loads are made that are not wrk's.
    :param files: a directory for what is pushed.
    """
    large = Pulled(Large(sizes.download, files))
    if wrk.is_installed():
        image = Image()
        yield Group(list(_requests(sizes, image)), image.push)
        watched = {"access_log_file": f"{files}/access.log", "admin_listen": ["tcp:0:interface=127.0.0.1"]}
        yield Group(list(_watched(sizes, image)), image.push, options=watched, against={"access_log": "off"})
        two = {"workers": 2, "secret_key": "bench"}
        yield Group(list(_two_workers(sizes, image, Target(10))), image.push, options=two)
        yield Group(list(_two_beside_one(sizes, image)), image.push, options=two, against={})
    yield Group(list(_downloads(sizes, making, large)), large.push)
    upload, layers = Large(sizes.upload, files), Large(sizes.layer, files)
    yield Group(list(_uploads(sizes, making, upload)), lambda _: upload.make())
    yield Group(list(_small_pushes(sizes, making)), lambda _: None)

    yield _first_protocol(sizes, making, files)

    def prepare(registry: Registry) -> None:
        layers.make()
        large.push(registry)

    yield Group(list(_memory(sizes, making, large, layers)), prepare)
    yield from _trouble(sizes, making)


class Image:
    """A small image: a manifest of the usual size, its configuration of 1 kB, its layer of 100 kB."""

    def __init__(self) -> None:
        self.config = small(1000)
        self.layer = small(100_000)
        layer = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": self.layer.size,
                 "digest": self.layer.digest}
        config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": self.config.size,
                  "digest": self.config.digest}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] * 2}
        self._manifest = json.dumps(manifest, indent=3).encode()
        self.digest = ""

    def push(self, registry: Registry) -> None:
        """:raises LoadFailed: it does not come back as it was pushed."""
        client.push(registry.port, PULLED, [self.config, self.layer], Way.CONTAINERD)
        with Connection(registry.port) as connection:
            answer = connection.ask("PUT", self.target("latest"), f"Content-Type: {MANIFEST}", content=self._manifest)
            self.digest = answer.headers.get(b"docker-content-digest", b"").decode("ascii")
            for target, content in (
                (self.target("latest"), self._manifest),
                (self.target(self.digest), self._manifest),
                (blob(self.config), self.config.tail),
                (blob(self.layer), self.layer.tail),
            ):
                answer = connection.ask("GET", target, f"Accept: {ACCEPT}")
                if (answer.status, answer.content) != (200, content):
                    raise LoadFailed(f"{registry.name}: {target} is not what was pushed: {answer.status}")

    def target(self, reference: str) -> str:
        return f"/v2/{PULLED}/manifests/{reference}"


class Pulled:
    """One large blob, the same for all registries."""

    def __init__(self, large: Large) -> None:
        self._large = large
        self._content: Content | None = None

    @property
    def content(self) -> Content:
        if self._content is None:
            self._content = self._large.content()
        return self._content

    def push(self, registry: Registry) -> None:
        client.push(registry.port, PULLED, [self.content], Way.CONTAINERD)


def blob(content: Content) -> str:
    return f"/v2/{PULLED}/blobs/{content.digest}"


def _requests(sizes: Sizes, image: Image) -> Iterator[Row]:
    kinds: list[tuple[str, Callable[[], str], float]] = [
        ("manifest by tag", lambda: image.target("latest"), 7),
        ("manifest by digest", lambda: image.target(image.digest), 7),
        ("blob of 1 kB", lambda: blob(image.config), 8),
        ("blob of 100 kB", lambda: blob(image.layer), 8),
    ]
    for keep_alive in (True, False):
        for what, target, ratio in kinds:
            for connections in sizes.connections:
                yield _request_row(sizes, what, target, connections, keep_alive, Target(ratio if keep_alive else 4))


def _watched(sizes: Sizes, image: Image) -> Iterator[Row]:
    """What it costs to be seen: the access log in a file, and metrics."""
    for connections in sizes.connections:
        row = _request_row(sizes, "manifest by tag", lambda: image.target("latest"), connections, True, Target(0.9))
        yield replace(row, what=f"{row.what}, with access log and metrics, beside without")


def _two_workers(sizes: Sizes, image: Image, reach: Target) -> Iterator[Row]:
    for connections in (each for each in sizes.connections if each > 1):
        row = _request_row(sizes, "manifest by tag", lambda: image.target("latest"), connections, True, reach)
        yield replace(row, what=f"{row.what}, two workers")


def _two_beside_one(sizes: Sizes, image: Image) -> Iterator[Row]:
    """Load and server on the same machine: what two can do on two processors is less than twice as much.

    What one or two serve is what they serve with the connections with which that is most, so there is nothing to reach
    with fewer.
    """
    *few, many = _two_workers(sizes, image, Target())
    for row in (*few, replace(many, target=Target(1.5))):
        yield replace(row, what=f"{row.what} beside one")


def _request_row(
    sizes: Sizes, what: str, target: Callable[[], str], connections: int, keep_alive: bool, reach: Target
) -> Row:
    def load(registry: Registry) -> Outcome:
        rate = wrk.run(
            registry.port, target(), connections=connections, seconds=sizes.seconds, keep_alive=keep_alive,
            accept=ACCEPT,
        )
        return Outcome(rate.per_second, rate.requests)

    each = "" if keep_alive else ", one request each"
    return Row(f"{what}, {_many(connections, 'connection')}{each}", Unit.REQUESTS, load, reach)


def _downloads(sizes: Sizes, making: Client, large: Pulled) -> Iterator[Row]:
    for connections in (1, 8):
        def load(registry: Registry, connections: int = connections) -> Outcome:
            content = large.content
            seconds = making.run(client.download, registry.port, blob(content), content.size, connections)
            moved = content.size * connections
            return Outcome(moved / 1e6 / seconds, moved / GIB)

        what = f"download of {shown(sizes.download)}, {_many(connections, 'connection')}"
        yield Row(what, Unit.RATE, load, Target(ratio=0.9))


def _uploads(sizes: Sizes, making: Client, large: Large) -> Iterator[Row]:
    for way in Way:
        def load(registry: Registry, way: Way = way) -> Outcome:
            return push_contents(making, registry, [large.content()], way, 1, sizes.upload / GIB)

        what = f"push of {shown(sizes.upload)} as {way.value} does"
        yield Row(what, Unit.SECONDS, load, Target(ratio=2.5), unsynced=True)


def _small_pushes(sizes: Sizes, making: Client) -> Iterator[Row]:
    for way in Way:
        for at_once in (1, 8):
            def load(registry: Registry, way: Way = way, at_once: int = at_once) -> Outcome:
                contents = [small(10_000) for _ in range(sizes.pushes)]
                return push_contents(making, registry, contents, way, at_once, sizes.pushes)

            what = f"{sizes.pushes} pushes of 10 kB as {way.value} does, {at_once} at a time"
            yield Row(what, Unit.SECONDS, load, NOT_SLOWER, unsynced=True)


def _first_protocol(sizes: Sizes, making: Client, files: Path) -> Group:
    """A layer through protocol v1, beside the same through v2."""
    archive = Archive(sizes.archive, files)

    def push(registry: Registry) -> Outcome:
        content = archive.content()
        seconds = making.run(client.push_image, registry.port, PUSHED, content)
        registry.forget(content.digest)
        return Outcome(seconds, content.size / GIB)

    def push_v2(registry: Registry) -> Outcome:
        return push_contents(making, registry, [archive.content()], Way.DOCKER, 1, sizes.archive / GIB)

    def pull(registry: Registry) -> Outcome:
        content = pulled[0]
        seconds = making.run(client.download, registry.port, client.image_layer(content), content.size, 1)
        return Outcome(content.size / 1e6 / seconds, content.size / GIB)

    def pull_v2(registry: Registry) -> Outcome:
        content = pulled[0]
        seconds = making.run(client.download, registry.port, blob(content), content.size, 1)
        return Outcome(content.size / 1e6 / seconds, content.size / GIB)

    pulled: list[Content] = []

    def prepare(registry: Registry) -> None:
        pulled[:] = [archive.content()]
        client.push_image(registry.port, PULLED, pulled[0])

    size = shown(sizes.archive)
    return Group([
        Row(f"push of a layer of {size} through v1, beside v2", Unit.SECONDS, push, Target(ratio=0.7), beside=push_v2),
        Row(f"download of a layer of {size} through v1, beside v2", Unit.RATE, pull, Target(ratio=0.9), beside=pull_v2),
    ], prepare, alone=True)


def _memory(sizes: Sizes, making: Client, large: Pulled, layers: Large) -> Iterator[Row]:
    def upload(registry: Registry) -> Outcome:
        contents = [layers.content() for _ in range(sizes.uploads)]
        moved = sizes.uploads * sizes.layer / GIB
        return push_contents(making, registry, contents, Way.DOCKER, sizes.uploads, moved)

    def stall(registry: Registry) -> Outcome:
        content = large.content
        making.run(client.stall, registry.port, blob(content), content.size, sizes.readers, sizes.hold)
        return Outcome(0, sizes.readers)

    reach = Target(value=64)
    what = f"{sizes.uploads} uploads of {shown(sizes.layer)} at a time"
    yield Row(what, Unit.ADDED, upload, reach, fresh=True)
    what = f"{sizes.readers} readers of {shown(sizes.download)} that stopped"
    yield Row(what, Unit.ADDED, stall, reach, fresh=True)


def _trouble(sizes: Sizes, making: Client) -> Iterator[Group]:
    """Two hundred exceptions a second, with mail servers and webhooks' endpoints that are not well (G1)."""
    image = Image()
    broken = f"/v2/{BROKEN}/manifests/latest"

    def prepare(registry: Registry) -> None:
        image.push(registry)
        _break(registry)

    def slowest(registry: Registry) -> float:
        return making.run(client.slowest, registry.port, image.target("latest"), ACCEPT, broken, sizes.paced)

    def load(registry: Registry) -> Outcome:
        quiet = Ours("ours, without mail and webhooks", registry.home / "quiet")
        try:
            quiet.start()
            prepare(quiet)
            before = slowest(quiet)
        finally:
            quiet.stop()
        return Outcome((slowest(registry) - before) * 1e3, sizes.paced)

    for what, port in ailing.PORTS.items():
        options = {
            "email_exceptions": {
                "smtp_host": LOOPBACK, "smtp_port": port(), "from_addr": "us@example.com",
                "to_addr": "them@example.com",
            },
            "notifications": {"endpoints": [{"name": "ill", "url": f"http://{LOOPBACK}:{port()}/", "timeout": 1}]},
        }
        name = f"slowest of 100 manifests, {client.EXCEPTIONS} exceptions/s, mail and webhooks to servers that {what}"
        yield Group([Row(name, Unit.LATER, load, Target(value=5))], prepare, alone=True, options=options)


def _break(registry: Registry) -> None:
    """Let every request for a certain tag fail: where its link should be is something that cannot be opened."""
    link = registry.root / "docker/registry/v2/repositories" / BROKEN / "_manifests/tags/latest/current/link"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_socket():
        os.mknod(link, stat.S_IFSOCK | 0o600)


def push_contents(
    making: Client, registry: Registry, contents: Sequence[Content], way: Way, at_once: int, operations: float
) -> Outcome:
    seconds = making.run(client.push, registry.port, PUSHED, contents, way, at_once)
    for content in contents:
        registry.forget(content.digest)
    return Outcome(seconds, operations)


def shown(count: int) -> str:
    return f"{count // GIB} GiB" if count >= GIB else f"{count // MIB} MiB"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
