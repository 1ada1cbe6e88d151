"""What srkd asks the operating system about the machine, where systems differ."""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import suppress
from pathlib import Path


def cores() -> int:
    """The number of processor cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """The number of threads of an inference engine: torch's setting where torch is used, else OMP_NUM_THREADS or
    `cores`."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    named = os.environ.get("OMP_NUM_THREADS", "")
    return int(named) if named.isdecimal() and int(named) else cores()


def processor_and_threads() -> str:
    """Such as "AMD EPYC, 2 threads"."""
    from srkd.training.precision import cpu_flags  # of a package that those who ask for cores need not load

    found = re.search(r"model name\s*:\s*(.+)", cpu_flags())
    count = threads()
    return f"{found[1] if found else platform.machine()}, {count} thread{'s' * (count != 1)}"


def adopt_slurm_step() -> None:
    """Under `srun` with several tasks, set the variables by which torchrun tells a process its place among them.

    Not in a batch script itself, which is one process whatever the job has asked for: only a step has
    SLURM_STEP_NUM_TASKS.
    """
    environ = os.environ
    count, nodes = (environ.get(f"SLURM_STEP_NUM_{what}", "1") for what in ("TASKS", "NODES"))
    if "RANK" in environ or not (count.isdecimal() and nodes.isdecimal()) or int(count) < 2:
        return
    environ["RANK"], environ["WORLD_SIZE"] = environ["SLURM_PROCID"], count
    environ["LOCAL_RANK"] = environ["SLURM_LOCALID"]
    environ["LOCAL_WORLD_SIZE"] = str(max(1, int(count) // max(1, int(nodes))))


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
