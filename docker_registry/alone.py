"""What a command does over a store that no daemon has."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from docker_registry.assembly import Core
from docker_registry.errors import StorageError
from docker_registry.output import complain

STOPPED = 1
"""The status of a command that did not come to its end."""

T = TypeVar("T")

Status = Coroutine[Deferred[Any], Any, int]


def over_store(reactor: Any, made: Core, work: Callable[[Core], Status]) -> Deferred[None]:
    """Open a store, do ``work``, and close it. When the reactor stops, the work does.

    Fails with `SystemExit` unless the work comes to 0.
    """
    made.pool.start()
    reactor.addSystemEventTrigger("during", "shutdown", made.pool.stop)
    running = Deferred.fromCoroutine(_opened(made, work))
    ended: Deferred[None] = Deferred()

    def end(result: T) -> T:
        ended.callback(None)
        return result

    def stop() -> Deferred[None]:
        made.registry.stop()
        running.cancel()
        return ended

    reactor.addSystemEventTrigger("before", "shutdown", stop)
    return running.addBoth(end)


async def _opened(made: Core, work: Callable[[Core], Status]) -> None:
    try:
        await made.storage.start()
    except StorageError as error:
        complain(str(error))
        raise SystemExit(STOPPED) from None
    try:
        status = await work(made)
    finally:
        await made.registry.idle()
        await made.registry.close()
        await made.storage.close()
    if status:
        raise SystemExit(status)


async def resumable(work: Status, say: Callable[[str], None]) -> int:
    """What ``work`` comes to, which goes on where it was when it is begun again."""
    try:
        return await work
    except CancelledError:
        say("stopped: run it again to go on")
    except StorageError as error:
        say(f"{error}: mend that and run it again to go on")
    return STOPPED
