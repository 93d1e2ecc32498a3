"""What HTTP itself can find wrong.

Exception
 +- Refusal          an answer that needs no registry to decide: a status and a reason
 |   +- BodyTooLarge
 |   +- BodyTooSlow  (a SourceGone, too)
 +- SourceGone
     +- ClientGone   the client went away before the end
"""

from __future__ import annotations

from docker_registry.errors import SourceGone


class Refusal(Exception):
    """:ivar status: of the answer.
    :ivar reason: for the client's eyes.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


class BodyTooLarge(Refusal):
    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the body is longer than {limit} bytes")


class BodyTooSlow(Refusal, SourceGone):
    def __init__(self) -> None:
        super().__init__(408, "the body came too slowly")


class ClientGone(SourceGone):
    """The client went away before the end of what it was sending, or of what it was sent."""
