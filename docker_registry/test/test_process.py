"""What is set for a process as a whole."""

from __future__ import annotations

import platform
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

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


class MemoryTests(SynchronousTestCase):
    """The kernel has no new pages to find for each piece of a body."""

    if platform.libc_ver()[0] != "glibc":
        skip = "another C library than glibc"

    def test_pieces(self) -> None:
        self.assertLess(10 * self.faults(kept=True), self.faults(kept=False))

    def faults(self, kept: bool) -> int:
        code = _PIECES.format(kept=kept)
        return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60).stdout)
