"""Training runs, and the choice of the student by successive halving (Jamieson & Talwalkar, AISTATS 2016): after each
round the better half of the candidates remains.

Each round trains from the start, because a finished cosine schedule cannot be continued. Within a round all candidates
get equal time.
"""

from __future__ import annotations

import math
import signal
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srkd.compression.candidates import Candidate
from srkd.compression.finish import open_student
from srkd.compression.job import CompressionJob, Result, clock
from srkd.compression.request import Settings, absolute
from srkd.data.sets import open_set
from srkd.errors import SrkdError
from srkd.executor import FolderTask
from srkd.metrics.evaluation import measure
from srkd.metrics.psnr import pooled
from srkd.training.log import read_metrics
from srkd.training.processes import say
from srkd.training.run import Run

if TYPE_CHECKING:
    from srkd.compression.measure import Prepared
    from srkd.inference.autotune import Backend

_BETAS = {"Adam": [0.9, 0.99], "SOAP": [0.95, 0.95]}
SLACK = 0.93  # share of the time left for training steps; the rest is for starting, saving and scoring a run


@dataclass(frozen=True)
class Round:
    """A round of successive halving: number of candidates and seconds of training for each."""

    candidates: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """The rounds, and seconds of training for the student and its control (0 without control)."""

    rounds: list[Round]
    student: float
    control: float


def check(left: float, control: bool, settings: Settings) -> None:
    """Raise SrkdError if `left` seconds are too few to train a student (and its control)."""
    needed = settings.final * (2 if control else 1)
    if left < needed:
        more = math.ceil((needed - left) / 60)
        raise SrkdError(
            f"--time is too short: {max(left, 0):.0f} s are left for training, and a student"
            f"{' and its control take' if control else ' takes'} at least {needed:.0f} s; add {more} min"
        )


def divide(left: float, fitting: int, control: bool, settings: Settings) -> Plan:
    """Divide the `left` seconds of training time.

    The first round has as many candidates as can each train for `settings.shortest`. Each further round has half as
    many for twice as long. The control trains for as many steps as the student. If the student would train for less
    than `settings.final`, there are no rounds.

    Args:
        fitting: number of candidates that fit the budget.
    """
    parts = 2 if control else 1
    rounds = _rounds(
        left * (settings.halving_share_with_control if control else settings.halving_share), fitting, settings
    )
    student = (left - sum(r.candidates * r.seconds for r in rounds)) / parts
    if student < settings.final:
        rounds, student = [], max(left / parts, settings.final)
    return Plan(rounds, student, student if control else 0.0)


def _rounds(seconds: float, fitting: int, settings: Settings) -> list[Round]:
    count = min(fitting, settings.candidates)
    while count > 1:
        sizes = [count]
        while sizes[-1] > 3:
            sizes.append(math.ceil(sizes[-1] / 2))
        if seconds / len(sizes) / count >= settings.shortest:
            return [Round(size, seconds / len(sizes) / size) for size in sizes]
        count -= 1
    return []


def choose(job: CompressionJob, prepared: Prepared, rounds: Sequence[Round]) -> tuple[Candidate, list[dict[str, Any]]]:
    """The best candidate on the held-out crops after all rounds, and a row per run: candidate, round, steps, psnr (dB),
    pace (steps/s).

    A candidate that diverged or was lost drops out, and the best of those that earlier rounds left out takes its place.

    Raises:
        SrkdError: no candidate could be trained.
    """
    remaining, rows = [candidate for candidate, _ in prepared.candidates], list[dict[str, Any]]()
    for number, each in enumerate(rounds, 1):
        ran = [
            {"candidate": candidate.label, "round": number, **result}
            for candidate, result in _train_round(job, prepared, number, remaining[: each.candidates], each.seconds)
        ]
        rows += ran
        scores = {row["candidate"]: row["psnr"] for row in ran if row["psnr"] is not None}
        failed = {row["candidate"] for row in ran} - scores.keys()
        remaining = [candidate for candidate in remaining if candidate.label not in failed]
        if not remaining:
            raise SrkdError(f"no candidate could be trained: {ran[0]['why']}")
        remaining.sort(key=lambda c: -scores.get(c.label, -math.inf))
    return remaining[0], rows


@dataclass(frozen=True)
class Trial:
    """What the run of a candidate depends on: its recipe, and how it is scored."""

    data: dict[str, Any]
    title: str
    backend: Backend
    training: Path
    judged: str


def _train_round(
    job: CompressionJob, prepared: Prepared, number: int, candidates: Sequence[Candidate], seconds: float
) -> list[tuple[Candidate, Result]]:
    """The result of each candidate's run; those not finished are trained by the job's executor."""
    trials: dict[str, Trial] = {}
    for candidate in candidates:
        name = f"round_{number}_{_slug(candidate.label)}"
        # Saved before training: a resumed run must keep its number of steps.
        planned = {"steps": max(1, int(SLACK * seconds * prepared.rates[candidate.label]))}
        steps = job.once(f"{name}_plan", lambda planned=planned: planned)["steps"]  # type: ignore[misc]
        title = f"round {number}: {candidate.label}, {clock(seconds)}"
        data = recipe(job, name, candidate, steps)
        trials[name] = Trial(data, title, prepared.backend, job.training, job.judged)
    left = [name for name in trials if job.phases.done(name) is None]
    tasks = [FolderTask(trials[name], job.work / "runs" / name) for name in left]
    if tasks:
        say(f"round {number}: {len(tasks)} candidates ({clock(job.left)} left)" if job.left > 0 else "the time is up")
    with job.phases.timed():
        for at, result in job.executor.map(train_trial, tasks):
            _save(job, left[at], trials[left[at]], result)
    return [(c, job.phases.done(n) or {}) for c, n in zip(candidates, trials, strict=True)]


