"""What a connection of Twisted's does not do or tell by itself."""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import Any

from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper


def read_at_once(transport: Any, size: int) -> None:
    """Take at most so many bytes from the socket at once."""
    socket = lowest(transport)
    if isinstance(socket, Connection):
        socket.bufferSize = size


def lowest(transport: Any) -> Any:
    """What lies below TLS and a proxy's line."""
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


def host(address: object) -> str:
    """The host of an address, ``"local"`` if it is of another kind."""
    name = getattr(address, "host", None)
    return name if isinstance(name, str) else "local"


def unsent(transport: Any) -> int | None:
    """Bytes that the kernel holds because the client has not taken them; ``None`` where there is no socket."""
    try:
        answer = fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except (AttributeError, OSError, ValueError, TypeError):
        return None
    return int(struct.unpack("i", answer)[0])
