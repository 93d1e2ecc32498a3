"""What is set for a process as a whole."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from docker_registry import process
from docker_registry.process import HangUp, end_by_signals

_PIECES = """
import resource
from docker_registry.process import keep_memory

if {kept}:
    keep_memory()
first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    pieces = [bytearray(512 << 10) for _ in range(4)]
    del pieces
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)
"""

_OBJECTS = """
import gc, weakref
from docker_registry.process import Process

class Garbage:
    pass

gc.disable()
garbage = Garbage()
garbage.itself = garbage
gone = weakref.ref(garbage)
kept = [[] for _ in range(100_000)]
del garbage
Process(None).settle()
print(gone() is None, len(gc.get_objects()))
"""

_SIGNALS = """
import os, signal
from docker_registry.process import end_by_signals

end_by_signals()
os.kill(os.getpid(), signal.{number})
"""


class SignalTests(SynchronousTestCase):
    def status(self, *words: str) -> int:
        return subprocess.run(words, capture_output=True, timeout=60).returncode

    def test_first_process_of_a_container(self) -> None:
        """Which the kernel spares."""
        first = ["unshare", "--user", "--pid", "--fork"]
        if shutil.which("unshare") is None or self.status(*first, "true"):
            raise SkipTest("this system makes no namespaces")
        for number in (signal.SIGTERM, signal.SIGINT):
            code = _SIGNALS.format(number=number.name)
            self.assertEqual(self.status(*first, sys.executable, "-c", code), 128 + number)


class HangUpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.seen: list[object] = []
        self.patch(signal, "raise_signal", self.seen.append)

    def hang_up(self, has_terminal: bool) -> HangUp:
        self.patch(process, "_has_terminal", lambda: has_terminal)
        return HangUp(outlasts=False)

    def test_reload(self) -> None:
        """Asked for before anybody knows how, as often as that was, and later."""
        for has_terminal in (True, False):
            self.seen.clear()
            hang_up = self.hang_up(has_terminal)
            hang_up()
            hang_up()
            hang_up.reload_by(lambda: self.seen.append("reload"))
            self.assertEqual(self.seen, ["reload"])
            hang_up()
            self.assertEqual(self.seen, ["reload", "reload"])

    def test_terminal_is_closed(self) -> None:
        """While it starts, and later."""
        hang_up = self.hang_up(True)
        self.patch(process, "_has_terminal", lambda: False)
        hang_up()
        hang_up.reload_by(lambda: self.seen.append("reload"))
        hang_up()
        self.assertEqual(self.seen, [signal.SIGTERM, signal.SIGTERM])

    def test_nohup(self) -> None:
        """Who is to go on without the terminal does; a reload can be asked for all the same."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.patch(process, "_has_terminal", lambda: True)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        end_by_signals()
        hang_up = signal.getsignal(signal.SIGHUP)
        assert isinstance(hang_up, HangUp)
        self.patch(process, "_has_terminal", lambda: False)
        hang_up.reload_by(lambda: self.seen.append("reload"))
        hang_up()
        self.assertEqual(self.seen, ["reload"])

    def test_terminal_is_left(self) -> None:
        """As twistd does on its way to the background."""
        hang_up = self.hang_up(True)
        self.patch(process, "_has_terminal", lambda: False)
        self.patch(os, "getsid", lambda _: -1)
        hang_up.reload_by(lambda: self.seen.append("reload"))
        hang_up()
        self.assertEqual(self.seen, ["reload"])


class MemoryTests(SynchronousTestCase):
    """The kernel has no new pages to find for each piece of a body."""

    if platform.libc_ver()[0] != "glibc":
        skip = "another C library than glibc"

    def test_pieces(self) -> None:
        self.assertLess(10 * self.faults(kept=True), self.faults(kept=False))

    def faults(self, kept: bool) -> int:
        code = _PIECES.format(kept=kept)
        return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60).stdout)


class ObjectsTests(SynchronousTestCase):
    """The garbage collector does not hold the reactor up to look at what is there from the start."""

    def test_settled(self) -> None:
        command = [sys.executable, "-c", _OBJECTS]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()
        self.assertEqual(said[0], "True", "garbage goes first")
        self.assertLess(int(said[1]), 1000)
