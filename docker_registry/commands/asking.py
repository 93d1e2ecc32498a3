"""A running daemon, asked through its admin listener, or by what lies in its store."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from docker_registry.config.values import reachable

PATIENCE = 15.0
"""Seconds: longer than a store takes to be found hanging."""

LARGEST = 16 << 20
"""Bytes of an answer."""


class NoAnswer(Exception):
    """The text says who does not answer, and why.

    :ivar hangs: whether somebody is there, and says nothing.
    """

    def __init__(self, said: str, hangs: bool = False) -> None:
        super().__init__(said)
        self.hangs = hangs


@dataclass(frozen=True, slots=True)
class Answer:
    """:ivar where: the endpoint that was asked.
    :ivar standing: what ``/readyz`` says.
    :ivar figures: sums of what ``/metrics`` says, by name; of times, the first.
    """

    where: str
    is_ready: bool
    standing: dict[str, Any]
    figures: dict[str, float]


def ask(endpoint: str) -> Answer:
    """:raises NoAnswer: nobody is there, or it is somebody else."""
    place = reachable(endpoint)
    if place is None:
        raise NoAnswer(f"{endpoint}: only tcp and unix endpoints can be asked")
    try:
        status, standing = _get(place, "/readyz")
        _, metrics = _get(place, "/metrics")
        return Answer(endpoint, status == 200, _object(standing), dict(_figures(metrics.decode("utf-8"))))
    except TimeoutError:
        raise NoAnswer(f"{endpoint}: no answer within {PATIENCE:g} s", hangs=True) from None
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        raise NoAnswer(f"{endpoint}: {getattr(error, 'strerror', None) or error or 'no answer'}") from None


def holder(store: Path) -> int | None:
    """The process that has a store in a directory; ``None`` if there is none."""
    try:
        pid = int((store / ".lock").read_text("ascii"))
        os.kill(pid, 0)
    except PermissionError:
        return pid
    except (OSError, ValueError):
        return None
    return pid


def _get(place: tuple[str, int] | str, path: str) -> tuple[int, bytes]:
    with closing(_Connection(place)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read(LARGEST)
        if answer.status not in (200, 503):
            raise ValueError(f"status {answer.status} for {path}: not the admin listener of a registry")
        return answer.status, content


def _object(content: bytes) -> dict[str, Any]:
    found = json.loads(content)
    if not isinstance(found, dict) or not isinstance(found.get("workers"), list):
        raise ValueError("not the admin listener of a registry")
    return found


def _figures(text: str) -> Iterator[tuple[str, float]]:
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            failed = sample.name == "registry_http_requests_total" and sample.labels["code"].startswith("5")
            for name in (sample.name, "failed_requests") if failed else (sample.name,):
                before = sums.get(name)
                if before is not None and name.endswith("start_time_seconds"):
                    sums[name] = min(before, sample.value)
                else:
                    sums[name] = (before or 0.0) + sample.value
    yield from sums.items()


class _Connection(http.client.HTTPConnection):
    """:param place: host and port, or the path of a socket."""

    def __init__(self, place: tuple[str, int] | str) -> None:
        host, port = ("localhost", None) if isinstance(place, str) else place
        super().__init__(host, port, timeout=PATIENCE)
        self._place = place

    def connect(self) -> None:
        if isinstance(self._place, tuple):
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._place)
