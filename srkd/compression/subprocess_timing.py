"""Time and memory of a model, measured in a subprocess.

`python -m srkd.compression.subprocess_timing` prints them as JSON. In a subprocess, earlier work (allocator settings,
threads, allocated memory) does not affect the measurement.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from srkd.compression import engines
from srkd.errors import SrkdError
from srkd.machine import peak_mb
from srkd.trust import environment, granted, trusting


def measure(model: str, backend: engines.Backend, at: tuple[int, int], seconds: float) -> dict[str, Any]:
    """{"ms", "peak MB"} of a model (zoo name, checkpoint or exported file); the peak excludes loading the model.

    Args:
        at: (width, height) of the input.
        seconds: time of the measurement.

    Raises:
        SrkdError: the measurement failed; the message has the last line of its standard error.
    """
    arguments = json.dumps([model, list(backend), list(at), seconds, granted()])
    command = [sys.executable, "-m", __name__, arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise SrkdError(f"{model} could not be measured in a subprocess: {lines[-1]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _main(arguments: str) -> None:
    model, backend, at, seconds, trust_code = json.loads(arguments)
    with trusting(trust_code):
        engine = engines.open_delivered(Path(model), tuple(backend))
    _reset_peak()
    before = peak_mb()
    ms = engines.latency(engine, tuple(at), seconds)
    print(json.dumps({"ms": round(ms, 2), "peak MB": round(peak_mb() - before)}))


def _reset_peak() -> None:
    """Reset the peak to the current memory use, to exclude loading. Linux only; elsewhere the result may be 0."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


if __name__ == "__main__":
    _main(sys.argv[1])
