"""The Lorenz-96 model: weather on a circle of latitude, with and without fast subgrid variables.

E. N. Lorenz, "Predictability: a problem partly solved", ECMWF Seminar on Predictability, 1996.
"""

from __future__ import annotations

import torch
from torch import Tensor

from srkd.adapters.weather.stepping import rk4


def advection(x: Tensor) -> Tensor:
    """(x[i+1] - x[i-2]) x[i-1], periodic along the last axis; conserves the sum of squares."""
    return (x.roll(-1, -1) - x.roll(2, -1)) * x.roll(1, -1)


class OneLevelLorenz96:
    """One-level model: dx/dt = advection - x + forcing. States are (members, variables)."""

    name = "Lorenz-96"

    def __init__(self, forcing: float = 8.0, dt: float = 0.05, variables: int = 36) -> None:
        self.forcing, self.dt, self.variables = forcing, dt, variables

    def slow(self, state: Tensor) -> Tensor:
        """The state itself."""
        return state

    def tendency(self, x: Tensor) -> Tensor:
        return advection(x) - x + self.forcing

    def step(self, x: Tensor) -> Tensor:
        return rk4(self.tendency, x, self.dt)

    def courant(self, x: Tensor) -> float:
        return float(x.abs().max()) * self.dt

    def random(self, members: int, seed: int) -> Tensor:
        """Random initial states for the spin-up, near half the forcing."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(members, self.variables, generator=generator, dtype=torch.float64)
        return self.forcing / 2 + noise


class TwoLevelLorenz96:
    """Two-level model: slow variables X, each coupled to `fast` fast variables Y, both periodic:

        dX_k/dt = advection - X_k + F - (h c / b) sum_j Y_jk
        dY_j/dt = -c b Y_{j+1} (Y_{j+2} - Y_{j-1}) - c Y_j + (h c / b) X_k(j)

    with c = b = 10 and h = 1. States are (members, variables (1 + fast)): X, then Y in the order of the circle.
    """

    name = "two-level Lorenz-96"
    _SPEED, _RATIO, _COUPLING = 10.0, 10.0, 1.0  # c, b, h

    def __init__(self, variables: int = 36, fast: int = 10, forcing: float = 10.0, dt: float = 0.005) -> None:
        self.variables, self.fast, self.forcing, self.dt = variables, fast, forcing, dt

    def slow(self, state: Tensor) -> Tensor:
        """X, (members, variables)."""
        return state[..., : self.variables]

    def tendency(self, state: Tensor) -> Tensor:
        x, y = self.slow(state), state[..., self.variables :]
        c, b = self._SPEED, self._RATIO
        coupling = self._COUPLING * c / b
        below = y.unflatten(-1, (self.variables, self.fast)).sum(-1)
        dx = advection(x) - x + self.forcing - coupling * below
        # The fast variables are advected in the opposite direction, hence the flips.
        dy = c * b * advection(y.flip(-1)).flip(-1) - c * y + coupling * x.repeat_interleave(self.fast, -1)
        return torch.cat([dx, dy], -1)

    def step(self, state: Tensor) -> Tensor:
        return rk4(self.tendency, state, self.dt)

    def courant(self, state: Tensor) -> float:
        slow, fast = (float(v.abs().max()) for v in (self.slow(state), state[..., self.variables :]))
        return max(slow, self._SPEED * self._RATIO * fast) * self.dt

    def random(self, members: int, seed: int) -> Tensor:
        """Random initial states for the spin-up: X near half the forcing, Y near 0."""
        noise = torch.randn(
            members,
            self.variables * (1 + self.fast),
            generator=torch.Generator().manual_seed(seed),
            dtype=torch.float64,
        )
        return torch.cat([self.forcing / 2 + self.slow(noise), 0.1 * noise[:, self.variables :]], -1)
