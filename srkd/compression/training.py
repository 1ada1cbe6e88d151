"""The runs: what a candidate's recipe is, how fast it trains here, and training it."""

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
from srkd.compression.limits import Limits
from srkd.sr.task import Task
from srkd.training.ema import Ema
from srkd.training.log import read_metrics
from srkd.training.loop import Stop, fit
from srkd.training.malloc import keep_freed_memory
from srkd.training.run import Run

_WARM_UP = 3


@dataclass(frozen=True)
class TrainingPlan:
    """What is the same for every run.

    Args:
        teacher: zoo name or checkpoint.
        images: folder of the training crops; answers: of the teacher's outputs for them.
    """

    teacher: str
    scale: int
    images: Path
    predictions: Path
    effort: Limits
    seed: int


def recipe(lesson: TrainingPlan, name: str, candidate: Candidate, steps: int, distilled: bool = True) -> dict[str, Any]:
    """The recipe of a candidate: L1 to the truth and the wavelet loss to the teacher's output; for a control L1 alone.

    The wavelet loss helped most of 24 methods in models/studies/kd_x2.

    As the zoo's students are trained: kernels as sums of branches, Adam, one cosine, averaged weights, fp32 at the end.
    """
    effort = lesson.effort
    losses: list[dict[str, Any]] = [{"type": "L1Loss", "target": "gt", "weight": 1.0}]
    if distilled:
        losses.append({"type": "wavelet", "balance": {"share": 1}})
    kind = "file" if Path(lesson.teacher).is_file() else "zoo"
    train = {
        "dataroot_gt": str(lesson.images),
        "gt_size": effort.patch * lesson.scale,
        "batch_size_per_gpu": effort.batch,
        "skip_small": True,
        "sampling": "area",
    }
    return {
        "name": name,
        "scale": lesson.scale,
        "manual_seed": lesson.seed,
        "network_g": candidate.spec,
        "network_g_teacher": {kind: lesson.teacher} if distilled else None,
        "datasets": {"train": train},
        "path": {"pretrain_network_g": candidate.start},
        "cache": {"kind": "outputs" if distilled else "live", "dir": str(lesson.predictions), "max_bytes": 1e12},
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
    """Compute the teacher's answers that a distilled recipe needs, those that are not there yet; it says how far."""
    Run(data, root).set_up()


def steps_per_second(data: dict[str, Any], root: Path, seconds: float) -> float:
    """How many steps of a control's recipe are done here in a second. Answers that are cached cost hardly anything."""
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
    """Steps a second of a run that was trained, without what comes before and after: the median of its log."""
    logged = [r["steps_per_second"] for r in read_metrics(run / "metrics.jsonl") if "steps_per_second" in r]
    return float(statistics.median(logged))


def train(data: dict[str, Any], root: Path) -> Path:
    """Train to the end, going on where a run of the same name was stopped; returns its checkpoint.

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
