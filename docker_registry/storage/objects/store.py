"""What a store of objects can do, for those who build upon it. Keys are whole: the prefix is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from docker_registry.errors import StorageRefused
from docker_registry.storage.flows import Octets
from docker_registry.storage.http import Answer

HASTY = 64 << 10
"""Bytes that are hashed, or read as a document, without a thread."""


class Refused(StorageRefused):
    """:param where: for operators.
    :ivar code: the store's word for it, such as ``PreconditionFailed``, or the status.
    """

    def __init__(self, code: str, message: str, where: str = "the store") -> None:
        super().__init__(f"{where} refuses: {code} {message}".strip())
        self.code = code


class OutOfRange(Refused):
    """What was asked for begins beyond the object's end."""


@dataclass(frozen=True, slots=True)
class Head:
    """What is said of an object.

    :ivar size: in bytes.
    :ivar modified: seconds since the epoch, when it was written or touched.
    :ivar tag: changes with the content.
    :ivar session: of an upload that is not finished; empty otherwise.
    """

    size: int
    modified: float
    tag: str
    session: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing.

    :ivar keys: objects, in the order of the store.
    :ivar prefixes: what several keys begin with, up to the delimiter.
    :ivar token: asks for the next page; empty on the last.
    """

    keys: list[str]
    prefixes: list[str]
    token: str


class Objects(Protocol):
    """A call each."""

    async def head(self, key: str) -> Head:
        """:raises NotFound: nothing is there."""

    async def get(self, key: str, limit: int) -> tuple[bytes, Head]:
        """:raises NotFound: nothing is there.
        :raises Damaged: it has more than ``limit`` bytes.
        """

    async def stream(self, key: str, offset: int = 0, tag: str = "") -> tuple[Answer, Head]:
        """An object from ``offset`` on; whoever called reads the answer, or closes it.

        :param tag: of what it has to be.
        :raises NotFound: nothing is there.
        :raises OutOfRange: ``offset`` is beyond its end.
        :raises Refused: it is another than the one with ``tag``.
        """

    async def page(
        self, prefix: str, *, delimiter: str = "", after: str = "", token: str = "", limit: int = 1000
    ) -> Page:
        """Keys in byte order, and in place of those with ``delimiter`` behind the prefix what they have in common."""

    async def put(self, key: str, parts: Sequence[Octets], session: str = "", is_new: bool = False) -> str:
        """Store an object; its tag.

        :param session: of an upload that is not finished, see `Head`.
        :param is_new: whether nothing may be there.
        :raises Refused: something is there, or it cannot see to that.
        """

    async def delete(self, key: str) -> None:
        """What is not there is no error."""
