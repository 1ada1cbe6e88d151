"""Simulations against slow float64 references, conservation laws, and blow-up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from srkd.adapters.weather.barotropic import BarotropicModel, resample
from srkd.adapters.weather.lorenz96 import OneLevelLorenz96, TwoLevelLorenz96, advection
from srkd.adapters.weather.stepping import advance, steps_of
from srkd.errors import SrkdError


def one_level(x: np.ndarray, forcing: float) -> np.ndarray:
    n = len(x)
    return np.array([(x[(i + 1) % n] - x[i - 2]) * x[i - 1] - x[i] + forcing for i in range(n)])


def two_level(state: np.ndarray, variables: int, fast: int, forcing: float) -> np.ndarray:
    """Lorenz's equations (3.2) and (3.3) written out, c = b = 10 and h = 1."""
    c = b = 10.0
    x, y = state[:variables], state[variables:]
    n = len(y)
    dx = one_level(x, forcing) - [c / b * y[k * fast : (k + 1) * fast].sum() for k in range(variables)]
    dy = [-c * b * y[(j + 1) % n] * (y[(j + 2) % n] - y[j - 1]) - c * y[j] + c / b * x[j // fast] for j in range(n)]
    return np.concatenate([dx, dy])


def exact(tendency, state: np.ndarray, time: float) -> np.ndarray:
    found = solve_ivp(lambda t, s: tendency(s), (0, time), state, method="DOP853", rtol=1e-12, atol=1e-12)
    return np.asarray(found.y[:, -1])


def test_lorenz96_follows_an_exact_integration() -> None:
    start = 8 + np.random.default_rng(0).normal(0, 1, 12)
    errors = []
    for dt in (0.0125, 0.00625):
        end = advance(OneLevelLorenz96(8.0, dt), torch.from_numpy(start)[None], round(0.5 / dt))
        errors.append(np.abs(end[0].numpy() - exact(lambda x: one_level(x, 8.0), start, 0.5)).max())
    assert errors[0] < 1e-3 and errors[0] / errors[1] == pytest.approx(16, abs=1)  # fourth order


def test_two_level_lorenz96_follows_an_exact_integration() -> None:
    model = TwoLevelLorenz96(6, 4, 10.0, 0.001)
    start = model.random(1, 3)
    end = advance(model, start, 200)[0].numpy()
    assert end == pytest.approx(exact(lambda s: two_level(s, 6, 4, 10.0), start[0].numpy(), 0.2), abs=1e-6)


def test_lorenz_advection_conserves_the_sum_of_squares() -> None:
    x = torch.randn(5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (x * advection(x)).sum(-1).abs().max() < 1e-12


def test_lorenz96_has_a_fixed_point_at_its_forcing() -> None:
    rest = torch.full((1, 36), 8.0, dtype=torch.float64)
    assert torch.equal(advance(OneLevelLorenz96(), rest, 100), rest)


def test_energy_and_enstrophy_are_conserved() -> None:
    model = BarotropicModel(32, dt=0.02)
    start = model.random(2, 0)
    changes = []
    for dt in (0.02, 0.01):
        model.dt = dt
        end = advance(model, start, round(2 / dt))
        assert (end - start).abs().max() > 0.5 * start.abs().max()  # the state changes
        changes.append([float((law(end) / law(start) - 1).abs().max()) for law in (model.energy, model.enstrophy)])
    # The remaining error is that of the time stepping, which decreases with a power of the step.
    assert max(changes[0]) < 1e-4 and all(fine < coarse / 10 for coarse, fine in zip(*changes, strict=True))


def test_the_spatial_discretisation_conserves_both_exactly() -> None:
    model = BarotropicModel(32)
    state = model.random(3, 1)
    vorticity, change = model.field(state), model.field(model.tendency(state))
    stream = model.field(-model.inverse * state)
    size = (change.square().mean() * vorticity.square().mean()).sqrt()
    assert (vorticity * change).mean((-2, -1)).abs().max() < 1e-12 * size  # d enstrophy / dt
    assert (stream * change).mean((-2, -1)).abs().max() < 1e-12 * size  # d energy / dt


def test_tendency_is_the_advection_of_vorticity() -> None:
    """Against u . grad zeta of resolved waves, by central differences on a fine grid."""
    n = 384
    x = torch.arange(n, dtype=torch.float64)[None] * (2 * math.pi / n)
    y = x.T
    stream = torch.sin(x) * torch.cos(2 * y) + 0.5 * torch.cos(2 * x + y)
    slope = lambda f, axis: (f.roll(-1, axis) - f.roll(1, axis)) * (n / (4 * math.pi))  # noqa: E731
    vorticity = -5 * torch.sin(x) * torch.cos(2 * y) - 2.5 * torch.cos(2 * x + y)
    u, v = -slope(stream, 0), slope(stream, 1)
    expected = -(u * slope(vorticity, 1) + v * slope(vorticity, 0))
    # The stream function above is a steady flow (its Laplacian is -5 times each part); perturb it.
    bent = vorticity + torch.cos(3 * y) - torch.sin(x)
    ub, vb = u - torch.sin(3 * y) / 3, v + torch.cos(x)
    expected_bent = -(ub * slope(bent, 1) + vb * slope(bent, 0))
    model = BarotropicModel(n)
    assert (model.field(model.tendency(model.spectrum(vorticity))) - expected).abs().max() < 1e-2
    assert expected_bent.abs().max() > 5
    assert (model.field(model.tendency(model.spectrum(bent))) - expected_bent).abs().max() < 1e-2


def test_velocity_has_the_given_vorticity_and_no_divergence() -> None:
    model = BarotropicModel(32)
    state = model.random(1, 2)
    u, v = (torch.fft.rfft2(part) for part in model.velocity(state))
    assert torch.allclose(1j * model.kx * v - 1j * model.ky * u, state, atol=1e-9)
    assert (1j * model.kx * u + 1j * model.ky * v).abs().max() < 1e-9


def test_a_single_wave_only_decays_by_viscosity() -> None:
    model = BarotropicModel(16, dt=0.1, viscosity=1e-3)
    x = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
    wave = torch.sin(2 * x)[None, None].expand(1, 16, 16)
    assert torch.allclose(model.forecast(wave, 10), wave * math.exp(-1e-3 * 4**3), atol=1e-12)


def test_resampling_keeps_resolved_waves_and_drops_the_others() -> None:
    fine, coarse = (torch.arange(n, dtype=torch.float64) * (2 * math.pi / n) for n in (48, 16))
    wave = lambda x: torch.sin(3 * x)[:, None] + torch.cos(2 * x)[None] + 0.5  # noqa: E731
    short = torch.cos(20 * fine)[None] + torch.cos(8 * fine)[:, None]
    assert torch.allclose(resample(wave(fine) + short, 16), wave(coarse), atol=1e-12)


@pytest.mark.parametrize(
    ("model", "state", "name"),
    [
        (OneLevelLorenz96(dt=1.0), 8 + torch.randn(1, 36, generator=torch.Generator().manual_seed(0)), "Lorenz-96"),
        (BarotropicModel(16, dt=20.0), BarotropicModel(16).random(1, 0), "the barotropic model"),
    ],
)
def test_blow_up_names_step_and_courant_number(model, state: torch.Tensor, name: str) -> None:
    message = rf"{name} blew up at step \d+ of 100: the initial Courant number was {model.courant(state):.2f} \(dt"
    with pytest.raises(SrkdError, match=message):
        advance(model, state, 100)
    assert model.courant(state) > 1


def test_courant_number_is_grid_lengths_per_step() -> None:
    model = BarotropicModel(32, dt=0.05)
    x = torch.arange(32, dtype=torch.float64) * (2 * math.pi / 32)
    state = model.spectrum((2 * torch.cos(x))[None].expand(32, 32))  # v = 2 sin x
    assert model.courant(state[None]) == pytest.approx(2 * 0.05 * 32 / (2 * math.pi))


def test_invalid_grids_and_times_raise() -> None:
    with pytest.raises(SrkdError, match="even number of points per side, got 33"):
        BarotropicModel(33)
    assert steps_of(0.4, 0.05, "lead") == 8
    with pytest.raises(SrkdError, match=r"data: lead 0.42 is not a whole number of time steps of 0.05"):
        steps_of(0.42, 0.05, "lead")


def test_a_thousand_steps_of_128_by_128_take_a_few_seconds_of_cpu_time() -> None:
    """All steps take under 10 s on two idle cores; a tenth of them is timed here, in CPU time, since the machine may be
    shared."""
    import time

    model = BarotropicModel(128, dt=0.005)
    state = advance(model, model.random(1, 0), 2)
    start = time.thread_time()
    advance(model, state, 100)
    if torch.get_num_threads() == 1:
        assert time.thread_time() - start < 1.0
