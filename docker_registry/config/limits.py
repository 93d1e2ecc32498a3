"""Options: limits of HTTP."""

from __future__ import annotations

from pydantic import Field

from docker_registry.config.section import Section
from docker_registry.config.values import Bytes, Seconds


class Limits(Section):
    """Limits of HTTP connections and requests."""

    header_bytes: Bytes = Field(
        default=32 << 10, ge=4 << 10, le=1 << 20, description="Request line and header fields of one request."
    )
    header_fields: int = Field(default=100, ge=20, le=10_000, description="Header fields of one request.")
    target_bytes: Bytes = Field(default=8 << 10, ge=1 << 10, le=1 << 20, description="Path and query of one request.")
    query_fields: int = Field(default=100, ge=10, le=10_000, description="Fields of one query.")
    chunk_line_bytes: Bytes = Field(
        default=4 << 10, ge=64, le=1 << 20,
        description="The line before a chunk of a body, extensions included; and all trailers together.",
    )
    header_timeout: Seconds = Field(
        default=20.0, ge=1, le=3600, description="From the first byte of a request to the end of its header fields."
    )
    keepalive_timeout: Seconds = Field(default=75.0, ge=0, le=3600, description="Between two requests of a connection.")
    body_timeout: Seconds = Field(default=60.0, ge=1, le=3600, description="Without a byte of a body.")
    body_floor: int = Field(
        default=1024, ge=0, description="Bytes a second that a body must bring, on average over `body_timeout`."
    )
    response_timeout: Seconds = Field(
        default=120.0, ge=1, le=86400, description="Without the client taking a byte of an answer."
    )
    drain_bytes: Bytes = Field(
        default=16 << 20, ge=0, le=1 << 30,
        description="Of a refused body, what is read and thrown away so that the client sees the answer.",
    )
    drain_timeout: Seconds = Field(default=2.0, ge=0, le=60, description="How long that may take.")
    body_memory: Bytes = Field(
        default=48 << 20, ge=4 << 20,
        description="Bodies held in memory, all requests together; beyond it clients wait. Each of several workers has "
        "its share. The first 64 KiB of each upload are held beside it.",
    )
    connections: int = Field(
        default=1000, ge=1,
        description="Open connections; fewer where the limit of open files is below three for each. Each of several "
        "workers has its share.",
    )
    per_address: int = Field(
        default=100, ge=0,
        description="Open connections from one address. 0 is no limit of its own: right behind a proxy. Each of "
        "several workers has its share, and 10 at least.",
    )
