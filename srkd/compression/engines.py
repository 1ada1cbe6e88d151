"""The interface to `srkd.inference`: open a network on a runtime, time it, measure its size, export it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srkd.compression.budget import Cost
from srkd.compression.ladder import Candidate
from srkd.errors import SrkdError
from srkd.inference import backends
from srkd.inference.backends.engine import Bytes, Engine
from srkd.inference.calibration import calibration_images
from srkd.inference.cost import median_ms, multiply_adds, parameters
from srkd.inference.export import TARGETS, ExportOptions, Row, export
from srkd.inference.graph import facts, graph_of
from srkd.inference.model import Model
from srkd.metrics.evaluation import Evaluated
from srkd.training.checkpoint import save_weights

Backend = tuple[str, str]
_CALIBRATION = 24  # images at most
_REFERENCE = Candidate("EDSR 16x8", "EDSR", {"type": "EDSR", "num_feat": 16, "num_block": 8, "img_range": 1.0}, 0.0)


def fastest(
    available: Sequence[Backend], scale: int, at: tuple[int, int], seconds: float
) -> tuple[Backend, dict[str, float]]:
    """The backend that runs a small EDSR fastest on this machine, and each backend's milliseconds."""
    times = {backend: cost(_REFERENCE, scale, backend, at, seconds).ms for backend in available}
    return min(times, key=lambda backend: times[backend]), {
        " ".join(backend): round(ms, 2) for backend, ms in times.items()
    }


def cost(candidate: Candidate, scale: int, backend: Backend, at: tuple[int, int], seconds: float) -> Cost:
    """Cost of a candidate on a backend, with random weights: neither time nor size depends on them.

    Args:
        at: (width, height) of the input.
        seconds: how long to measure its time.
    """
    network = candidate.build(scale)
    model = Model(network, scale, "student", meta={"network": candidate.spec})
    width, height = at
    engine, megabytes = _open_and_size(model, backend)
    macs = multiply_adds(network, scale, height * scale, width * scale)
    return Cost(latency(engine, at, seconds), megabytes, parameters(network), macs)


def _open_and_size(model: Model, backend: Backend) -> tuple[Engine, float]:
    """An engine (int8 is calibrated on noise) and the megabytes of its file: the checkpoint as `store` writes it, for
    int8 the exported network."""
    runtime, precision = backend
    with tempfile.TemporaryDirectory() as scratch:
        if precision != "int8":
            store(Path(scratch) / "student.safetensors", model.network.state_dict(), {**model.meta, "scale": 1})
            return backends.open_engine(model, runtime, precision), _megabytes(Path(scratch))
        known = facts(model.name, model.scale, model.multiple, None, model.meta, model.minimum)
        converted = backends.converted(graph_of(model.network), runtime, precision, known)
        quantised = backends.quantised(converted, runtime, [_noise(64, 64)[0]])
        backends.save(quantised, runtime, Path(scratch) / f"student{backends.SUFFIXES[runtime]}")
        return backends.wrap(quantised, runtime, precision, known), _megabytes(Path(scratch))


def store(path: Path, weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write a checkpoint with half-precision weights: half the size, at a rounding error far below one grey level."""
    halved = {name: weight.half() if weight.is_floating_point() else weight for name, weight in weights.items()}
    save_weights(path, halved, meta)


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def latency(engine: Engine, at: tuple[int, int], seconds: float) -> float:
    """Median milliseconds for one uint8 image of size `at` (width, height)."""
    image = _noise(at[1], at[0])
    return median_ms(lambda: engine(image), seconds)


def _noise(height: int, width: int) -> Bytes:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)


@torch.inference_mode()
def seconds_per_pixel(network: nn.Module, side: int) -> float:
    """Seconds of a network per input pixel, from one pass over `side` x `side` after a smaller warm-up pass.

    Runs on the GPU if one is available, as training does.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    network(torch.rand(1, 3, side // 2, side // 2, device=device)).cpu()
    began = time.perf_counter()
    network(torch.rand(1, 3, side, side, device=device)).cpu()
    seconds = time.perf_counter() - began
    network.cpu()
    return seconds / side**2


def scored(label: str, engine: Engine, count: int) -> Evaluated:
    """An engine wrapped for evaluation; `count` is its network's number of parameters."""
    return Evaluated(label, lambda lr: engine(lr[None].copy())[0], count, engine.scale)


def open_student(path: Path, backend: Backend, training: Path) -> Engine:
    """Open a checkpoint on a backend for scoring; int8 is calibrated on training crops with all layers quantised."""
    model = Model.load(path)
    if backend[1] != "int8":
        return backends.open_engine(model, *backend)
    return backends.open_engine(
        model, *backend, calibration_images(model.scale, str(training), _count(training)).inputs
    )


def _count(training: Path) -> int:
    return min(len(list(training.glob("*.png"))), _CALIBRATION)


def deliver(student: Path, backend: Backend, training: Path, held_out: Path, say: Callable[[str], None]) -> list[Row]:
    """Export a student next to its checkpoint and verify each file on the held-out crops.

    fp32 is exported for every installed runtime. int8 takes long and is exported for one runtime only: that of
    `backend`, or else the first that supports int8.

    Returns:
        Rows of `srkd.inference.export.COLUMNS`, the student in torch first.

    Raises:
        SrkdError: as `srkd.inference.export.export`.
    """
    int8_runtimes = [
        runtime for runtime, precision in sorted(backends.available(), key=backend.__ne__) if precision == "int8"
    ]
    targets = {target: runtime for target, runtime in TARGETS.items() if backends.installed(runtime)}
    rows: list[Row] = []
    for names, precision in (
        (list(targets), "fp32"),
        ([t for t, r in targets.items() if r in int8_runtimes[:1]], "int8"),
    ):
        if names:
            wanted = ExportOptions(names, [precision], True, str(held_out), str(training), _count(training))
            rows += export(Model.load(student), student.parent, wanted, say).rows[1 if rows else 0 :]
            for table in ("export.md", "export.json"):  # they list only these files; card and report list all
                (student.parent / table).unlink()
    return rows


def delivered(folder: Path, backend: Backend) -> Path:
    """The student's file for a backend, in the folder that `deliver` wrote.

    Raises:
        SrkdError: that file was not exported.
    """
    runtime, precision = backend
    suffix = "_int8" if precision == "int8" else ""
    path = folder / f"student{suffix}{backends.SUFFIXES.get(runtime, '.safetensors')}"
    if not path.is_file():
        raise SrkdError(f"{path.name} was not exported; README.md in {folder} says why")
    return path


def open_delivered(path: Path, backend: Backend) -> Engine:
    """Open a delivered file; on torch also a zoo name or any checkpoint."""
    if backend[0] == "torch":
        return backends.open_engine(Model.load(str(path)), *backend)
    return backends.open_file(path, backend[1])
