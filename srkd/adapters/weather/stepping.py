"""Numerical models advanced in time, and what happens when one blows up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from srkd.errors import SrkdError


class Model(Protocol):
    """A system of equations with its discretisation. A state is a tensor, real or complex, of any number of members."""

    name: str
    dt: float

    def step(self, state: Tensor) -> Tensor:
        """The state `dt` later."""

    def courant(self, state: Tensor) -> float:
        """The largest Courant number: how many grid lengths the flow crosses in one step."""


def rk4(tendency: Callable[[Tensor], Tensor], state: Tensor, dt: float) -> Tensor:
    """One step of the classical Runge-Kutta method of fourth order."""
    k1 = tendency(state)
    k2 = tendency(state + dt / 2 * k1)
    k3 = tendency(state + dt / 2 * k2)
    k4 = tendency(state + dt * k3)
    return state + dt / 6 * (k1 + 2 * (k2 + k3) + k4)


@torch.no_grad()
def advance(model: Model, state: Tensor, steps: int) -> Tensor:
    """The state `steps` steps later.

    Raises:
        SrkdError: it blew up; the message names the step and the Courant number that the run began with.
    """
    start = state
    for number in range(1, steps + 1):
        state = model.step(state)
        # Whatever is not finite makes the sum so, and a sum is the cheapest look at all values.
        if not torch.isfinite(state.sum()):
            raise SrkdError(
                f"{model.name} blew up at step {number} of {steps}: it began with a Courant number of "
                f"{model.courant(start):.2f} (dt {model.dt:g}); take a shorter dt"
            )
    return state


def steps_of(time: float, dt: float, what: str) -> int:
    """How many steps a model time takes.

    Raises:
        SrkdError: it is no whole number of steps.
    """
    steps = round(time / dt)
    if abs(steps * dt - time) > 1e-6 * max(time, dt):
        raise SrkdError(f"data: {what} {time:g} is no whole number of time steps of {dt:g}")
    return steps
