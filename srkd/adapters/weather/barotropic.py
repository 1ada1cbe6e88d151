"""The barotropic vorticity equation on a doubly periodic plane: two-dimensional turbulence, the simplest weather in two
dimensions. Pseudo-spectral, with the products dealiased by the rule of two thirds (Orszag, J. Atmos. Sci. 1971)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from srkd.adapters.weather.stepping import advance, rk4
from srkd.errors import SrkdError


class Barotropic:
    """d zeta/dt + u . grad zeta = viscosity laplacian^3 zeta on [0, 2 pi)^2, velocity u of the vorticity zeta.

    States are spectra, complex (members, size, size / 2 + 1), as `spectrum` makes them. Without viscosity the equation
    conserves `energy` and `enstrophy`, and so does the truncated one in space; in time the error is of fourth order.

    Raises:
        SrkdError: a size that is odd.
    """

    name = "the barotropic model"

    def __init__(self, size: int = 128, dt: float = 0.01, viscosity: float = 0.0) -> None:
        if size % 2:
            raise SrkdError(f"the barotropic model needs an even number of points a side, got {size}")
        self.size, self.dt = size, dt
        self.kx = torch.fft.rfftfreq(size, 1 / size, dtype=torch.float64)
        self.ky = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)[:, None]
        square = self.kx**2 + self.ky**2
        self.inverse = torch.where(square > 0, 1 / square.clamp_min(1), 0)
        self.kept = (self.kx < size / 3) & (self.ky.abs() < size / 3)
        self.damping = torch.exp(-viscosity * square**3 * dt)
        self._to_velocity = torch.stack([1j * self.ky * self.inverse, -1j * self.kx * self.inverse])
        self._from_products = torch.stack([self.kx**2 - self.ky**2, self.kx * self.ky]) * self.kept

    def spectrum(self, vorticity: Tensor) -> Tensor:
        """The state of a field (..., size, size): its mean, and waves too short for the products, are taken out."""
        return torch.fft.rfft2(vorticity.double()) * (self.kept & (self.inverse > 0))

    def field(self, state: Tensor) -> Tensor:
        """The vorticity (..., size, size) of a state."""
        return torch.fft.irfft2(state, s=(self.size, self.size))

    def velocity(self, state: Tensor) -> Tensor:
        """Its components along x (the last axis) and y: (2, ..., size, size)."""
        shape = (2, *[1] * (state.dim() - 2), self.size, self.size // 2 + 1)
        return torch.fft.irfft2(self._to_velocity.view(shape) * state, s=(self.size, self.size))

    def tendency(self, state: Tensor) -> Tensor:
        u, v = self.velocity(state)
        # Two products instead of u zeta_x and v zeta_y save transforms (Basdevant, J. Comput. Phys. 1983):
        # u . grad zeta = (d_xx - d_yy) uv + d_xy (v^2 - u^2).
        products = torch.fft.rfft2(torch.stack([u * v, v * v - u * u]))
        shape = (2, *[1] * (state.dim() - 2), self.size, self.size // 2 + 1)
        return (self._from_products.view(shape) * products).sum(0)

    def step(self, state: Tensor) -> Tensor:
        return rk4(self.tendency, state, self.dt) * self.damping

    def courant(self, state: Tensor) -> float:
        return float(self.velocity(state).abs().sum(0).max()) * self.dt * self.size / (2 * math.pi)

    def energy(self, state: Tensor) -> Tensor:
        """Mean kinetic energy of each member."""
        return self.velocity(state).square().sum(0).mean((-2, -1)) / 2

    def enstrophy(self, state: Tensor) -> Tensor:
        """Half the mean square of each member's vorticity."""
        return self.field(state).square().mean((-2, -1)) / 2

    def forecast(self, vorticity: Tensor, steps: int) -> Tensor:
        """The vorticity `steps` steps after fields (..., size, size), in their dtype."""
        return self.field(advance(self, self.spectrum(vorticity), steps)).to(vorticity.dtype)

    def random(self, members: int, seed: int) -> Tensor:
        """Random states whose waves are about a sixth of the plane long, of root mean square vorticity 2."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(members, self.size, self.size, generator=generator, dtype=torch.float64)
        wave = (self.kx**2 + self.ky**2).sqrt()
        state = self.spectrum(noise) * torch.exp(-((wave - 6) ** 2) / 4)
        return state * (2 / self.field(state).square().mean((-2, -1), keepdim=True).sqrt())


def resample(field: Tensor, size: int) -> Tensor:
    """Fields (..., n, n) on a coarser grid of `size` points a side, by leaving out the waves that it cannot hold."""
    n, half = field.shape[-1], size // 2
    spectrum = torch.fft.rfft2(field)[..., : half + 1].clone()
    rows = torch.cat([spectrum[..., :half, :], spectrum[..., n - half :, :]], -2)
    rows[..., half] = 0  # waves of two grid lengths have no direction on the coarse grid
    rows[..., half, :] = 0
    return torch.fft.irfft2(rows, s=(size, size)) * (size / n) ** 2
