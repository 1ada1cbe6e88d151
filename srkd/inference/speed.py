"""The speed of networks on this machine: every time that srkd reports or decides by is measured here.

`python -m srkd.inference.speed` runs one measurement in a process of its own (see `in_subprocess`).
"""

from __future__ import annotations

import importlib
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from srkd.errors import SrkdError
from srkd.inference import backends
from srkd.inference.model import Model
from srkd.machine import peak_mb, processor_and_threads
from srkd.networks.device import device_of
from srkd.trust import environment, granted, trusting

_FEWEST, _LONG, _VERY_LONG = 3, 1.0, 10.0
Size = tuple[int, int]


@dataclass(frozen=True)
class Speed:
    """The milliseconds of each timed pass, at least one."""

    passes: tuple[float, ...]

    @property
    def ms(self) -> float:
        """The median."""
        return statistics.median(self.passes)

    @property
    def fastest(self) -> float:
        return min(self.passes)

    @property
    def spread(self) -> float | None:
        """Half the distance between the quartiles as a share of the median; None if too few passes were timed."""
        if len(self.passes) < _FEWEST:
            return None
        low, _, high = statistics.quantiles(self.passes, n=4, method="inclusive")
        return (high - low) / 2 / self.ms


class SpeedMeter:
    """Times repeated passes of a network or of any other call.

    The first pass is a warm-up. At least three more are timed, unless the second takes over a second and longer than
    `seconds`: then it is the only one. A first pass of over 10 s and over ten times `seconds` is the only one, too.

    Args:
        seconds: how long to measure each time.
        limit: seconds from now on after which measurements end at their first timed pass (see `left`).
        clock: the current time in seconds.
    """

    def __init__(
        self, seconds: float = 2.0, limit: float = math.inf, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.seconds, self.clock, self._end = seconds, clock, clock() + limit

    @property
    def left(self) -> float:
        """Seconds of `limit` that are left; negative if it is exceeded."""
        return self._end - self.clock()

    def once(self, call: Callable[[], object]) -> float:
        """Seconds of a single call."""
        started = self.clock()
        call()
        return self.clock() - started

    def time(self, call: Callable[[], object]) -> Speed:
        """The speed of a call."""
        first = self.once(call)
        if first > max(10 * self.seconds, _VERY_LONG):
            return Speed((1000 * first,))
        times = [self.once(call)]
        if times[0] <= max(self.seconds, _LONG):
            while self.left > 0 and (len(times) < _FEWEST or sum(times) < self.seconds):
                times.append(self.once(call))
        return Speed(tuple(1000 * seconds for seconds in times))

    def network(
        self,
        network: nn.Module,
        height: int = 256,
        width: int = 256,
        layout: torch.memory_format = torch.channels_last,
    ) -> Speed:
        """The speed of a forward pass at batch 1 on the network's device.

        Args:
            height, width: input size in pixels.
        """
        x = torch.rand(1, 3, height, width, device=device_of(network)).to(memory_format=layout)

        @torch.inference_mode()
        def forward() -> None:
            network(x)
            if x.is_cuda:
                torch.cuda.synchronize(x.device)

        return self.time(forward)

    def model(self, model: Callable[[Any], object], at: Size = (256, 256)) -> Speed:
        """The speed of a model, or another function of uint8 (1, height, width, 3), for one image.

        Args:
            at: its (width, height).
        """
        image = noise(*at)
        return self.time(lambda: model(image))


class StepRate:
    """Steps per second of a loop that calls `tick` after each step: the mean, since data arrive in bursts.

    Args:
        seconds: how long to count, from the end of the warm-up.
        warm_up: steps that are not counted, at least one, until workers have started and the allocator has settled.
    """

    def __init__(self, seconds: float, warm_up: int = 5, clock: Callable[[], float] = time.perf_counter) -> None:
        self._seconds, self._warm_up, self._clock = seconds, warm_up, clock
        self.steps, self._started, self._last = -warm_up, 0.0, 0.0

    def tick(self) -> bool:
        """Count a step; True when `seconds` have passed and at least one step was counted."""
        self.steps, self._last = self.steps + 1, self._clock()
        if self.steps <= 0:
            self._started = self._last
        return self.steps > 0 and self._last - self._started >= self._seconds

    @property
    def per_second(self) -> float:
        return self.steps / (self._last - self._started)


def noise(width: int, height: int) -> Any:
    """A uint8 input (1, height, width, 3) for timing, which does not depend on the content."""
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)


def with_peak_memory(measure: Callable[[], Speed]) -> dict[str, Any]:
    """{"ms", "peak MB"} of a measurement; the memory that was in use before it is not counted. Outside Linux, where an
    earlier peak cannot be reset, the peak may be 0."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = peak_mb()
    ms = measure().ms
    return {"ms": round(ms, 2), "peak MB": round(peak_mb() - before)}


def speed_and_memory(model: str, backend: tuple[str, str], at: Size, seconds: float) -> dict[str, Any]:
    """`with_peak_memory` of a model: for torch a zoo name or checkpoint, else an exported file. Loading is not counted.

    Args:
        at: (width, height) of the input.
    """
    runtime, precision = backend
    if runtime == "torch":
        opened = backends.open_engine(Model.load(model), runtime, precision)
    else:
        opened = backends.open_file(Path(model), precision)
    return with_peak_memory(lambda: SpeedMeter(seconds).model(opened, at))


def in_subprocess(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a new process, so that earlier work (allocator settings, threads, allocated
    memory) does not affect what it measures. Arguments and result are data that JSON can represent.

    Raises:
        SrkdError: as the function; or the process failed, with the last line of its standard error.
    """
    call = json.dumps([function.__module__, function.__name__, arguments, granted()])
    command = [sys.executable, "-m", __name__, call]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise SrkdError(f"{arguments[0]} could not be measured in a subprocess: {lines[-1]}")
    result = json.loads(done.stdout.splitlines()[-1])
    if "error" in result:
        raise SrkdError(result["error"])
    return result["value"]


def _main(call: str) -> None:
    module, name, arguments, trust_code = json.loads(call)
    try:
        with trusting(trust_code):
            result = {"value": getattr(importlib.import_module(module), name)(*arguments)}
    except SrkdError as error:
        result = {"error": str(error)}
    print(json.dumps(result))


def machine() -> str:
    """Description of this machine: processor, threads, torch version."""
    return f"{processor_and_threads()}, torch {torch.__version__.split('+')[0]}"


if __name__ == "__main__":
    _main(sys.argv[1])
