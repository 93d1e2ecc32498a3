"""Whether a store can be used as it will be, found out before the port opens (F9)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from twisted.logger import Logger

from docker_registry.complaints import log_failed
from docker_registry.errors import StorageError, StorageFailed, StorageFull, Transient

PROBE = b"probe"

_log = Logger()


@dataclass(frozen=True, slots=True)
class Step:
    """:ivar what: is done, for operators.
    :ivar needs: the right that it takes.
    :ivar of_what_was_written: whether it cannot be done where there was no room to write.
    """

    what: str
    needs: str
    do: Callable[[], Awaitable[object]]
    of_what_was_written: bool = False


async def check(where: str, steps: Sequence[Step], tidy: Callable[[], Awaitable[object]]) -> None:
    """Do one step after the other. A store without room can be used all the same: to pull.

    :param where: the store, for operators.
    :param tidy: removes what was left in the middle.
    :raises StorageError: something cannot be done; the text says what, and what right it takes.
    """
    is_full = False
    for step in steps:
        if is_full and step.of_what_was_written:
            continue
        try:
            await step.do()
        except StorageFull:
            if not is_full:
                log_failed(_log, f"storage {where}: nothing can be written now, and what is there can be pulled")
            is_full = True
        except StorageError as error:
            kind = Transient if isinstance(error, Transient) else StorageFailed
            with suppress(StorageError):
                await tidy()
            raise kind(f"storage {where}: cannot {step.what} ({step.needs}): {error}") from None
