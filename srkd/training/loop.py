"""The training loop. Everything that differs between tasks is in the task."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from srkd.interruption import handling
from srkd.training.ema import Ema
from srkd.training.recipe import Train
from srkd.training.schedule import factor
from srkd.training.task import Task, require_finite

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Stop(Exception):
    """Training stops before its end: on a signal, or because its time budget is used up."""


class EarlyStop(Stop):
    """Training ends before its last step because validation has not improved for `patience` validations."""


class AfterStep(Protocol):
    """Called after each step with the number of steps done and a function that returns the values to log."""

    def __call__(self, done: int, values: Callable[[], dict[str, float]]) -> None: ...


def fit(task: Task, train: Train, fabric: Fabric, ema: Ema, start: int, after_step: AfterStep) -> None:
    """Run steps `start` to `train.total_iter` of a task after `setup`.

    Raises:
        SrkdError: training diverged.
        Exception: any of `after_step`, such as `Stop`, between two steps.
    """
    initial = {name: [group["lr"] for group in opt.param_groups] for name, opt in task.optimisers.items()}
    for step in range(start, train.total_iter):
        _set_rates(task, train, initial, step)
        if task.epoch_length and step % task.epoch_length == 0:
            task.on_epoch(step // task.epoch_length)
        batches = [task.batch(step * train.accumulate + k) for k in range(train.accumulate)]
        for together in zip(*(task.steps(batch, step) for batch in batches), strict=True):
            for loss, _ in together:
                fabric.backward(loss / len(together) if len(together) > 1 else loss)
            _update(together[0][1], train.clip_grad_norm)
        ema.update(step)
        after_step(step + 1, partial(_values, task, step + 1))


def _set_rates(task: Task, train: Train, initial: dict[str, list[float]], step: int) -> None:
    for name, optimiser in task.optimisers.items():
        for group, lr in zip(optimiser.param_groups, initial[name], strict=True):
            group["lr"] = lr * factor(step, train, lr)


def _update(optimiser: Optimizer, clip: float) -> None:
    if clip:
        clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def _values(task: Task, step: int) -> dict[str, float]:
    values = {name: float(value) for name, value in task.log.items()}
    require_finite(values, step)
    return values


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], int]]:
    """Record SIGINT and SIGTERM inside the block: the yielded function returns the number of the first signal, or 0.
    A second SIGINT raises KeyboardInterrupt. Outside the main thread signals are not handled."""
    received: list[int] = []

    def record(number: int, frame: Any) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    with handling(record):
        yield lambda: received[0] if received else 0


class Timer:
    """Reports once per period (in seconds) that it has passed."""

    def __init__(self, period: float) -> None:
        self.period, self._last = period, time.monotonic()

    def due(self) -> bool:
        """Whether a period has passed since this last returned True, or since the start."""
        if time.monotonic() - self._last < self.period:
            return False
        self._last = time.monotonic()
        return True


def random_state() -> dict[str, Any]:
    """State of torch's random generators, which a step may use."""
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
