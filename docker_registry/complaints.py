"""What a store complains of, in the log: it has said why, and an operator can mend it. That is no exception of ours."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from docker_registry.errors import (
    OutageKnown,
    OutOfService,
    StorageFull,
    StorageRefused,
    StoreUnavailable,
    nearest,
)

_ALERTS: dict[type[BaseException], str] = {
    StorageFull: "storage full",
    StorageRefused: "store refused",
    OutOfService: "content out of service",
    StoreUnavailable: "store unavailable",
    OutageKnown: "",                            # he was told
}
"""What mail calls it."""


def log_failed(log: Logger, text: str, failure: Failure | None = None, **fields: Any) -> None:
    """Log that something failed: in one line with the reason if a store has complained, else with the traceback.

    :param text: what failed, without the reason.
    :param failure: the exception that is being handled if it is not given.
    """
    failure = Failure() if failure is None else failure
    error = failure.value
    assert error is not None
    alert = nearest(_ALERTS, error)
    if alert is None:
        log.failure(text, failure, **fields)
        return
    level = LogLevel.error if isinstance(error, StorageRefused) else LogLevel.warn
    log.emit(level, f"{text}: {{error}}", error=error, alert=alert or None, **fields)
