"""Networks on this machine: models x runtimes x precisions x sizes, each measured in a process of its own.

A process each, so that the peak of memory is that of one network, and no way of running gains or loses by what another
has left behind (the allocator's settings, its caches, threads).
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srkd.deploy.cost import multiply_adds, parameters
from srkd.deploy.fuse import fuse
from srkd.engine.malloc import keep_freed_memory
from srkd.errors import SrkdError, unknown
from srkd.io.atomic import write_bytes
from srkd.report import plots, sections
from srkd.sr.evaluate import open_set
from srkd.sr.infer import Network, run, to_picture, to_tensor
from srkd.sr.metrics import Protocol, score
from srkd.sr.models import load_network
from srkd.study import benchmark_report

COLUMNS = ["model", "runtime", "precision", "size", "ms", "images/s", "G multiply-adds", "parameters", "M activations",
           "peak MB", "% of peak", "PSNR"]  # fmt: skip
Say = Callable[[str], None]
Size = tuple[int, int]


def _stock(network: nn.Module) -> Network:
    return network


def _torch_fp32(network: nn.Module) -> Network:
    keep_freed_memory()
    return _channels_last(fuse(network))


def _torch_bf16(network: nn.Module) -> Network:
    keep_freed_memory()
    half = _channels_last(fuse(network).bfloat16())
    return lambda x: half(x.bfloat16()).float()


def _channels_last(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


# (runtime, precision): makes a function from (1, 3, H, W) to its output from a network in eval mode.
WAYS: dict[tuple[str, str], Callable[[nn.Module], Network]] = {
    ("stock", "fp32"): _stock,
    ("torch", "fp32"): _torch_fp32,
    ("torch", "bf16"): _torch_bf16,
}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Wanted:
    """The runtimes and precisions to measure; None is all. Raises SrkdError for a name that there is not."""

    runtimes: Sequence[str] | None = None
    precisions: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for kind, names, index in (("runtime", self.runtimes, 0), ("precision", self.precisions, 1)):
            known = {way[index] for way in WAYS}
            for name in names or ():
                if name not in known:
                    raise unknown(kind, name, known)

    def ways(self) -> list[tuple[str, str]]:
        chosen = [
            (runtime, precision)
            for runtime, precision in WAYS
            if (self.runtimes is None or runtime in self.runtimes)
            and (self.precisions is None or precision in self.precisions)
        ]
        if not chosen:
            raise SrkdError(f"no runtime has that precision; there are {', '.join('/'.join(way) for way in WAYS)}")
        return chosen


def inference(
    models: Sequence[str], wanted: Wanted, sizes: Sequence[Size], data: str | None, seconds: float, say: Say
) -> list[dict[str, Any]]:
    """Measure everything; a row each, of `COLUMNS`, and `protocol` where there is PSNR.

    Args:
        models: zoo names or checkpoints.
        sizes: (width, height) of the input.
        data: HR pictures for PSNR by the field's protocol, or None for none.
        seconds: how long each latency and each machine peak is measured.

    Raises:
        SrkdError: as `load_network`, `open_set` and `Wanted.ways`.
    """
    rows = []
    peaks = {precision: _apart(peak_flops, precision, seconds) for precision in {way[1] for way in wanted.ways()}}
    for model in models:
        for runtime, precision in wanted.ways():
            for width, height in sizes:
                say(f"{model} {runtime} {precision} {width}x{height}")
                row = _apart(measure, model, (runtime, precision), (width, height), data, seconds)
                row["% of peak"] = round(100 * 2e12 * row["G multiply-adds"] / row["ms"] / peaks[precision], 1)
                rows.append(row)
    return rows


def _apart(function: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@torch.inference_mode()
def measure(model: str, way: tuple[str, str], size: Size, data: str | None, seconds: float) -> dict[str, Any]:
    """One row without its share of the peak. Peak memory is what this process gained while the network ran."""
    loaded = load_network(model)
    width, height = size
    macs = multiply_adds(loaded.network, loaded.scale, height * loaded.scale, width * loaded.scale)
    held = activations(loaded.network) * width * height
    run_once = WAYS[way](loaded.network)
    x = torch.rand(1, 3, height, width)
    if way[0] != "stock":
        x = x.to(memory_format=torch.channels_last)
    before = _peak_mb()
    ms = median_ms(lambda: run_once(x), seconds)
    peak = _peak_mb() - before
    row = {"model": loaded.name, "runtime": way[0], "precision": way[1], "size": f"{width}x{height}",
           "ms": round(ms, 2), "images/s": round(1000 / ms, 2), "G multiply-adds": round(macs / 1e9, 3),
           "parameters": parameters(loaded.network), "M activations": round(held / 1e6, 1), "peak MB": round(peak),
           "PSNR": None}  # fmt: skip
    return row if data is None else row | _quality(run_once, loaded.scale, loaded.multiple, data)


def _quality(network: Network, scale: int, multiple: int, data: str) -> dict[str, Any]:
    _, store = open_set(data, scale)
    protocol = Protocol.default(scale, lr="matlab_bicubic")
    values = []
    for i in range(len(store)):
        output = to_picture(run(network, to_tensor(store.lr(i)), scale, multiple))
        values.append(score(output, store.hr(i), protocol, store.is_grey(i))["psnr"])
    return {"PSNR": round(statistics.mean(values), 3), "protocol": protocol.as_dict()}


def activations(network: nn.Module) -> float:
    """Values that the convolutions put out for each pixel of input, the field's measure of memory traffic."""
    total = 0

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal total
        total += output.numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    network(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return total / 32**2


def peak_flops(precision: str, seconds: float) -> float:
    """Operations a second of the machine in a precision: its best product of two 2048 x 2048 matrices."""
    a = torch.rand(2048, 2048).to(_DTYPES[precision])
    times = [_seconds_of(lambda: a @ a) for _ in range(3)]
    while sum(times) < seconds:
        times.append(_seconds_of(lambda: a @ a))
    return 2 * 2048**3 / min(times)


def median_ms(function: Callable[[], Any], seconds: float) -> float:
    """Median milliseconds of a call, after one that is not counted; at least three are."""
    function()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        times.append(_seconds_of(function))
    return 1000 * statistics.median(times)


def _seconds_of(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def size_named(text: str) -> Size:
    """(width, height) of text such as 1280x720. Raises SrkdError for anything else."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise SrkdError(f'a size is WIDTHxHEIGHT, such as 1280x720; got "{text}"')
    return int(width), int(height)


def write(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """inference.json, inference.md, report.html and, where there is PSNR, pareto.svg: quality against time, a point a
    row."""
    shown = sections.pareto(rows, COLUMNS[:4], "ms", "PSNR", "Every row; up and to the left is better.")
    benchmark_report.write(folder, "inference", rows, COLUMNS, plots=shown)
    for section in shown:
        write_bytes(folder / "pareto.svg", plots.draw(section["plot"]))
