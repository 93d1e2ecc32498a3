"""What is stored of an upload session, beside its bytes; or with them, while they are few."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from docker_registry.digest import CANONICAL, Digest
from docker_registry.errors import DigestInvalid, UploadUnknown

_NOTHING = Digest.of(b"")


@dataclass(frozen=True, slots=True)
class State:
    """:ivar offset: bytes that are durable.
    :ivar digest: of those bytes.
    :ivar active: seconds since the epoch when the last byte came.
    :ivar mark: of the store's, for those bytes: they are there as long as it is.
    :ivar content: those bytes, if they are few: then nothing else is stored. Its digest tells it from other content.
    """

    offset: int
    digest: Digest
    active: float
    mark: str = ""
    content: bytes = field(default=b"", compare=False)

    def without_content(self) -> State:
        return replace(self, content=b"")

    def to_bytes(self) -> bytes:
        """A line of JSON, and the content after it. Nothing at all for a session that has just begun: an object that
        is empty is one that a store makes easily.
        """
        if self.offset == 0 and self.digest.algorithm == CANONICAL:
            return b""
        members = {"offset": self.offset, "digest": str(self.digest), "active": self.active}
        line = json.dumps(members | ({"mark": self.mark} if self.mark else {})).encode()
        return b"%b\n%b" % (line, self.content) if self.content else line

    @classmethod
    def from_bytes(cls, stored: bytes) -> State:
        """:raises UploadUnknown: nobody here wrote this."""
        if not stored:
            return cls(0, _NOTHING, 0.0)
        line, _, content = stored.partition(b"\n")
        try:
            read = json.loads(line)
            state = cls(
                int(read["offset"]), Digest.parse(read["digest"]), float(read["active"]), str(read.get("mark", "")),
                content,
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, DigestInvalid):
            raise UploadUnknown("the session's state cannot be read") from None
        if state.offset < 0 or (content and len(content) != state.offset):
            raise UploadUnknown("the session's state cannot be read")
        return state
