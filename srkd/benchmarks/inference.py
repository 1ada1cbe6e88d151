"""Inference speed on this machine: models x runtimes x precisions x sizes, each measured in a subprocess.

With a subprocess each, the peak memory is that of one network, and no measurement is affected by the state that another
leaves behind (allocator settings, caches, threads).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from srkd.benchmarks import report
from srkd.errors import SrkdError, unknown
from srkd.files.atomic import write_bytes
from srkd.inference import backends
from srkd.inference.autotune import Autotuner, BackendSpec
from srkd.inference.calibration import evaluation_images
from srkd.inference.cost import activations, multiply_adds, parameters
from srkd.inference.model import Model
from srkd.inference.speed import Size, SpeedMeter, in_subprocess, with_peak_memory
from srkd.metrics.psnr import PSNR
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
    PSNR.label,
]
Say = Callable[[str], None]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
STOCK = ("stock", "fp32")  # torch's default eager mode, NCHW


def available() -> list[tuple[str, str]]:
    """Each (runtime, precision) that can be measured here."""
    return [STOCK, *backends.available()]


@dataclass(frozen=True)
class Selection:
    """The runtimes and precisions to measure; None means all.

    Raises:
        SrkdError: an unknown name; a runtime that is not installed.
    """

    runtimes: Sequence[str] | None = None
    precisions: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name in backends.PRECISIONS.keys() & (self.runtimes or ()):
            backends.check_installed(name)
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
        SrkdError: as `Model.load`, `open_set` and `Selection.available`.
    """
    rows = []
    peaks = {
        precision: in_subprocess(peak_flops, precision, seconds)
        for precision in {backend[1] for backend in selection.available()}
    }
    for model in models:
        for runtime, precision in selection.available():
            for width, height in sizes:
                say(f"{model} {runtime} {precision} {width}x{height}")
                row = in_subprocess(measure, model, (runtime, precision), (width, height), data, seconds)
                peak = peaks[precision]
                flops = 2e12 * row["G multiply-adds"] / row["ms"]
                row["% of peak"] = None if peak is None else round(100 * flops / peak, 1)
                rows.append(row)
    return rows


@torch.inference_mode()
def measure(model: str, backend: tuple[str, str], size: Size, data: str | None, seconds: float) -> dict[str, Any]:
    """One row without "% of peak". Peak memory is the growth of this process while the network ran."""
    loaded = Model.load(model)
    (runtime, precision), (width, height) = backend, size
    macs = multiply_adds(loaded.network, loaded.scale, height * loaded.scale, width * loaded.scale)
    activation_count = activations(loaded.network) * width * height
    row = {
        "model": loaded.name,
        "runtime": runtime,
        "precision": precision,
        "size": f"{width}x{height}",
        "ms": None,
        "images/s": None,
        "G multiply-adds": round(macs / 1e9, 3),
        "parameters": parameters(loaded.network),
        "M activations": round(activation_count / 1e6, 1),
        "peak MB": None,
        PSNR.label: None,
    }
    meter = SpeedMeter(seconds)
    if runtime == STOCK[0]:
        opened = loaded
        timed = lambda: meter.network(loaded.network, height, width, torch.contiguous_format)  # noqa: E731
    else:
        opened = Autotuner(loaded, BackendSpec().max_drop, lambda line: None).opened((runtime, precision))
        timed = lambda: meter.model(opened, size)  # noqa: E731
    measured = with_peak_memory(timed)
    row |= measured | {"images/s": round(1000 / measured["ms"], 2)}
    return row if data is None else row | _quality(opened, data)


def _quality(model: Model, data: str) -> dict[str, Any]:
    images = evaluation_images(data, model.scale)
    psnr = images.psnr(images.predictions(model))
    return {PSNR.label: round(psnr, PSNR.digits), "protocol": images.protocol.as_dict()}


def peak_flops(precision: str, seconds: float) -> float | None:
    """Peak operations per second of this machine in a precision: the faster of a product of 2048 x 2048 matrices and a
    3x3 convolution of 256 channels in torch, whose libraries do not know every processor equally well; for int8 of
    such convolutions in OpenVINO (torch is slow in int8), or None without OpenVINO."""
    if precision == "int8":
        return _int8_flops(seconds) if ("openvino", "int8") in backends.available() else None
    a = torch.rand(2048, 2048).to(_DTYPES[precision])
    x = torch.rand(1, 256, 128, 128).to(_DTYPES[precision], memory_format=torch.channels_last)
    convolution = nn.Conv2d(256, 256, 3, padding=1, dtype=_DTYPES[precision])
    with torch.inference_mode():
        product = 2 * 2048**3 / _fastest(lambda: a @ a, seconds)
        return max(product, 2 * 9 * 256**2 * 128**2 / _fastest(lambda: convolution(x), seconds))


def _int8_flops(seconds: float) -> float:
    wide = [part for _ in range(4) for part in (nn.Conv2d(256, 256, 3, padding=1), nn.ReLU())]
    network = nn.Sequential(nn.Conv2d(3, 256, 1), *wide, nn.Conv2d(256, 3, 1)).eval()
    image = torch.randint(0, 256, (1, 128, 128, 3), dtype=torch.uint8).numpy()
    model = backends.open_engine(Model(network, 1), "openvino", "int8", [image[0]])
    return 2 * 4 * 9 * 256**2 * 128**2 / _fastest(lambda: model(image), seconds)


def _fastest(call: Callable[[], Any], seconds: float) -> float:
    return SpeedMeter(seconds).time(call).fastest / 1000


def write(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write inference.json, inference.md, report.html and, if PSNR was measured, pareto.svg (PSNR against time)."""
    shown = sections.pareto(rows, COLUMNS[:4], "ms", PSNR.label, "One point per row; up and to the left is better.")
    report.write(folder, "inference", rows, COLUMNS, plots=shown)
    for section in shown:
        write_bytes(folder / "pareto.svg", plots.draw(section["plot"]))
