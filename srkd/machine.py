"""What srkd asks the operating system about the machine, where systems differ."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path


def cores() -> int:
    """The number of processor cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float | None:
    """The mean number of processes that ran or waited to run in the last minute; None on Windows, which counts none."""
    if sys.platform == "win32":
        return None
    return os.getloadavg()[0]


def busy() -> bool:
    """Whether other programs use the processor, which makes measured times too long."""
    return (load_average() or 0) > 1.5 * cores()


def peak_mb() -> float:
    """Peak memory of this process in MB; 0, not known, on Windows.

    On Linux not from `getrusage`, which starts with the parent's peak.
    """
    if sys.platform == "win32":
        return 0.0
    with suppress(OSError):
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
        return int(status["VmHWM"].split()[0]) / 2**10
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
