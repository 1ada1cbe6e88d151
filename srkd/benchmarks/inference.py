"""Inference speed on this machine: models x runtimes x precisions x sizes, each measured in a subprocess.

With a subprocess each, the peak memory is that of one network, and no measurement is affected by the state that another
leaves behind (allocator settings, caches, threads).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srkd.benchmarks import report
from srkd.errors import SrkdError, unknown
from srkd.files.atomic import write_bytes
from srkd.inference import backends
from srkd.inference.autotune import Autotuner
from srkd.inference.calibration import calibration_images, evaluation_images, tiled
from srkd.inference.cost import median_ms, multiply_adds, parameters
from srkd.inference.model import Model
from srkd.machine import peak_mb
from srkd.networks.infer import run, to_image, to_tensor
from srkd.report import plots, sections

COLUMNS = [
    "model",
    "runtime",
    "precision",
    "size",
    "ms",
    "images/s",
    "G multiply-adds",
    "parameters",
    "M activations",
    "peak MB",
    "% of peak",
    "PSNR",
]
Say = Callable[[str], None]
Size = tuple[int, int]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_MAX_DROP = 0.1  # dB that int8 may lose on the calibration images
STOCK = ("stock", "fp32")  # torch's default eager mode, NCHW


def available() -> list[tuple[str, str]]:
    """Each (runtime, precision) that can be measured here."""
    return [STOCK, *backends.available()]


@dataclass(frozen=True)
class Selection:
    """The runtimes and precisions to measure; None means all. Raises SrkdError for unknown names."""

    runtimes: Sequence[str] | None = None
    precisions: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for kind, names, index in (("runtime", self.runtimes, 0), ("precision", self.precisions, 1)):
            known = {backend[index] for backend in available()}
            for name in names or ():
                if name not in known:
                    raise unknown(kind, name, known)

    def available(self) -> list[tuple[str, str]]:
        chosen = [
            (runtime, precision)
            for runtime, precision in available()
            if (self.runtimes is None or runtime in self.runtimes)
            and (self.precisions is None or precision in self.precisions)
        ]
        if not chosen:
            raise SrkdError(
                f"no runtime has that precision; available: {', '.join('/'.join(backend) for backend in available())}"
            )
        return chosen


def inference(
    models: Sequence[str], selection: Selection, sizes: Sequence[Size], data: str | None, seconds: float, say: Say
) -> list[dict[str, Any]]:
    """Measure all combinations; a row each with `COLUMNS`, and with `protocol` if PSNR is measured.

    Args:
        models: zoo names or checkpoints.
        sizes: (width, height) of the input.
        data: HR images for PSNR by the usual protocol, or None to skip it.
        seconds: time of each measurement, of a latency or of the machine's peak.

    Raises:
        SrkdError: as `load_network`, `open_set` and `Selection.available`.
    """
    rows = []
    peaks = {
        precision: _in_subprocess(peak_flops, precision, seconds)
        for precision in {backend[1] for backend in selection.available()}
    }
    for model in models:
        for runtime, precision in selection.available():
            for width, height in sizes:
                say(f"{model} {runtime} {precision} {width}x{height}")
                row = _in_subprocess(measure, model, (runtime, precision), (width, height), data, seconds)
                peak = peaks[precision]
                flops = 2e12 * row["G multiply-adds"] / row["ms"]
                row["% of peak"] = None if peak is None else round(100 * flops / peak, 1)
                rows.append(row)
    return rows


def _in_subprocess(function: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@torch.inference_mode()
def measure(model: str, backend: tuple[str, str], size: Size, data: str | None, seconds: float) -> dict[str, Any]:
    """One row without "% of peak". Peak memory is the growth of this process while the network ran."""
    loaded = Model.load(model)
    width, height = size
    macs = multiply_adds(loaded.network, loaded.scale, height * loaded.scale, width * loaded.scale)
    activation_count = activations(loaded.network) * width * height
    row = {
        "model": loaded.name,
        "runtime": backend[0],
        "precision": backend[1],
        "size": f"{width}x{height}",
        "ms": None,
        "images/s": None,
        "G multiply-adds": round(macs / 1e9, 3),
        "parameters": parameters(loaded.network),
        "M activations": round(activation_count / 1e6, 1),
        "peak MB": None,
        "PSNR": None,
    }
    image = tiled(calibration_images(loaded.scale, count=1).pairs[0].lr, height, width)
    predict: Callable[[np.ndarray], np.ndarray]
    if backend == STOCK:
        x = torch.from_numpy(image).permute(0, 3, 1, 2).float().div(255).contiguous()
        timed = lambda: loaded.network(x)  # noqa: E731
        multiple, minimum = loaded.multiple, loaded.minimum
        predict = lambda lr: to_image(  # noqa: E731
            run(loaded.network, to_tensor(lr), loaded.scale, multiple, minimum=minimum)
        )
    else:
        engine = Autotuner(loaded, _MAX_DROP, lambda line: None).engine(backend)
        timed = lambda: engine(image)  # noqa: E731
        predict = lambda lr: engine(lr[None])[0]  # noqa: E731
    before = peak_mb()
    ms = median_ms(timed, seconds)
    row |= {"ms": round(ms, 2), "images/s": round(1000 / ms, 2), "peak MB": round(peak_mb() - before)}
    return row if data is None else row | _quality(predict, loaded.scale, data)


def _quality(predict: Callable[[np.ndarray], np.ndarray], scale: int, data: str) -> dict[str, Any]:
    images = evaluation_images(data, scale)
    psnr = images.psnr([predict(pair.lr) for pair in images.pairs])
    return {"PSNR": round(psnr, 3), "protocol": images.protocol.as_dict()}


def activations(network: nn.Module) -> float:
    """Number of output values of all convolutions per input pixel, the usual measure of memory traffic."""
    total = 0

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal total
        total += output.numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    network(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return total / 32**2


def peak_flops(precision: str, seconds: float) -> float | None:
    """Peak operations per second of this machine in a precision, from a product of 2048 x 2048 matrices in torch; for
    int8 from four 3x3 convolutions of 256 channels in OpenVINO (torch is slow in int8), or None without OpenVINO."""
    if precision == "int8":
        return _int8_flops(seconds) if ("openvino", "int8") in backends.available() else None
    a = torch.rand(2048, 2048).to(_DTYPES[precision])
    return 2 * 2048**3 / _best(lambda: a @ a, seconds)


def _int8_flops(seconds: float) -> float:
    wide = [part for _ in range(4) for part in (nn.Conv2d(256, 256, 3, padding=1), nn.ReLU())]
    network = nn.Sequential(nn.Conv2d(3, 256, 1), *wide, nn.Conv2d(256, 3, 1)).eval()
    image = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8).numpy()
    engine = backends.open_engine(Model(network, 1), "openvino", "int8", [image[0]])
    return 2 * 4 * 9 * 256**2 * 128**2 / _best(lambda: engine(image), seconds)


def _best(function: Callable[[], Any], seconds: float) -> float:
    times = [_seconds_of(function) for _ in range(4)]
    while sum(times) < seconds:
        times.append(_seconds_of(function))
    return min(times)


def _seconds_of(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def size_named(text: str) -> Size:
    """(width, height) of text such as 1280x720. Raises SrkdError for anything else."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise SrkdError(f'a size is WIDTHxHEIGHT, such as 1280x720; got "{text}"')
    return int(width), int(height)


def write(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write inference.json, inference.md, report.html and, if PSNR was measured, pareto.svg (PSNR against time)."""
    shown = sections.pareto(rows, COLUMNS[:4], "ms", "PSNR", "One point per row; up and to the left is better.")
    report.write(folder, "inference", rows, COLUMNS, plots=shown)
    for section in shown:
        write_bytes(folder / "pareto.svg", plots.draw(section["plot"]))
