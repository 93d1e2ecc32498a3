"""What the machine does besides: a figure taken while others were at work says less."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")

_WAITING = (3, 4)
"""Of the times in proc(5), ``/proc/stat``: idle and iowait."""

_COUNTED = 8
"""The rest of the fields, guests, are contained in the others."""


def cpu_of(pid: int) -> float:
    """Seconds of processor time so far, user and system, of all threads that a process has or had (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass(frozen=True, slots=True)
class Moment:
    """:ivar busy: seconds of processor time, of all processors, so far.
    :ivar loads: of this process and those that make the loads.
    """

    time: float
    busy: float
    loads: float

    @classmethod
    def now(cls) -> Moment:
        first = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1 : _COUNTED + 1]
        busy = sum(int(ticks) for number, ticks in enumerate(first) if number not in _WAITING) / _TICKS
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        loads = sum(usage.ru_utime + usage.ru_stime for usage in used)
        loads += sum(cpu_of(child.pid) for child in multiprocessing.active_children() if child.pid is not None)
        return cls(time.monotonic(), busy, loads)

    def others_until(self, later: Moment, server: float) -> float:
        """How many processors other work has kept busy, the kernel's own threads among it.

        :param server: seconds of processor time of the registry that was measured meanwhile.
        """
        others = (later.busy - self.busy) - (later.loads - self.loads) - server
        return max(0.0, others) / (later.time - self.time)
