"""Rows of a registry over Glance, and over Swift, each beside curl with a token, which moves as many bytes to and from
the same one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from bench import client
from bench.buckets import Place
from bench.client import Client, Way
from bench.contents import Large, small
from bench.curl import in_files
from bench.images import Images
from bench.registries import Registry
from bench.rounds import Outcome, Row, Target, Unit
from bench.rows import GIB, PULLED, Group, Pulled, Sizes, blob, push_contents, shown
from bench.spaces import Space

AT_ONCE = 8

AS_FAST = Target(ratio=0.8)
"""At most 1.25 times what it takes to move the bytes."""

NOT_BY_FAR = Target(ratio=0.5)
"""Of small blobs: what makes them durable, and found again, takes as long as they themselves. And of a large one whose
length and digest come last: who stores a bare object says how long it is."""


class Bare(Place, Protocol):
    """Where a registry keeps its blobs, and curl keeps others."""

    def make(self, data: bytes) -> str:
        """Something that is there from the start."""

    def push(self, files: Sequence[str], at_once: int) -> float:
        """What it takes to store each file, so many at a time, in seconds."""

    def pull(self, made: Sequence[str], at_once: int) -> float:
        """What it takes to read what was made, and throw it away."""


def groups(sizes: Sizes, making: Client, files: Path) -> Iterator[Group]:
    yield _group(sizes, making, files, "Glance", Images())
    yield _group(sizes, making, files, "Swift", Space())


def _group(sizes: Sizes, making: Client, files: Path, name: str, bare: Bare) -> Group:
    upload = Large(sizes.upload, files)
    pulled = Pulled(upload)
    layers = [small(10_000) for _ in range(sizes.pushes)]
    made: list[str] = []

    def prepare(registry: Registry) -> None:
        upload.make()
        pulled.push(registry)
        client.push(registry.port, PULLED, layers, Way.CONTAINERD, AT_ONCE)
        large = Path(pulled.content.file or "").read_bytes()
        made[:] = [bare.make(each) for each in (large, *(each.tail for each in layers))]

    def bare_push(_: Registry) -> Outcome:
        return Outcome(bare.push([upload.content().file or ""], 1), sizes.upload / GIB)

    def bare_pushes(_: Registry) -> Outcome:
        contents = [small(10_000).tail for _ in range(sizes.pushes)]
        return Outcome(bare.push(in_files(contents, files), AT_ONCE), sizes.pushes)

    def pull(registry: Registry) -> Outcome:
        content = pulled.content
        seconds = making.run(client.download, registry.port, blob(content), content.size, 1)
        return Outcome(content.size / 1e6 / seconds, content.size / GIB)

    def bare_pull(_: Registry) -> Outcome:
        return Outcome(pulled.content.size / 1e6 / bare.pull(made[:1], 1), pulled.content.size / GIB)

    def pulls(registry: Registry) -> Outcome:
        targets = [(blob(each), each.size) for each in layers]
        return Outcome(making.run(client.pull, registry.port, targets, AT_ONCE), len(layers))

    def bare_pulls(_: Registry) -> Outcome:
        return Outcome(bare.pull(made[1:], AT_ONCE), len(layers))

    what = shown(sizes.upload)
    rows = [
        Row(f"{name}: pull of {what}, beside curl", Unit.RATE, pull, AS_FAST, beside=bare_pull),
        Row(f"{name}: {sizes.pushes} pulls of 10 kB, {AT_ONCE} at a time, beside curl", Unit.SECONDS, pulls, NOT_BY_FAR,
            beside=bare_pulls),
    ]
    for way, order, target in ((Way.CONTAINERD, "first", AS_FAST), (Way.DOCKER, "last", NOT_BY_FAR)):
        def push(registry: Registry, way: Way = way) -> Outcome:
            return push_contents(making, registry, [upload.content()], way, 1, sizes.upload / GIB)

        rows.append(Row(f"{name}: push of {what}, digest {order}, beside curl", Unit.SECONDS, push, target,
                        beside=bare_push))

    def pushes(registry: Registry) -> Outcome:
        contents = [small(10_000) for _ in range(sizes.pushes)]
        return push_contents(making, registry, contents, Way.CONTAINERD, AT_ONCE, sizes.pushes)

    rows.append(Row(f"{name}: {sizes.pushes} pushes of 10 kB, {AT_ONCE} at a time, beside curl", Unit.SECONDS, pushes,
                    NOT_BY_FAR, beside=bare_pushes))
    return Group(rows, prepare, alone=True, place=bare)
