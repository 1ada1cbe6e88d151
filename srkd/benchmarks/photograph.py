"""One degraded photograph through several models of one scale: seconds from file to file, and a detail of each."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.inference.autotune import BackendSpec, engine_for
from srkd.inference.files import Options, upscale_files
from srkd.inference.jobs import plan_jobs
from srkd.inference.model import Model
from srkd.inference.speed import SpeedMeter
from srkd.metrics.evaluation import BICUBIC, open_model
from srkd.metrics.psnr import PSNR
from srkd.metrics.scores import Pair, Protocol

COLUMNS = ["model", "parameters", "backend", "seconds", "times as fast", "PSNR to the last (dB)"]
_LONG = 20.0  # seconds: a slower model is timed once


def measure(
    names: Sequence[str],
    photograph: np.ndarray,
    side: int,
    rounds: int,
    backend: BackendSpec,
    say: Callable[[str], None],
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Time each model on a `side` x `side` photograph, and upscale the photograph itself with each.

    Timed is what `srkd upscale` does with a file once the model is opened and warm: read a JPEG, upscale, write a PNG.
    The larger photograph is this one, mirrored until it is large enough.

    Args:
        names: zoo names or checkpoints of one scale; the last is the reference of ratios and PSNR, usually the teacher.
        photograph: uint8 RGB (H, W, 3).
        rounds: timings of each model; the median counts. A model that takes more than 20 s is timed once.
        backend: runtime and precision of every model.

    Returns:
        Rows of `COLUMNS`, and the outputs by name, `bicubic` first.

    Raises:
        SrkdError: the models differ in scale, or a model or backend is not available.
    """
    models = [Model.load(name) for name in names]
    scales = {model.scale for model in models}
    if len(scales) > 1:
        raise SrkdError(f"models of different scales: {', '.join(f'{m.name} x{m.scale}' for m in models)}")
    models.insert(0, open_model(BICUBIC, scales.pop()))
    outputs, seconds = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "photograph.jpg"
        write_image(source, ImageData(_enlarged(photograph, side)))
        for model in models:
            if model.engine is None:
                model.engine = engine_for(model, backend, say)
            outputs[model.name] = model.upscale(photograph)
            seconds[model.name] = _seconds(model, source, rounds)
            say(f"{model.name}: {seconds[model.name]:.2f} s")
    return _rows(models, outputs, seconds), outputs


def _enlarged(image: np.ndarray, side: int) -> np.ndarray:
    rows, columns = (max(0, side - length) for length in image.shape[:2])
    return np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="symmetric")[:side, :side]


def _seconds(model: Model, source: Path, rounds: int) -> float:
    found: list[float] = []
    for number in range(rounds):
        jobs = plan_jobs([str(source)], source.parent / f"{model.name}_{number}", "png", "", False)
        found.append(SpeedMeter().once(partial(upscale_files, model, jobs, Options(), _quiet, _quiet)))
        if found[-1] > _LONG:
            break
    return statistics.median(found)


def _quiet(_: Any) -> None:
    pass


def _rows(models: Sequence[Model], outputs: dict[str, np.ndarray], seconds: dict[str, float]) -> list[dict[str, Any]]:
    last = models[-1]
    protocol, metric = Protocol.default(last.scale, lr="given"), PSNR()
    return [
        {
            "model": model.name,
            "parameters": None if model.name == BICUBIC else model.parameters,
            "backend": str(model.engine or "torch fp32"),
            "seconds": round(seconds[model.name], 2),
            "times as fast": round(seconds[last.name] / seconds[model.name], 1),
            COLUMNS[-1]: None
            if model is last
            else round(metric(Pair(outputs[model.name], outputs[last.name], protocol)), 2),
        }
        for model in models
    ]
