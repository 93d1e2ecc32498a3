"""Everything with a size or a duration has a limit, and this is where they stand."""

from __future__ import annotations

from dataclasses import dataclass, replace

FILES_ASIDE = 64
"""Files that are open whoever is connected, generously: the store's, the log, the reactor's."""

FILES_EACH = 3
"""Files for a connection: its socket, what it reads or writes, and the socket of somebody who is told to come later."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, durations in seconds.

    :ivar header_bytes: request line and header fields of one request.
    :ivar header_fields: how many header fields.
    :ivar target_bytes: path and query.
    :ivar query_fields: how many fields the query has.
    :ivar chunk_line_bytes: the line before a chunk, extensions included; and all trailers together.
    :ivar header_timeout: from the first byte of a request to the end of its header fields.
    :ivar keepalive_timeout: between two requests of a connection.
    :ivar body_timeout: without a byte of a body, while this side is ready to take it.
    :ivar body_floor: bytes a second that a body must bring on average over ``body_timeout``.
    :ivar response_timeout: without the client taking a byte of an answer.
    :ivar drain_bytes: of a refused body that are read and thrown away, so that the client sees the answer.
    :ivar drain_timeout: how long that may take.
    :ivar body_memory: bytes of bodies held in memory, over all requests.
    :ivar connections: open at a time.
    :ivar per_address: open at a time from one address; 0 is as many as there may be.
    """

    header_bytes: int = 32 << 10
    header_fields: int = 100
    target_bytes: int = 8 << 10
    query_fields: int = 100
    chunk_line_bytes: int = 4 << 10
    header_timeout: float = 20.0
    keepalive_timeout: float = 75.0
    body_timeout: float = 60.0
    body_floor: int = 1024
    response_timeout: float = 120.0
    drain_bytes: int = 16 << 20
    drain_timeout: float = 2.0
    body_memory: int = 48 << 20
    connections: int = 1000
    per_address: int = 100

    def within(self, files: int) -> Limits:
        """These limits, with no more connections than so many open files are enough for."""
        return replace(self, connections=max(1, min(self.connections, (files - FILES_ASIDE) // FILES_EACH)))
