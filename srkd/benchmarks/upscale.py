"""Time upscaling a folder of images, files to files, with srkd and with BasicSR, in one run on one machine."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srkd.data.manifests import images_of
from srkd.errors import SrkdError
from srkd.images.read import ImageData, read_rgb, write_image
from srkd.inference.autotune import BackendSpec, engine_for
from srkd.inference.files import Options, upscale_files
from srkd.inference.jobs import Job, plan_jobs
from srkd.inference.model import Model
from srkd.inference.speed import SpeedMeter
from srkd.integrations import basicsr
from srkd.metrics.psnr import psnr
from srkd.training.checkpoint import save_weights
from srkd.training.malloc import keep_freed_memory

COLUMNS = ["way", "seconds", "images/s", "PSNR to fp32 (dB)"]


def against_basicsr(
    model: str,
    data: str,
    count: int,
    size: tuple[int, int],
    rounds: int,
    say: Callable[[str], None],
    backend: BackendSpec | None = None,
) -> dict[str, Any]:
    """Time srkd and BasicSR alternately for `rounds` rounds, after one warm-up round.

    Args:
        model: zoo name or checkpoint of a network that BasicSR also has.
        data: data set or folder of images; `count` images of at least `size` are centre-cropped to it.
        size: (width, height).
        backend: srkd's runtime and precision; by default selected by `srkd.inference.autotune`.

    Returns:
        {"rows", "seconds": {"basicsr", "srkd"}: medians, "ratio", "psnr_to_fp32": the lowest PSNR of an image in dB}.

    Raises:
        SrkdError: too few images of that size, or BasicSR does not have the network.
    """
    from srkd.benchmarks import basicsr as baseline

    opened = Model.load(model)
    keep_freed_memory()
    spec = _stock_spec(opened)
    with tempfile.TemporaryDirectory() as scratch, baseline.stock_process() as stock:
        root = Path(scratch)
        files = cut(data, root / "in", count, size)
        opened.engine = engine_for(opened, backend or BackendSpec(), say)
        weights = root / "weights.safetensors"
        save_weights(weights, Model.load(model).network.state_dict(), {})
        jobs = plan_jobs([str(root / "in")], root / "srkd", "png", "", False)
        times: dict[str, list[float]] = {"basicsr": [], "srkd": []}
        for number in range(rounds + 1):
            stock_job = stock.submit(baseline.upscale_folder, spec, str(weights), files, root / "basicsr")
            times["basicsr"].append(stock_job.result())
            times["srkd"].append(_seconds_of_srkd(opened, jobs))
            say(f"round {number} of {rounds}: BasicSR {times['basicsr'][-1]:.2f} s, srkd {times['srkd'][-1]:.2f} s")
        agreement = [psnr_between(root / "basicsr" / f.name, root / "srkd" / f.name) for f in files]
    seconds = {name: statistics.median(values[1:]) for name, values in times.items()}
    return {
        "rows": [
            {"way": "BasicSR", **_speed(seconds["basicsr"], count), COLUMNS[3]: None},
            {
                "way": f"srkd, {opened.engine or 'torch fp32'}",
                **_speed(seconds["srkd"], count),
                COLUMNS[3]: round(min(agreement), 2),
            },
        ],
        "seconds": seconds,
        "ratio": seconds["basicsr"] / seconds["srkd"],
        "psnr_to_fp32": min(agreement),
        "threads": torch.get_num_threads(),
    }


def cut(data: str, output: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Write centre crops of the first `count` large enough images of a data set or folder as PNGs into `output`.

    Raises:
        SrkdError: too few images are large enough.
    """
    width, height = size
    files: list[Path] = []
    for source in images_of(data, recursive=True):
        pixels = read_rgb(source)
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        if min(top, left) < 0:
            continue
        files.append(output / f"{len(files):03}.png")
        write_image(files[-1], ImageData(pixels[top : top + height, left : left + width]))
        if len(files) == count:
            return files
    raise SrkdError(f"{data}: {len(files)} images of at least {width}x{height}, {count} are needed")


def psnr_between(a: Path, b: Path) -> float:
    """PSNR in dB of two image files over all channels; infinite if they are equal."""
    return psnr(read_rgb(a).astype(np.float64), read_rgb(b).astype(np.float64))


def _seconds_of_srkd(model: Model, jobs: list[Job]) -> float:
    return SpeedMeter().once(lambda: upscale_files(model, jobs, Options(), lambda line: None, lambda done: None))


def _speed(seconds: float, count: int) -> dict[str, float]:
    return {"seconds": round(seconds, 3), "images/s": round(count / seconds, 2)}


def _stock_spec(model: Model) -> dict[str, Any]:
    spec = model.meta.get("network", {})
    if spec.get("type") not in basicsr.network_names() or spec.get("num_mid"):
        raise SrkdError(f"{model.name}: BasicSR does not have this network ({spec.get('type')})")
    return {key: value for key, value in spec.items() if key != "num_mid"}
