"""What parent and worker say to each other: what the worker is to be, and then lines of one word."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

ORDERS, REPORTS = 0, 3
"""Descriptors of a worker: where it reads, and where it writes."""

BOARD = 4

COUNTS = 5
"""Memory of what is counted; the board again, where nobody can ask for it."""

SOCKETS = 6
"""The first of those that listen; what comes after them is held open, and nothing else."""

FAULT = b"fault "
"""What a line begins with that a worker says of an exception; see `docker_registry.alerts.forwarding`."""

_LENGTH = 10


class Order(Enum):
    """From the parent."""

    PING = "ping"
    RELOAD = "reload"
    STOP = "stop"
    HURRY = "hurry"


class Report(Enum):
    """From a worker."""

    READY = "ready"
    PONG = "pong"
    RELOADED = "reloaded"


@dataclass(frozen=True, slots=True)
class Charge:
    """What a worker is to be.

    :ivar number: from 1.
    :ivar source: the text of the configuration that the parent has read from ``file``; with its secrets, so it goes
        through a pipe and not into arguments or the environment.
    :ivar listen: endpoints that take the place of the file's.
    :ivar twistd: its options, as far as they say where the log goes.
    """

    number: int
    source: bytes = field(repr=False)
    file: str
    flavor: str
    listen: Sequence[str]
    twistd: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        content = json.dumps(asdict(self) | {"source": self.source.decode("latin-1")}).encode()
        return b"%0*d" % (_LENGTH, len(content)) + content

    @classmethod
    def read(cls, fd: int) -> Charge:
        """Wait for it, and read nothing of what comes behind it.

        :raises EOFError: it does not come.
        """
        members = json.loads(_exactly(fd, int(_exactly(fd, _LENGTH))))
        return cls(**members | {"source": members["source"].encode("latin-1")})


def _exactly(fd: int, count: int) -> bytes:
    content = b""
    while len(content) < count:
        piece = os.read(fd, count - len(content))
        if not piece:
            raise EOFError
        content += piece
    return content


def line(message: Enum) -> bytes:
    return f"{message.value}\n".encode()
