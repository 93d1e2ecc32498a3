"""What has to be known of a container."""

from __future__ import annotations

from dataclasses import dataclass, field

SEGMENTS, UNFINISHED = ".segments", ".unfinished"
"""What keys of segments begin with, and those of what is begun, below the prefix: no list of ours has them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """:ivar prefix: of all keys, with a slash at its end unless it is empty.
    :ivar segment_size: bytes of one segment of a large object.
    :ivar memory: bytes of segments that are on their way, all transfers together.
    :ivar temp_url_key: signs URLs for clients; without it they are not sent to the store.
    :ivar check: whether the store is tried before the port opens, and the container made if there is none.
    """

    container: str
    prefix: str = ""
    segment_size: int = 8 << 20
    memory: int = 512 << 20
    temp_url_key: str | None = field(default=None, repr=False)
    check: bool = True
