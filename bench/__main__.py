"""``python -m bench``: measure, and print the table."""

from __future__ import annotations

import argparse
import platform
import re
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import FrameType

from bench import bucket_rows, openstack_rows, registries, wrk
from bench import rows as table_rows
from bench.buckets import Bucket
from bench.client import Client
from bench.failures import LoadFailed
from bench.registries import Other, Ours, Registry
from bench.rounds import Contestants, Result, compare
from bench.rows import FULL, QUICK, Group, Sizes
from bench.table import render

SMALL_SIZES = "**A quick run, with small sizes: it shows that everything works, and its figures mean little.**"


def main(arguments: Sequence[str] | None = None) -> int:
    """:returns: 0 if every row has its figures, whatever they are."""
    options = _options().parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    other = None
    if not options.ours_only:
        if registries.OTHER_PATH is None:
            _say("docker-registry is not installed, so ours is measured alone; apt-get install docker-registry")
        else:
            other = f"docker-registry {registries.other_version()}"
    if not wrk.is_installed():
        _say("wrk is not installed, so there are no requests per second; apt-get install wrk")
    try:
        sizes = QUICK if options.quick else FULL
        if options.rounds is not None:
            sizes = replace(sizes, rounds=options.rounds)
        results = _measure(sizes, options.only, other is not None)
    except LoadFailed as error:
        _say(str(error))
        return 1
    if not results:
        _say("no row has such a name")
        return 1
    head = [_machine(), SMALL_SIZES] if options.quick else [_machine()]
    report = "\n\n".join([*head, render(results, other)]) + "\n"
    if options.out is not None:
        options.out.write_text(report)
    sys.stdout.write(report)
    return 1 if any(result.failure for result in results) else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: shows that it works, and no more")
    parser.add_argument("--only", type=_pattern, default=re.compile(""), metavar="PATTERN",
                        help="rows whose name has this regular expression in it")
    parser.add_argument("--rounds", type=_count, metavar="N", help=f"how often each row is taken [{FULL.rounds}]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the report there as well")
    parser.add_argument("--ours-only", action="store_true", help="leave the other registry out")
    return parser


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"no regular expression: {error}") from None


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number from 1 up")
    return int(text)


def _measure(sizes: Sizes, only: re.Pattern[str], compared: bool) -> list[Result]:
    results: list[Result] = []
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        making = stack.enter_context(Client())
        files = home / "files"
        files.mkdir()
        everything = [part.groups(sizes, making, files) for part in (table_rows, bucket_rows, openstack_rows)]
        for number, group in enumerate(chain(*everything)):
            rows = [row for row in group.rows if only.search(row.what)]
            if not rows:
                continue
            beside = compared and not group.alone
            with _running(home / str(number), group, beside, any(row.unsynced for row in rows)) as contestants:
                for row in rows:
                    _say(row.what)
                    results += compare(row, contestants, sizes.rounds)
    return results


@contextmanager
def _running(home: Path, group: Group, compared: bool, unsynced: bool) -> Iterator[Contestants]:
    """The registries of one group; their storage is gone afterwards."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=home.parent, prefix=home.name)))
        bucket, theirs = ((Bucket(group.redirects) if group.bucket else None) for _ in range(2))
        other: Registry | None = None
        if group.against is not None:
            other = Ours("ours otherwise", directory / "other", options=group.against)
        elif compared:
            other = Other("the other", directory / "other", theirs)
        contestants = Contestants(
            Ours("ours", directory / "ours", group.place or bucket, options=group.options),
            other,
            Ours("ours, sync: false", directory / "unsynced", sync=False) if unsynced else None,
        )
        for registry in contestants.all:
            _start(stack, registry, group)
        yield contestants


def _start(stack: ExitStack, registry: Registry, group: Group) -> None:
    stack.callback(registry.stop)
    registry.start()
    group.prepare(registry)


def _machine() -> str:
    """What the figures depend on."""
    cpus = Path("/proc/cpuinfo").read_text()
    models = re.findall(r"^model name\s*: (.*)$", cpus, re.MULTILINE) or [platform.machine()]
    return (
        f"{len(models)} processors ({models[0]}), Linux {platform.release()}, "
        f"{platform.python_implementation()} {platform.python_version()}."
    )


def _say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
