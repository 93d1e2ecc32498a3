"""The process as seen by its service: the signals that it gets, and the status that it ends with."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

MAPPED = 2 << 20
"""Bytes from which on a block of memory is the kernel's again as soon as it is free."""

KEPT = 16 << 20
"""Bytes of free memory that are kept."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3           # malloc.h


def open_files() -> int:
    """How many files this process may have open; that is now as many as its administrator lets it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if files == resource.RLIM_INFINITY else files


def keep_memory() -> None:
    """Have the C library keep memory that is needed again at once.

    By itself it gives back what is above a megabyte, so that each piece of a body is made of pages that the kernel has
    to find and to clear: a fifth of a large push. Other libraries than glibc have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED)
        mallopt(_M_TRIM_THRESHOLD, KEPT)


def end_by_signals() -> dict[int, Any]:
    """Have SIGTERM and SIGINT end this process at once, until a `Process` knows what there is to stop; and SIGHUP wait.

    By itself Python makes SIGINT an exception, and what imports modules loses that now and then: twistd where it looks
    for plugins, Python in a callback of its own, which keeps the lock of all imports then. And the kernel spares the
    first process of a container what nobody there handles.

    :returns: what has handled them.
    """
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_by)
    _hang_up()
    return before


def _end_by(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
    os._exit(128 + number)                              # where it is spared


class HangUp:
    """What SIGHUP asks for: to reload, as soon as anybody knows how.

    A terminal that is closed sends it as well: who was started from one, and has it no more, is stopped.

    :param outlasts: whether it goes on without, as ``nohup`` has it.
    """

    def __init__(self, outlasts: bool) -> None:
        # Who becomes a daemon leaves the session.
        self._session = os.getsid(0) if not outlasts and _has_terminal() else None
        self._reload: Callable[[], None] | None = None
        self._is_asked = False

    def __call__(self, *_: object) -> None:
        if self._session == os.getsid(0) and not _has_terminal():
            signal.raise_signal(signal.SIGTERM)
        elif self._reload is None:
            self._is_asked = True
        else:
            self._reload()

    def reload_by(self, reload: Callable[[], None]) -> None:
        self._reload = reload
        if self._is_asked:
            reload()


def _hang_up() -> HangUp:
    """What is called for SIGHUP, from now on if not before."""
    handler = signal.getsignal(signal.SIGHUP)
    if not isinstance(handler, HangUp):
        handler = HangUp(handler is signal.SIG_IGN)
        signal.signal(signal.SIGHUP, handler)
    return handler


class Process:
    """:param reactor: the one that runs."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._stopping = False

    def settle(self) -> None:
        """Have the garbage collector look at what there is by now once more, and never again.

        Otherwise it does so in the middle of requests, and nothing else runs meanwhile: what was imported is 100 000
        objects, and takes 40 to 60 ms.
        """
        gc.collect()
        gc.freeze()

    def on_stop_signal(self, call: Callable[[], None]) -> None:
        """Have ``call`` made, by the reactor, for each SIGTERM and SIGINT. The reactor has to run already.

        Twisted's own handlers would have twistd kill itself by the same signal in the end; a registry that was asked
        to stop, and did, ends with 0.
        """
        self._on((signal.SIGTERM, signal.SIGINT), call)

    def on_reload_signal(self, call: Callable[[], None]) -> None:
        """Have ``call`` made for each SIGHUP, see `HangUp`; and for SIGUSR1, unless twistd takes that to rotate its log
        file.
        """
        _hang_up().reload_by(lambda: self._reactor.callFromThread(call))
        if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
            self._on((signal.SIGUSR1,), call)

    def _on(self, numbers: tuple[signal.Signals, ...], call: Callable[[], None]) -> None:
        for number in numbers:
            signal.signal(number, lambda *_: self._reactor.callFromThread(call))

    def stop(self, status: int = 0) -> None:
        """Stop the reactor, and with it the services; the first call counts.

        :param status: what the process ends with, once the services have stopped and twistd has cleaned up. twistd
            knows of no status but 0 for a reactor that was stopped, hence the way round it.
        """
        if self._stopping:
            return
        self._stopping = True
        if status:
            atexit.register(_end, status)
        self._reactor.callWhenRunning(self._reactor.stop)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _end(status: int) -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.flush()
    os._exit(status)
