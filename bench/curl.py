"""curl with a token: what it takes to move bytes, and nothing else."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench.failures import LoadFailed


def curl(token: str, at_once: int, requests: Sequence[Sequence[str]]) -> float:
    """Make requests, so many at a time, each given as curl's arguments.

    :returns: seconds.
    :raises LoadFailed: one of them failed.
    """
    usual = ["-sS", "-f", "-o", "/dev/null", "-H", f"X-Auth-Token: {token}", "-H", "Expect:"]
    command = ["curl", "--noproxy", "*", "-Z", "--parallel-max", str(at_once)]
    for number, request in enumerate(requests):
        command += [*(["--next"] if number else []), *usual, *request]
    began = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise LoadFailed(f"curl: {done.stderr.strip()[-200:]}")
    return seconds


def in_files(contents: Sequence[bytes], directory: Path) -> list[str]:
    """Their paths."""
    directory.mkdir(exist_ok=True)
    paths = [directory / f"small-{number}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return list(map(str, paths))
