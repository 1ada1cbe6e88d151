"""Time and memory of a model in a process of its own.

`python -m srkd.compression.subprocess_timing` prints them as JSON.

A process of its own, so that nothing that ran before (the allocator's settings, threads, memory held) counts.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from srkd.compression import engines
from srkd.errors import SrkdError
from srkd.trust import environment, granted, trusting


def measure(model: str, backend: engines.Backend, at: tuple[int, int], seconds: float) -> dict[str, Any]:
    """{"ms", "peak MB"} of a model by zoo name, checkpoint or exported file; the peak is what running it has added.

    Raises:
        SrkdError: it could not be measured there; says why.
    """
    arguments = json.dumps([model, list(backend), list(at), seconds, granted()])
    command = [sys.executable, "-m", __name__, arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise SrkdError(f"{model} could not be measured in a process of its own: {said[-1]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _main(arguments: str) -> None:
    model, backend, at, seconds, trust_code = json.loads(arguments)
    with trusting(trust_code):
        engine = engines.open_delivered(Path(model), tuple(backend))
    _forget_peak()
    before = _peak_mb()
    ms = engines.latency(engine, tuple(at), seconds)
    print(json.dumps({"ms": round(ms, 2), "peak MB": round(_peak_mb() - before)}))


def _forget_peak() -> None:
    """Let the peak so far, that of loading, be what is held now; other systems than Linux cannot, and may report 0."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_mb() -> float:
    """The most memory that this process has held; on Linux not by `getrusage`, which begins with the parent's."""
    with suppress(OSError):
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
        return int(status["VmHWM"].split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


if __name__ == "__main__":
    _main(sys.argv[1])
