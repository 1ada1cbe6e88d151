"""Learning-rate schedules as pure functions of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

from srkd.engine.recipe import Scheduler, Train
from srkd.errors import SrkdError, unknown


def cosine(step: int, scheduler: Scheduler, lr: float, total: int) -> float:
    """One half cosine from 1 to eta_min / lr over the whole run."""
    low = scheduler.eta_min / lr
    return low + (1 - low) * (1 + math.cos(math.pi * min(step / total, 1.0))) / 2


def cosine_restarts(step: int, scheduler: Scheduler, lr: float, total: int) -> float:
    """Half cosines one after another (BasicSR's CosineAnnealingRestartLR): `periods`, `restart_weights`, `eta_min`."""
    periods = scheduler.periods or [total]
    ends = list(accumulate(periods))
    number = min(bisect_right(ends, step), len(periods) - 1)
    done = (step - (ends[number] - periods[number])) / periods[number]
    low = scheduler.eta_min / lr
    weight = _of(scheduler.restart_weights, number)
    return low + weight * (1 - low) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def multistep(step: int, scheduler: Scheduler, lr: float, total: int) -> float:
    """Times `gamma` at each of `milestones`, back to a restart weight at each of `restarts` (BasicSR's MultiStepLR)."""
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
    "CosineAnnealingRestartLR": cosine_restarts,
    "MultiStepLR": multistep,
    "MultiStepRestartLR": multistep,
    "constant": constant,
}


def check(train: Train) -> None:
    """Raise SrkdError for a schedule that does not exist or whose lists do not fit together."""
    scheduler = train.scheduler
    if scheduler.type not in SCHEDULES:
        raise unknown("scheduler", scheduler.type, SCHEDULES)
    if any(period <= 0 for period in scheduler.periods):
        raise SrkdError(f"train.scheduler.periods must be positive, got {scheduler.periods}")


def needs_total(train: Train) -> bool:
    """Whether the numbers of a step depend on how many steps there will be."""
    whole_run = train.scheduler.type in ("cosine", "CosineAnnealingLR")
    by_default = SCHEDULES[train.scheduler.type] is cosine_restarts and not train.scheduler.periods
    return whole_run or by_default or train.fp32_after < 1


def factor(step: int, train: Train, lr: float) -> float:
    """What the initial learning rate `lr` is multiplied by at `step` (counted from 0), warm-up included."""
    value = SCHEDULES[train.scheduler.type](step, train.scheduler, lr, train.total_iter)
    if step < train.warmup_iter:
        value *= (step + 1) / train.warmup_iter
    return value
