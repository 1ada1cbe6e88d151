"""Time stepping of numerical models, with detection of blow-up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from srkd.errors import SrkdError


class Dynamics(Protocol):
    """A discretised system of equations. A state is a real or complex tensor (members, ...)."""

    name: str
    dt: float

    def step(self, state: Tensor) -> Tensor:
        """Advance a state by `dt`."""

    def courant(self, state: Tensor) -> float:
        """Maximum Courant number: the grid lengths that the flow crosses in one step."""


def rk4(tendency: Callable[[Tensor], Tensor], state: Tensor, dt: float) -> Tensor:
    """One step of the classical fourth-order Runge-Kutta method."""
    k1 = tendency(state)
    k2 = tendency(state + dt / 2 * k1)
    k3 = tendency(state + dt / 2 * k2)
    k4 = tendency(state + dt * k3)
    return state + dt / 6 * (k1 + 2 * (k2 + k3) + k4)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread: the fields of a step (128x128 points and fewer) are too small for more, which on a busy
    machine wait for each other at every operation."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
@one_thread()
def advance(model: Dynamics, state: Tensor, steps: int) -> Tensor:
    """Advance a state by `steps` steps, in one thread.

    Raises:
        SrkdError: the simulation blew up; the message names the step and the initial Courant number.
    """
    start = state
    for number in range(1, steps + 1):
        state = model.step(state)
        # Any value that is not finite makes the sum so; this is the cheapest check of all values.
        if not torch.isfinite(state.sum()):
            raise SrkdError(
                f"{model.name} blew up at step {number} of {steps}: the initial Courant number was "
                f"{model.courant(start):.2f} (dt {model.dt:g}); reduce dt"
            )
    return state


def steps_of(time: float, dt: float, what: str) -> int:
    """Number of steps in a model time.

    Raises:
        SrkdError: `time` is not a multiple of `dt`.
    """
    steps = round(time / dt)
    if abs(steps * dt - time) > 1e-6 * max(time, dt):
        raise SrkdError(f"data: {what} {time:g} is not a whole number of time steps of {dt:g}")
    return steps
