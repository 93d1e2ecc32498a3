"""Servers that are not well, each in its way; they end with this program."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from bench.wire import LOOPBACK

_kept: list[socket.socket] = []


def _bound() -> socket.socket:
    found = socket.socket()
    found.bind((LOOPBACK, 0))
    _kept.append(found)
    return found


def _port(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


def refusing() -> int:
    """A port that is taken, and nobody listens."""
    return _port(_bound())


def silent() -> int:
    """The kernel accepts, and nobody is there."""
    server = _bound()
    server.listen()
    return _port(server)


def slow() -> int:
    """Whoever comes gets a byte of an answer in a second, and none of it ends."""
    server = _bound()
    server.listen()
    threading.Thread(target=_accept, args=(server,), daemon=True).start()
    return _port(server)


def _accept(server: socket.socket) -> None:
    while True:
        client, _ = server.accept()
        threading.Thread(target=_drip, args=(client,), daemon=True).start()


def _drip(client: socket.socket) -> None:
    with client:
        try:
            while client.send(b"2"):
                time.sleep(1)
        except OSError:
            return                      # it has seen enough


PORTS: Mapping[str, Callable[[], int]] = MappingProxyType({
    "hang": silent, "refuse": refusing, "answer a byte a second": slow,
})
"""By what they do, how one is started; each says its port."""
