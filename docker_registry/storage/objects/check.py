"""Whether a store can be used as it will be, found out before the port opens (F9)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from docker_registry.errors import StorageError, StorageFailed, Transient

PROBE = b"probe"


@dataclass(frozen=True, slots=True)
class Step:
    """:ivar what: is done, for operators.
    :ivar needs: the right that it takes.
    """

    what: str
    needs: str
    do: Callable[[], Awaitable[object]]


async def check(where: str, steps: Sequence[Step], tidy: Callable[[], Awaitable[object]]) -> None:
    """Do one step after the other.

    :param where: the store, for operators.
    :param tidy: removes what was left in the middle.
    :raises StorageError: something cannot be done; the text says what, and what right it takes.
    """
    for step in steps:
        try:
            await step.do()
        except StorageError as error:
            kind = Transient if isinstance(error, Transient) else StorageFailed
            with suppress(StorageError):
                await tidy()
            raise kind(f"storage {where}: cannot {step.what} ({step.needs}): {error}") from None
