"""What is stored of an upload session, beside its bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass

from docker_registry.digest import Digest
from docker_registry.errors import DigestInvalid, UploadUnknown


@dataclass(frozen=True, slots=True)
class State:
    """:ivar offset: bytes that are durable.
    :ivar digest: of those bytes.
    :ivar active: seconds since the epoch when the last byte came.
    :ivar mark: of the store's, for those bytes: they are there as long as it is.
    """

    offset: int
    digest: Digest
    active: float
    mark: str = ""

    def to_bytes(self) -> bytes:
        members = {"offset": self.offset, "digest": str(self.digest), "active": self.active}
        return json.dumps(members | ({"mark": self.mark} if self.mark else {})).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> State:
        """:raises UploadUnknown: nobody here wrote this."""
        try:
            state = json.loads(content)
            return cls(
                int(state["offset"]), Digest.parse(state["digest"]), float(state["active"]), str(state.get("mark", ""))
            )
        except (ValueError, TypeError, KeyError, AttributeError, DigestInvalid):
            raise UploadUnknown("the session's state cannot be read") from None
