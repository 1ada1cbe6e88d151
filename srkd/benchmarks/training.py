"""Training speed of srkd against BasicSR, in one run on one machine: steps per second including data loading."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from srkd import losses, networks
from srkd.data.store import open_or_build
from srkd.errors import SrkdError
from srkd.images.read import list_images
from srkd.inference.speed import StepRate
from srkd.training.checkpoint import save_weights
from srkd.training.ema import Ema
from srkd.training.malloc import keep_freed_memory
from srkd.training.processes import say
from srkd.training.run import Run, train_steps
from srkd.training.task import Task

STUDENT = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_block": 8, "upscale": 2}
TEACHER = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": 16, "upscale": 2}
COLUMNS = ["work", "BasicSR's way (steps/s)", "srkd (steps/s)", "ratio"]


def training(folder: Path, seconds: float) -> dict[str, Any]:
    """Time training steps of the 50 K student, supervised and distilled from EDSR-baseline, in BasicSR and srkd.

    16 patches of 48x48 LR, x2, L1, Adam. BasicSR: PNG decoded in 2 workers, fp32, and for distillation the teacher in
    every step. srkd: its defaults on this machine, with cached teacher outputs.

    Args:
        folder: HR images, used by both.
        seconds: time of each of the four measurements, after a warm-up.

    Returns:
        {"rows": for a table, "supervised": {"basicsr", "srkd"}, "distilled": {...}, "kd_step_cost"}: steps per second,
        and the ratio of a distilled step's duration to a supervised one's.
    """
    from srkd.benchmarks import basicsr

    store = open_or_build(list_images(folder), 2)
    hr, lr = ([take(i) for i in range(len(store))] for take in (store.hr, store.lr))
    with tempfile.TemporaryDirectory() as scratch:
        teacher = Path(scratch) / "teacher.safetensors"
        torch.manual_seed(0)
        save_weights(teacher, networks.build(TEACHER).state_dict(), {"network": TEACHER, "scale": 2})
        measured: dict[str, dict[str, float]] = {"supervised": {}, "distilled": {}}
        for work, speeds in measured.items():
            say(f"{work}: BasicSR")
            teacher_spec = TEACHER if work == "distilled" else None
            speeds["basicsr"] = basicsr.training_speed(STUDENT, hr, lr, seconds, teacher_spec)
        # BasicSR runs first: keeping freed memory is part of srkd and would speed up any eager code in this process.
        keep_freed_memory()
        for work, speeds in measured.items():
            say(f"{work}: srkd")
            recipe = _recipe(folder, teacher if work == "distilled" else None, scratch)
            speeds["srkd"] = steps_per_second(_set_up(recipe), seconds)
    rows = [
        {
            "work": f"50 K student, {work}",
            COLUMNS[1]: round(m["basicsr"], 2),
            COLUMNS[2]: round(m["srkd"], 2),
            "ratio": f"{m['srkd'] / m['basicsr']:.1f}x",
        }
        for work, m in measured.items()
    ]
    cost = measured["supervised"]["srkd"] / measured["distilled"]["srkd"]
    return {"rows": rows, **measured, "kd_step_cost": cost}


def _recipe(folder: Path, teacher: Path | None, scratch: str) -> dict[str, Any]:
    losses: list[dict[str, Any]] = [{"type": "L1Loss"}]
    if teacher is not None:
        losses.append({"type": "output"})
    return {
        "name": "benchmark",
        "scale": 2,
        "network_g": STUDENT,
        "network_g_teacher": None if teacher is None else {"file": str(teacher)},
        "cache": {"kind": "auto", "dir": scratch},
        "datasets": {"train": {"dataroot_gt": str(folder), "gt_size": 96, "batch_size_per_gpu": 16}},
        "train": {"total_iter": 10**9, "losses": losses},
    }


LOSS_COLUMNS = ["loss", "ms", "share of a supervised step"]
# Layers for feature losses: several for losses that compare lists of layers, else the output of the last block.
_LAYERS = {
    "single": {"student": "body.7", "teacher": "body.15"},
    "list": {"student": "body.{3,7}", "teacher": "body.{7,15}"},
}


def loss_costs(folder: Path, seconds: float) -> dict[str, Any]:
    """Cost of each loss in a training step of the 50 K student, with cached outputs of EDSR-baseline.

    Each loss that an SR recipe can use with default options is added to L1 to the ground truth, on the same bank of
    patches. The supervised step is measured on that bank before and after.

    Args:
        folder: HR images.
        seconds: time of each measurement.

    Returns:
        {"rows": for a table, "supervised_ms", "left_out": {loss: why}}.
    """
    keep_freed_memory()
    left_out: dict[str, str] = {}
    costs: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        teacher = Path(scratch) / "teacher.safetensors"
        torch.manual_seed(0)
        save_weights(teacher, networks.build(TEACHER).state_dict(), {"network": TEACHER, "scale": 2})

        def milliseconds(name: str | None) -> float:
            recipe = _recipe(folder, None if name is None else teacher, scratch)
            recipe["cache"] |= {"kind": "bank", "patches": 64}
            cls = None if name is None else losses.get(name)
            extra = [] if cls is None else [{"type": name, "at": _LAYERS[cls.layers] if cls.kind == "feature" else []}]
            recipe["train"]["losses"] = [{"type": "L1Loss"}, *extra]
            return 1000 / steps_per_second(_set_up(recipe), seconds)

        supervised = [milliseconds(None)]
        for name in losses.names():
            if losses.get(name).kind == "logits" or losses.get(name).reference == "target":
                left_out[name] = "not a distillation loss of images"
                continue
            try:
                say(name)
                costs[name] = milliseconds(name)
            except SrkdError as error:
                left_out[name] = str(error)
        supervised.append(milliseconds(None))
    step = sum(supervised) / 2
    rows = [
        {"loss": name, "ms": round(ms - step, 1), "share of a supervised step": f"{(ms - step) / step:.0%}"}
        for name, ms in sorted(costs.items(), key=lambda item: item[1])
    ]
    return {"rows": rows, "supervised_ms": step, "left_out": left_out}


def _set_up(recipe: dict[str, Any]) -> Task:
    (task,) = Run(recipe, quiet=True).set_up()
    return task


def steps_per_second(task: Task, seconds: float, warm_up: int = 5) -> float:
    """Steps per second of the training loop, including data, teacher, backward pass and update.

    Args:
        task: a task that is set up, of more steps than are measured.
        seconds, warm_up: as `StepRate`.

    Raises:
        SrkdError: the task ended before `seconds` had passed.
    """
    rate = StepRate(seconds, warm_up)
    for _ in train_steps(task, task.recipe.train, task.fabric, Ema({}, 0.0), 0):  # type: ignore[arg-type]
        if rate.tick():
            return rate.per_second
    raise SrkdError("the benchmark's recipe ended before its time")
