"""The barotropic vorticity equation on a doubly periodic plane (two-dimensional turbulence), solved by a
pseudo-spectral method with 2/3-rule dealiasing (Orszag, J. Atmos. Sci. 1971)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from srkd.adapters.weather.stepping import advance, rk4
from srkd.errors import SrkdError


class BarotropicModel:
    """d zeta/dt + u . grad zeta = viscosity laplacian^3 zeta on [0, 2 pi)^2, with velocity u and vorticity zeta.

    States are spectra, complex (members, size, size / 2 + 1), as returned by `spectrum`. Without viscosity the equation
    conserves `energy` and `enstrophy`, and so does the discretisation in space; the error in time is of fourth order.

    Raises:
        SrkdError: `size` is odd.
    """

    name = "the barotropic model"

    def __init__(self, size: int = 128, dt: float = 0.01, viscosity: float = 0.0) -> None:
        if size % 2:
            raise SrkdError(f"the barotropic model needs an even number of points per side, got {size}")
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
        """The state of a vorticity field (..., size, size), without its mean and the dealiased wavenumbers."""
        output: Tensor = torch.fft.rfft2(vorticity.double()) * (self.kept & (self.inverse > 0))
        return output

    def field(self, state: Tensor) -> Tensor:
        """The vorticity (..., size, size) of a state."""
        output: Tensor = torch.fft.irfft2(state, s=(self.size, self.size))
        return output

    def velocity(self, state: Tensor) -> Tensor:
        """Velocity components along x (the last axis) and y: (2, ..., size, size)."""
        shape = (2, *[1] * (state.dim() - 2), self.size, self.size // 2 + 1)
        output: Tensor = torch.fft.irfft2(self._to_velocity.view(shape) * state, s=(self.size, self.size))
        return output

    def tendency(self, state: Tensor) -> Tensor:
        u, v = self.velocity(state)
        # Two products instead of u zeta_x and v zeta_y save transforms (Basdevant, J. Comput. Phys. 1983):
        # u . grad zeta = (d_xx - d_yy) uv + d_xy (v^2 - u^2).
        products = torch.fft.rfft2(torch.stack([u * v, v * v - u * u]))
        shape = (2, *[1] * (state.dim() - 2), self.size, self.size // 2 + 1)
        output: Tensor = (self._from_products.view(shape) * products).sum(0)
        return output

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
        """Advance vorticity fields (..., size, size) by `steps` time steps; same shape and dtype."""
        return self.field(advance(self, self.spectrum(vorticity), steps)).to(vorticity.dtype)

    def random(self, members: int, seed: int) -> Tensor:
        """Random states with wavenumbers around 6 and a root mean square vorticity of 2."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(members, self.size, self.size, generator=generator, dtype=torch.float64)
        wave = (self.kx**2 + self.ky**2).sqrt()
        state = self.spectrum(noise) * torch.exp(-((wave - 6) ** 2) / 4)
        return state * (2 / self.field(state).square().mean((-2, -1), keepdim=True).sqrt())


def resample(field: Tensor, size: int) -> Tensor:
    """Resample fields (..., n, n) to a coarser grid (..., size, size) by spectral truncation."""
    n, half = field.shape[-1], size // 2
    spectrum = torch.fft.rfft2(field)[..., : half + 1].clone()
    rows = torch.cat([spectrum[..., :half, :], spectrum[..., n - half :, :]], -2)
    rows[..., half] = 0  # the sign of the Nyquist wavenumber is ambiguous on the coarse grid
    rows[..., half, :] = 0
    output: Tensor = torch.fft.irfft2(rows, s=(size, size)) * (size / n) ** 2
    return output
