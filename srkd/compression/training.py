"""Training runs: the recipe of a candidate, its training speed, and training it."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srkd.compression.ladder import Candidate
from srkd.compression.settings import Settings
from srkd.sr.task import Task
from srkd.training.ema import Ema
from srkd.training.log import read_metrics
from srkd.training.loop import Stop, fit
from srkd.training.malloc import keep_freed_memory
from srkd.training.run import Run

_WARM_UP = 3


@dataclass(frozen=True)
class TrainingSetup:
    """Options common to all training runs.

    Args:
        teacher: zoo name or checkpoint.
        images: folder of the training crops.
        outputs: folder of the teacher's outputs for them.
    """

    teacher: str
    scale: int
    images: Path
    outputs: Path
    settings: Settings
    seed: int


def recipe(setup: TrainingSetup, name: str, candidate: Candidate, steps: int, distilled: bool = True) -> dict[str, Any]:
    """The recipe of a candidate: L1 to the ground truth and the wavelet loss to the teacher's output; only L1 for a
    control. Otherwise as for the zoo's students: reparameterised convolutions, Adam, cosine schedule, EMA, fp32 at the
    end.

    Of the 24 methods in models/studies/kd_x2 the wavelet loss helped most.
    """
    settings = setup.settings
    losses: list[dict[str, Any]] = [{"type": "L1Loss", "target": "gt", "weight": 1.0}]
    if distilled:
        losses.append({"type": "wavelet", "balance": {"share": 1}})
    kind = "file" if Path(setup.teacher).is_file() else "zoo"
    train = {
        "dataroot_gt": str(setup.images),
        "gt_size": settings.patch * setup.scale,
        "batch_size_per_gpu": settings.batch,
        "skip_small": True,
        "sampling": "area",
    }
    return {
        "name": name,
        "scale": setup.scale,
        "manual_seed": setup.seed,
        "network_g": candidate.spec,
        "network_g_teacher": {kind: setup.teacher} if distilled else None,
        "datasets": {"train": train},
        "path": {"pretrain_network_g": candidate.start},
        "cache": {"kind": "outputs" if distilled else "live", "dir": str(setup.outputs), "max_bytes": 1e12},
        "train": {
            "total_iter": steps,
            "reparameterise": True,
            "losses": losses,
            "optim_g": {"type": "Adam", "lr": candidate.lr, "betas": [0.9, 0.99]},
            "ema_decay": 0.999,
            "fp32_after": 0.9,
        },
        "logger": {"print_freq": max(steps // 100, 1), "save_checkpoint_freq": 10**9, "use_tb_logger": False},
    }


def cache_teacher_outputs(data: dict[str, Any], root: Path) -> None:
    """Compute the teacher's outputs that a distilled recipe needs and the cache lacks; reports progress."""
    Run(data, root).set_up()


def steps_per_second(data: dict[str, Any], root: Path, seconds: float) -> float:
    """Training steps per second of a control's recipe on this machine; cached teacher outputs would add little."""
    keep_freed_memory()
    run = Run({**data, "train": {**data["train"], "total_iter": 10**6}}, root, quiet=True)
    (task,) = run.dry_run()
    assert isinstance(task, Task)
    times: list[float] = []

    def after_step(done: int, values: Callable[[], dict[str, float]]) -> None:
        times.append(time.perf_counter())
        if len(times) > _WARM_UP and times[-1] - times[_WARM_UP - 1] > seconds:
            raise Stop(done)

    with suppress(Stop):
        fit(task, run.recipe.train, task.fabric, Ema(task.trained(), 0.999), 0, after_step)
    return (len(times) - _WARM_UP) / (times[-1] - times[_WARM_UP - 1])


def pace(run: Path) -> float:
    """Steps per second of a finished run: the median of its log, which excludes setup and saving."""
    logged = [r["steps_per_second"] for r in read_metrics(run / "metrics.jsonl") if "steps_per_second" in r]
    return float(statistics.median(logged))


def train(data: dict[str, Any], root: Path) -> Path:
    """Train to the end, resuming a stopped run of the same name; returns the checkpoint.

    Raises:
        KeyboardInterrupt, SystemExit: stopped by a signal, state saved.
        SrkdError: as `Run`; training diverged.
    """
    result = Run(data, root, resume=True).train()
    if not result["finished"]:
        if result["signal"] == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + result["signal"])
    return Path(result["models"]["net_g"])
