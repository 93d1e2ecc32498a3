"""Requests per second, by wrk."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from bench.failures import LoadFailed
from bench.wire import LOOPBACK

PACKAGE = "wrk"
"""Debian's package, and its program."""

_TOTAL = re.compile(r"^ *(\d+) requests in ", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec: +([\d.]+)$", re.MULTILINE)
_REFUSED = re.compile(r"^ *Non-2xx or 3xx responses: (\d+)$", re.MULTILINE)
_ERRORS = re.compile(r"^ *Socket errors: (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rate:
    """:ivar requests: how many were answered.
    :ivar per_second: as wrk counts it.
    """

    requests: int
    per_second: float


def is_installed() -> bool:
    return shutil.which(PACKAGE) is not None


def run(port: int, target: str, *, connections: int, seconds: int, keep_alive: bool, accept: str) -> Rate:
    """Ask for ``target`` again and again; one thread, so that the server has a processor of two for itself.

    :raises LoadFailed: one answer was not 2xx (or 3xx), or one connection failed.
    """
    headers = [f"Accept: {accept}"]
    if not keep_alive:
        headers.append("Connection: close")
    said = subprocess.run(
        [
            PACKAGE, "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s",
            *(part for header in headers for part in ("--header", header)), f"http://{LOOPBACK}:{port}{target}",
        ],
        capture_output=True, text=True, timeout=seconds + 60, check=False,
    )
    if said.returncode != 0:
        raise LoadFailed(f"wrk ended with {said.returncode}: {said.stderr.strip()[-200:]}")
    return read(said.stdout)


def read(report: str) -> Rate:
    """:raises LoadFailed: the report tells of failures, or of no request at all."""
    if refused := _REFUSED.search(report):
        raise LoadFailed(f"{refused[1]} answers were neither 2xx nor 3xx")
    if errors := _ERRORS.search(report):
        raise LoadFailed(f"wrk's connections failed: {errors[1]}")
    total, rate = _TOTAL.search(report), _RATE.search(report)
    if total is None or rate is None or int(total[1]) == 0:
        raise LoadFailed("wrk made no request")
    return Rate(int(total[1]), float(rate[1]))