def _save(job: CompressionJob, name: str, trial: Trial, result: Result | SrkdError) -> None:
    """Save the result of a candidate; one that diverged or was lost drops out."""
    steps = {"steps": trial.data["train"]["total_iter"]}
    if isinstance(result, SrkdError):
        job.phases.once(name, lambda: {"psnr": None, **steps, "why": str(result)})
        return
    job.phases.once(name, lambda: {"psnr": result["psnr"], **steps, "pace": result["pace"]})
    say(f"  {trial.title}: {result['psnr']:.2f} dB on the held-out crops")


def train_trial(trial: Trial, folder: Path, budget: float | None) -> Result:
    """Train and score a candidate in its run's folder (`srkd.executor.Work`).

    Returns:
        {"finished": True, "psnr": dB on the held-out crops, "pace"}, or {"finished": False} if the budget ended before.

    Raises:
        KeyboardInterrupt, SystemExit, SrkdError: as `train`.
    """
    file = train(trial.data, folder.parent, budget)
    if file is None:
        return {"finished": False}
    return {"finished": True, "psnr": round(_score(trial, file), 3), "pace": pace(folder)}


def _score(trial: Trial, file: Path) -> float:
    """PSNR in dB of the error over all held-out crops, on the student's backend."""
    student, scale = open_student(file, trial.backend, trial.training), int(trial.data["scale"])
    _, store = open_set(trial.judged, scale)
    (row,) = measure([student], [("held-out", store)], scale, metrics=["psnr"])["models"]
    return pooled([image["psnr"] for image in row["sets"]["held-out"]["images"]])


def _slug(label: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in label)


def recipe(job: CompressionJob, name: str, candidate: Candidate, steps: int, distilled: bool = True) -> dict[str, Any]:
    """The recipe of a candidate, or of a control: `enlarging` or `imitating`, as requested."""
    return (imitating if job.request.imitate else enlarging)(job, name, candidate, steps, distilled)


def imitating(
    job: CompressionJob, name: str, candidate: Candidate, steps: int, distilled: bool = True
) -> dict[str, Any]:
    """L1 and the wavelet loss to the teacher's outputs on degraded patches, as for the zoo's students of Real-ESRGAN; a
    control learns the ground truth of the same patches by L1."""
    data = enlarging(job, name, candidate, steps, distilled=False)
    losses: list[dict[str, Any]] = [{"type": "L1Loss", "target": "gt"}]
    if distilled:
        losses = [{"type": "L1Loss"}, {"type": "wavelet", "weight": 0.5}]
    data["datasets"]["train"]["like"] = None if job.request.like is None else absolute(job.request.like)
    data["train"] |= {"losses": losses, "reparameterise": False}
    made = job.phases.done("answers") or job.phases.done("pictures") or {}
    bank = {"patches": made["patches"], "lr_size": job.bank_side, "dir": str(job.work / "answers"), "max_bytes": 1e12}
    del data["cache"]
    return data | {"task": "imitation", "network_g_teacher": job.teacher_spec, "bank": bank}


def enlarging(
    job: CompressionJob, name: str, candidate: Candidate, steps: int, distilled: bool = True
) -> dict[str, Any]:
    """L1 to the ground truth and the wavelet loss to the teacher's output; only L1 for a control. Otherwise as for the
    zoo's students: cosine schedule, EMA, fp32 at the end; SOAP, or reparameterised convolutions with Adam.

    Of the 24 methods in models/studies/kd_x2 the wavelet loss helped most; in short trainings SOAP helps more
    (models/studies/optimisers_x2).
    """
    request, settings = job.request, job.settings
    losses: list[dict[str, Any]] = [{"type": "L1Loss", "target": "gt", "weight": 1.0}]
    if distilled:
        losses.append({"type": "wavelet", "balance": {"share": 1}})
    train = {
        "dataroot_gt": str(job.training),
        "gt_size": job.patch,
        "batch_size_per_gpu": settings.batch,
        "skip_small": True,
        "sampling": "area",
    }
    return {
        "name": name,
        "scale": request.scale,
        "manual_seed": request.seed,
        "network_g": candidate.spec,
        "network_g_teacher": job.teacher_spec if distilled else None,
        "datasets": {"train": train},
        "path": {"pretrain_network_g": candidate.start},
        "cache": {"kind": "outputs" if distilled else "live", "dir": str(job.work / "answers"), "max_bytes": 1e12},
        "train": {
            "total_iter": steps,
            "reparameterise": candidate.optimiser == "Adam",
            "losses": losses,
            "optim_g": {"type": candidate.optimiser, "lr": candidate.lr, "betas": _BETAS[candidate.optimiser]},
            "ema_decay": 0.999,
            "fp32_after": 0.9,
        },
        "logger": {"print_freq": max(steps // 100, 1), "save_checkpoint_freq": 10**9, "use_tb_logger": False},
    }


def pace(run: Path) -> float:
    """Steps per second of a finished run: the median of its log, which excludes setup and saving."""
    logged = [r["steps_per_second"] for r in read_metrics(run / "metrics.jsonl") if "steps_per_second" in r]
    return float(statistics.median(logged))


def train(data: dict[str, Any], root: Path, budget: float | None = None) -> Path | None:
    """Train to the end, resuming a stopped run of the same name.

    Returns:
        The checkpoint, or None if the budget of seconds ended before.

    Raises:
        KeyboardInterrupt, SystemExit: stopped by a signal, state saved.
        SrkdError: as `Run`; training diverged.
    """
    result = Run(data, root, resume=True, budget=budget).train()
    if not result["finished"]:
        if not result["signal"]:
            return None
        if result["signal"] == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + result["signal"])
    return Path(result["models"]["net_g"])
