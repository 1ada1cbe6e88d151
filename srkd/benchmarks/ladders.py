"""Milliseconds of each size that networks declare (`srkd.networks.base.Ladder`), with random weights.

Structures are to be compared at equal speed on this machine, not at equal parameters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from srkd import networks
from srkd.inference import backends
from srkd.inference.checkpoints import build_or_load
from srkd.inference.cost import multiply_adds, parameters
from srkd.inference.speed import Size, SpeedMeter, in_subprocess, noise
from srkd.networks import registry
from srkd.networks.rungs import split

COLUMNS = ["network", "parameters", "G multiply-adds"]
_CALIBRATION = (128, 128)  # noise of this size: neither speed nor the choice of layers depends on the images
Backend = tuple[str, str]


def rungs(names: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Specs of sizes by title, such as `ETDS 32x5`: width and depth.

    Args:
        names: networks, all of whose sizes are returned, or titles of any size; by default all networks that declare
            some.

    Raises:
        SrkdError: as `rungs.split`.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in names or dict(registry.ladders()):
        kind, ladder, size = split(name)
        specs = [ladder.spec(kind, *size)] if size else [spec for line in ladder.lines(kind) for spec in line]
        found |= {f"{kind} {spec[ladder.width]}x{spec[ladder.depth]}": spec for spec in specs}
    return found


def ladders(
    names: Sequence[str],
    selection: Sequence[Backend],
    sizes: Sequence[Size],
    scale: int,
    threads: int,
    seconds: float,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """A row for each size of `rungs(names)`: `COLUMNS`, of an output of 1280x720, and those of `timings`.

    Args:
        selection: (runtime, precision) pairs.
        sizes: (width, height) of the input.
        threads: number of threads of the runtime.
        seconds: time of each measurement.

    Raises:
        SrkdError: as `rungs`, `srkd.networks.build` and `backends.open_engine`.
    """
    rows = []
    for title, spec in rungs(names).items():
        say(title)
        network = networks.build(spec, scale).eval()
        row = {
            "network": title,
            "parameters": parameters(network),
            "G multiply-adds": round(multiply_adds(network, scale) / 1e9, 2),
        }
        for backend in selection:
            times = in_subprocess(measure, spec, list(backend), sizes, scale, threads, seconds)
            row |= dict(zip(timings([backend], sizes), times, strict=True))
        rows.append(row)
    return rows


def timings(selection: Sequence[Backend], sizes: Sequence[Size]) -> list[str]:
    """Titles of the columns of milliseconds."""
    return [f"{runtime} {precision} {width}x{height}" for runtime, precision in selection for width, height in sizes]


def measure(
    spec: dict[str, Any], backend: Sequence[str], sizes: Sequence[Size], scale: int, threads: int, seconds: float
) -> list[float]:
    """Milliseconds of one network for each size, fused.

    With one thread this is the processor's time, which other programs on the machine affect less than elapsed time.
    """
    torch.set_num_threads(threads)
    runtime, precision = backend
    model = build_or_load(spec, scale, "network")
    model.network.eval()
    model = backends.open_engine(model, runtime, precision, [noise(*_CALIBRATION)[0]])
    meter = SpeedMeter(seconds, clock=time.process_time if threads == 1 else time.perf_counter)
    return [round(meter.model(model, (width, height)).ms, 2) for width, height in sizes]
