"""Learning-rate schedules as pure functions of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import accumulate

from srkd.errors import SrkdError, unknown
from srkd.training.recipe import Scheduler, Train


def cosine(step: int, scheduler: Scheduler, lr: float, total: int) -> float:
    """One half cosine from 1 to eta_min / lr over the whole run, or over `T_max` steps, after which it rises again."""
    low = scheduler.eta_min / lr
    done = step / scheduler.T_max if scheduler.T_max else min(step / total, 1.0)
    return low + (1 - low) * (1 + math.cos(math.pi * done)) / 2


def cosine_restarts(step: int, scheduler: Scheduler, lr: float, total: int) -> float:
    """Consecutive half cosines: `periods`, `restart_weights`, and `eta_min` (BasicSR's CosineAnnealingRestartLR)
    or `eta_mins`, one per period (Restormer's CosineAnnealingRestartCyclicLR). A period ends at its lowest rate."""
    periods = scheduler.periods or [total]
    ends = list(accumulate(periods))
    number = min(bisect_left(ends, step), len(periods) - 1)
    done = (step - (ends[number] - periods[number])) / periods[number]
    low = _of(scheduler.eta_mins or [scheduler.eta_min], number) / lr
    weight = _of(scheduler.restart_weights, number)
    return low + weight * (1 - low) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def multistep(step: int, scheduler: Scheduler, lr: float, total: int) -> float:
    """Multiplied by `gamma` at each of `milestones`, reset to a restart weight at each of `restarts` (BasicSR's
    MultiStepLR and MultiStepRestartLR)."""
    number = bisect_right(scheduler.restarts, step)
    since = scheduler.restarts[number - 1] if number else 0
    passed = sum(since < milestone <= step for milestone in scheduler.milestones)
    weight = _of(scheduler.restart_weights, number - 1) if number else 1.0
    return weight * scheduler.gamma**passed


def constant(step: int, scheduler: Scheduler, lr: float, total: int) -> float:
    """Always 1."""
    return 1.0


def _of(values: list[float], number: int) -> float:
    return values[min(number, len(values) - 1)] if values else 1.0


SCHEDULES: dict[str, Callable[[int, Scheduler, float, int], float]] = {
    "cosine": cosine,
    "CosineAnnealingLR": cosine,
    "TrueCosineAnnealingLR": cosine,
    "CosineAnnealingRestartLR": cosine_restarts,
    "CosineAnnealingRestartCyclicLR": cosine_restarts,
    "MultiStepLR": multistep,
    "MultiStepRestartLR": multistep,
    "constant": constant,
}


def check(train: Train) -> None:
    """Raise SrkdError for an unknown schedule, restarts out of order or lists of inconsistent lengths."""
    scheduler = train.scheduler
    if scheduler.type not in SCHEDULES:
        raise unknown("scheduler", scheduler.type, SCHEDULES)
    if scheduler.restarts != sorted(set(scheduler.restarts)):
        raise SrkdError(f"train.scheduler.restarts must be ascending, got {scheduler.restarts}")
    count = len(scheduler.periods)
    for key in ("restart_weights", "eta_mins"):
        given = getattr(scheduler, key)
        if count and SCHEDULES[scheduler.type] is cosine_restarts and len(given) not in (0, 1, count):
            raise SrkdError(f"train.scheduler.{key}: {len(given)} values for {count} periods")
    if len(scheduler.restarts) and len(scheduler.restart_weights) not in (0, 1, len(scheduler.restarts)):
        values = f"{len(scheduler.restart_weights)} values for {len(scheduler.restarts)} restarts"
        raise SrkdError(f"train.scheduler.restart_weights: {values}")


def needs_total(train: Train) -> bool:
    """Whether a step's learning rate or precision depends on the total number of steps."""
    scheduler, kind = train.scheduler, SCHEDULES[train.scheduler.type]
    by_total = (kind is cosine and not scheduler.T_max) or (kind is cosine_restarts and not scheduler.periods)
    return by_total or train.fp32_after < 1


def factor(step: int, train: Train, lr: float) -> float:
    """Factor of the initial learning rate `lr` at `step` (counted from 0), warm-up included."""
    value = SCHEDULES[train.scheduler.type](step, train.scheduler, lr, train.total_iter)
    if step < train.warmup_iter:
        value *= (step + 1) / train.warmup_iter
    return value
