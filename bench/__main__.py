"""``python -m bench``: one table, each row taken from both registries in turns.

The machine may be shared and noisy: a row's ratio is the median over rounds in which one registry is asked right after
the other; the absolute figures say less.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import load
from bench.load import Blob
from bench.servers import Ours, Server, Theirs

MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    """:ivar measure: more is better if ``rate``, less is better otherwise.
    :ivar goal: the ratio to reach, in favour of ours.
    :ivar waits: whether it waits for fsync, and is shown with ``sync: false`` too.
    """

    name: str
    unit: str
    measure: Callable[[Server], float]
    rate: bool
    goal: float
    waits: bool = False


@dataclass(frozen=True)
class Files:
    small: Blob
    medium: Blob
    large: Blob
    giant: Blob
    tiny: list[Blob]
    digest: str = ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def rows(files: Files, seconds: int) -> list[Row]:
    manifest, blobs = f"/v2/{load.REPOSITORY}/manifests", f"/v2/{load.REPOSITORY}/blobs"
    found: list[Row] = []
    targets = [
        ("manifest by tag", f"{manifest}/latest", 7.0),
        ("manifest by digest", f"{manifest}/{files.digest}", 7.0),
        ("blob of 1 kB", f"{blobs}/{files.small.digest}", 8.0),
        ("blob of 100 kB", f"{blobs}/{files.medium.digest}", 8.0),
    ]
    for name, path, goal in targets:
        for close in (False, True):
            for connections in (1, 16, 64):
                found.append(Row(
                    f"{name}, {connections} connections{', a new one for each' if close else ''}",
                    "1/s",
                    lambda server, path=path, n=connections, close=close: load.requests(  # type: ignore[misc]
                        server, path, n, seconds, close
                    ),
                    True,
                    4.0 if close else goal,
                ))
    size = files.large.size // MIB
    for connections in (1, 8):
        found.append(Row(
            f"pull a blob of {size} MiB, {connections} connections", "MB/s",
            lambda server, n=connections: load.pull(server, files.large, n), True, 0.9,  # type: ignore[misc]
        ))
    for how in ("docker", "containerd"):
        found.append(Row(
            f"push {files.giant.size // MIB} MiB as {how} does", "s",
            lambda server, how=how: load.in_process(how, server, files.giant), False, 2.5, True,  # type: ignore[misc]
        ))
        for parallel in (1, 8):
            found.append(Row(
                f"push {len(files.tiny)} times 10 kB as {how} does, {parallel} at a time", "s",
                lambda server, how=how, n=parallel: load.in_process(  # type: ignore[misc]
                    how, server, *files.tiny, parallel=n
                ),
                False, 1.0, True,
            ))
    return found


class Table:
    """Takes the rows, and writes them as Markdown."""

    HEAD = (
        "| what | unit | ours | 2.8.2 | ratio | goal | ours CPU s | 2.8.2 CPU s | ours MiB | 2.8.2 MiB | gap ms |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self.lines = [self.HEAD]
        print(self.HEAD, flush=True)

    def take(self, row: Row, ours: Ours, theirs: Server | None, label: str = "") -> None:
        figures: dict[str, list[tuple[float, float, float]]] = {"ours": [], "theirs": []}
        ours.gap()
        for _ in range(self._rounds):
            for name, server in (("ours", ours), ("theirs", theirs)):
                if server is not None:
                    server.reset_peak()
                    cpu = server.cpu()
                    figure = row.measure(server)
                    figures[name].append((figure, server.cpu() - cpu, server.memory()))
        gap = ours.gap()
        ratios = [
            (one[0] / other[0]) if row.rate else (other[0] / one[0])
            for one, other in zip(figures["ours"], figures["theirs"], strict=False)
        ]
        ratio = statistics.median(ratios) if ratios else None
        goal = f"{row.goal:g} {'reached' if ratio and ratio >= row.goal else 'missed'}" if ratio else f"{row.goal:g}"
        mine, other = (self._middle(figures[name]) for name in ("ours", "theirs"))
        line = (
            f"| {row.name}{label} | {row.unit} | {mine[0]} | {other[0]} | {'' if ratio is None else f'{ratio:.2f}'} "
            f"| {goal} | {mine[1]} | {other[1]} | {mine[2]} | {other[2]} | {gap:.0f} |"
        )
        self.lines.append(line)
        print(line, flush=True)

    def add(self, name: str, ours: str, theirs: str, goal: str, gap: float) -> None:
        line = f"| {name} | MiB | {ours} | {theirs} | | {goal} | | | | | {gap:.0f} |"
        self.lines.append(line)
        print(line, flush=True)

    def _middle(self, figures: list[tuple[float, float, float]]) -> tuple[str, str, str]:
        if not figures:
            return "", "", ""
        value, cpu, memory = (statistics.median(column) for column in zip(*figures, strict=True))
        return (f"{value:,.0f}" if value >= 100 else f"{value:.2f}"), f"{cpu:.2f}", f"{memory:.0f}"


def added_memory(table: Table, ours: Ours, theirs: Server | None, work: Path, quick: bool) -> None:
    """What many slow or parallel clients cost."""
    size, readers, uploads = (16, 20, 10) if quick else (256, 200, 50)
    blob, part = Blob(work, size * MIB + 1), Blob(work, (1 if quick else 64) * MIB + 2)

    def measure(server: Server, what: str) -> str:
        load.push_as_containerd(server, blob)
        server.reset_peak()
        before = server.memory("VmRSS")
        if what == "readers":
            load.stopped_readers(server, blob, readers)()
        else:
            load.parallel_uploads(server, part, uploads)
        return f"{server.memory() - before:.0f}"

    for what, name in (
        ("uploads", f"added by {uploads} parallel uploads of {part.size // MIB} MiB"),
        ("readers", f"added by {readers} stopped readers of {size} MiB"),
    ):
        ours.gap()
        mine = measure(ours, what)
        table.add(name, mine, measure(theirs, what) if theirs else "", "64", ours.gap())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small files and one round, to see that it works")
    parser.add_argument("--only", metavar="PATTERN", default="", help="rows whose name matches this regular expression")
    parser.add_argument("--ours-only", action="store_true", help="do not run the other registry")
    parser.add_argument("--rounds", type=int, default=3, help="how often each row is taken [3]")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the table there, too")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    if not options.ours_only and not Theirs.is_installed():
        print("docker-registry is not installed, so there is nothing to compare with: apt-get install docker-registry")
        options.ours_only = True
    work = Path(tempfile.mkdtemp(prefix="bench-"))
    servers: list[Server] = []
    try:
        ours, throwaway = Ours(work, free_port(), sync=True), Ours(work, free_port(), sync=False)
        servers += [ours, throwaway]
        theirs = None if options.ours_only else Theirs(work, free_port())
        servers += [theirs] if theirs else []
        measure(options, work, ours, throwaway, theirs)
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(work, ignore_errors=True)


def measure(options: argparse.Namespace, work: Path, ours: Ours, throwaway: Ours, theirs: Server | None) -> None:
    quick = options.quick
    files = Files(
        Blob(work, 1000), Blob(work, 100_000), Blob(work, (8 if quick else 256) * MIB),
        Blob(work, (16 if quick else 1024) * MIB),
        [Blob(work, 10_000 + number) for number in range(20 if quick else 200)],
    )
    for server in (ours, throwaway, *([theirs] if theirs else [])):
        for blob in (files.small, files.medium, files.large):
            load.push_as_containerd(server, blob)
        digest = load.push_manifest(server, files.small, files.medium)
    files = Files(files.small, files.medium, files.large, files.giant, files.tiny, digest)
    table = Table(1 if quick else options.rounds)
    for row in rows(files, 1 if quick else 2):
        if re.search(options.only, row.name):
            table.take(row, ours, theirs)
            if row.waits:
                table.take(row, throwaway, theirs, ", sync: false")
    if re.search(options.only, "memory added"):
        added_memory(table, ours, theirs, work, quick)
    if options.out:
        options.out.write_text("\n".join(table.lines) + "\n")


if __name__ == "__main__":
    main()
