"""Rows of registries over a bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from bench import client
from bench.client import Client, Way
from bench.contents import Content, Large, small
from bench.registries import Registry
from bench.rounds import Outcome, Row, Target, Unit
from bench.rows import GIB, NOT_SLOWER, PULLED, Group, Pulled, Sizes, blob, push_contents, shown

LAYERS = 20
"""Of an image, as small as those of many lines of a Dockerfile."""

AT_ONCE = 3
"""Blobs that a client pulls at a time, as docker does."""

UPLOADS = 64

ADDED = 512 + 48 + 150
"""MiB that uploads may add: parts, bodies, and what Python needs for that (docs/storage.md)."""


def groups(sizes: Sizes, making: Client, files: Path) -> Iterator[Group]:
    upload, layers = Large(sizes.upload, files), Large(sizes.layer, files)

    def prepare(_: Registry) -> None:
        upload.make()
        layers.make()

    yield Group([*_pushes(sizes, making, upload), _uploads(sizes, making, layers)], prepare, bucket=True)
    image = [small(10_000) for _ in range(LAYERS + 1)]
    pulled = Pulled(Large(sizes.upload, files))

    def fill(registry: Registry) -> None:
        pulled.push(registry)
        client.push(registry.port, PULLED, image, Way.CONTAINERD)

    yield Group([
        _pull(sizes, making, pulled, "through the registry", client.download),
        _image(sizes, making, image),
    ], fill, bucket=True)
    yield Group([_pull(sizes, making, pulled, "from the bucket", client.follow)], fill, bucket=True, redirects=True)


def _pushes(sizes: Sizes, making: Client, large: Large) -> Iterator[Row]:
    for way, what, ratio in ((Way.CONTAINERD, "first", 1.5), (Way.DOCKER, "last", 1.0)):
        def load(registry: Registry, way: Way = way) -> Outcome:
            return push_contents(making, registry, [large.content()], way, 1, sizes.upload / GIB)

        name = f"S3: push of {shown(sizes.upload)}, digest {what}"
        yield Row(name, Unit.SECONDS, load, Target(ratio=ratio))
    for way in Way:
        def pushes(registry: Registry, way: Way = way) -> Outcome:
            contents = [small(10_000) for _ in range(sizes.pushes)]
            return push_contents(making, registry, contents, way, 8, sizes.pushes)

        name = f"S3: {sizes.pushes} pushes of 10 kB as {way.value} does, 8 at a time"
        yield Row(name, Unit.SECONDS, pushes, NOT_SLOWER)


def _uploads(sizes: Sizes, making: Client, layers: Large) -> Row:
    def load(registry: Registry) -> Outcome:
        contents = [layers.content() for _ in range(UPLOADS)]
        return push_contents(making, registry, contents, Way.DOCKER, UPLOADS, UPLOADS * sizes.layer / GIB)

    name = f"S3: {UPLOADS} uploads of {shown(sizes.layer)} at a time"
    return Row(name, Unit.ADDED, load, Target(value=ADDED), fresh=True)


def _pull(sizes: Sizes, making: Client, large: Pulled, how: str, download: Callable[..., float]) -> Row:
    def load(registry: Registry) -> Outcome:
        content = large.content
        seconds = making.run(download, registry.port, blob(content), content.size, 1)
        return Outcome(content.size / 1e6 / seconds, content.size / GIB)

    return Row(f"S3: pull of {shown(sizes.upload)} {how}", Unit.RATE, load, NOT_SLOWER)


def _image(sizes: Sizes, making: Client, contents: list[Content]) -> Row:
    pulls = max(sizes.pushes // 20, 1)

    def load(registry: Registry) -> Outcome:
        targets = [(blob(each), each.size) for each in contents] * pulls
        return Outcome(making.run(client.pull, registry.port, targets, AT_ONCE), pulls)

    return Row(f"S3: {pulls} pulls of an image of {LAYERS} layers of 10 kB", Unit.SECONDS, load, NOT_SLOWER)

