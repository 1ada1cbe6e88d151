"""All that `srkd compress` asks of `srkd.deploy`: opening a network on a runtime, timing, sizing, exporting."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srkd.deploy import runtimes
from srkd.deploy.calibration import calibration_pictures
from srkd.deploy.cost import median_ms, multiply_adds, parameters
from srkd.deploy.export import TARGETS, Row, Wanted, export
from srkd.deploy.graph import facts, graph_of
from srkd.deploy.model import Model
from srkd.deploy.runtimes.engine import Bytes, Engine
from srkd.engine.checkpoint import save_weights
from srkd.errors import SrkdError
from srkd.sr.evaluate import Evaluated
from srkd.study.compress.budget import Cost
from srkd.study.compress.ladder import Candidate

Way = tuple[str, str]
_CALIBRATION = 24  # pictures at most
_REFERENCE = Candidate("EDSR 16x8", "EDSR", {"type": "EDSR", "num_feat": 16, "num_block": 8, "img_range": 1.0}, 0.0)


def fastest(ways: Sequence[Way], scale: int, at: tuple[int, int], seconds: float) -> tuple[Way, dict[str, float]]:
    """The way that runs a small EDSR in the shortest time on this machine, and each way's milliseconds."""
    times = {way: cost(_REFERENCE, scale, way, at, seconds).ms for way in ways}
    return min(times, key=lambda way: times[way]), {" ".join(way): round(ms, 2) for way, ms in times.items()}


def cost(candidate: Candidate, scale: int, way: Way, at: tuple[int, int], seconds: float) -> Cost:
    """What a candidate takes on a way, with random weights: neither time nor size depends on them.

    Args:
        at: (width, height) of the input.
        seconds: how long to measure its time.
    """
    network = candidate.build(scale)
    model = Model(network, scale, "student", meta={"network": candidate.spec})
    width, height = at
    own, megabytes = _made(model, way)
    macs = multiply_adds(network, scale, height * scale, width * scale)
    return Cost(latency(own, at, seconds), megabytes, parameters(network), macs)


def _made(model: Model, way: Way) -> tuple[Engine, float]:
    """An engine, int8 calibrated on noise, and the megabytes of the file that it would be loaded from: a checkpoint as
    `store` writes it, but for int8 the exported network."""
    runtime, precision = way
    with tempfile.TemporaryDirectory() as scratch:
        if precision != "int8":
            store(Path(scratch) / "student.safetensors", model.network.state_dict(), {**model.meta, "scale": 1})
            return runtimes.open_engine(model, runtime, precision), _megabytes(Path(scratch))
        known = facts(model.name, model.scale, model.multiple, None, model.meta, model.minimum)
        own = runtimes.converted(graph_of(model.network), runtime, precision, known)
        own = runtimes.quantised(own, runtime, [_noise(64, 64)[0]])
        runtimes.save(own, runtime, Path(scratch) / f"student{runtimes.SUFFIXES[runtime]}")
        return runtimes.wrap(own, runtime, precision, known), _megabytes(Path(scratch))


def store(path: Path, weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write a checkpoint with half-precision weights: half the size, for rounding far below a grey level's."""
    halved = {name: weight.half() if weight.is_floating_point() else weight for name, weight in weights.items()}
    save_weights(path, halved, meta)


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def latency(engine: Engine, at: tuple[int, int], seconds: float) -> float:
    """Median milliseconds for one uint8 picture of `at` (width, height)."""
    picture = _noise(at[1], at[0])
    return median_ms(lambda: engine(picture), seconds)


def _noise(height: int, width: int) -> Bytes:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)


@torch.inference_mode()
def seconds_per_pixel(network: nn.Module, side: int) -> float:
    """What a network takes for each pixel of its input, in one pass over `side` x `side` after a smaller one; on the
    GPU if there is one, since training runs it there too."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    network(torch.rand(1, 3, side // 2, side // 2, device=device)).cpu()
    began = time.perf_counter()
    network(torch.rand(1, 3, side, side, device=device)).cpu()
    seconds = time.perf_counter() - began
    network.cpu()
    return seconds / side**2


def scored(label: str, engine: Engine, count: int) -> Evaluated:
    """An engine as evaluation takes it; `count`: its network's parameters."""
    return Evaluated(label, lambda lr: engine(lr[None].copy())[0], count, engine.scale)


def open_student(path: Path, way: Way, training: Path) -> Engine:
    """A checkpoint on a way, for scores; int8 calibrated on training crops, all layers quantised."""
    model = Model.load(path)
    if way[1] != "int8":
        return runtimes.open_engine(model, *way)
    return runtimes.open_engine(model, *way, calibration_pictures(model.scale, str(training), _count(training)).inputs)


def _count(training: Path) -> int:
    return min(len(list(training.glob("*.png"))), _CALIBRATION)


def deliver(student: Path, way: Way, training: Path, held_out: Path, say: Callable[[str], None]) -> list[Row]:
    """Export a student beside its checkpoint, each file verified on the held-out crops: fp32 for every runtime that is
    installed, int8, which takes long, for the one that it is for or else the first that has it.

    Returns:
        Rows of `srkd.deploy.export.COLUMNS`, the student in torch first.

    Raises:
        SrkdError: as `srkd.deploy.export.export`.
    """
    able = [runtime for runtime, precision in sorted(runtimes.ways(), key=way.__ne__) if precision == "int8"]
    targets = {target: runtime for target, runtime in TARGETS.items() if runtimes.installed(runtime)}
    rows: list[Row] = []
    for names, precision in ((list(targets), "fp32"), ([t for t, r in targets.items() if r in able[:1]], "int8")):
        if names:
            wanted = Wanted(names, [precision], True, str(held_out), str(training), _count(training))
            rows += export(Model.load(student), student.parent, wanted, say).rows[1 if rows else 0 :]
            for table in ("export.md", "export.json"):  # of these files alone; card and report have all
                (student.parent / table).unlink()
    return rows


def delivered(folder: Path, way: Way) -> Path:
    """The file that a student is loaded from on a way, in the folder that `deliver` wrote.

    Raises:
        SrkdError: the export was refused, or was not made.
    """
    runtime, precision = way
    ending = "_int8" if precision == "int8" else ""
    path = folder / f"student{ending}{runtimes.SUFFIXES.get(runtime, '.safetensors')}"
    if not path.is_file():
        raise SrkdError(f"{path.name} was not exported; README.md in {folder} says why")
    return path


def open_delivered(path: Path, way: Way) -> Engine:
    """A delivered file, or any model by name where the way is torch."""
    if way[0] == "torch":
        return runtimes.open_engine(Model.load(str(path)), *way)
    return runtimes.open_file(path, way[1])
