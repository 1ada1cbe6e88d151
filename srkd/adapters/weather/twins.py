"""Observing-system simulation experiments: a fine simulation is the truth, a coarser one the teacher.

Student and teacher start from the same observations, which are the truth with noise. Training targets are observations
too; the test targets are the truth.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from srkd.adapters.weather.barotropic import BarotropicModel, resample
from srkd.adapters.weather.examples import Examples, Weather
from srkd.adapters.weather.lorenz96 import OneLevelLorenz96, TwoLevelLorenz96
from srkd.adapters.weather.recipe import Barotropic, Lorenz96, Twin
from srkd.adapters.weather.stepping import Dynamics, advance, steps_of
from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path
from srkd.files.cache import cache_place, trusted

_BATCH = 64  # forecasts of the teacher


@dataclass
class _Pair:
    """The truth, its initial states, the projection of a state to the student's grid, and the teacher's forecast."""

    quantity: str
    truth: Dynamics
    states: Tensor
    project: Callable[[Tensor], Tensor]
    simulate: Callable[[Tensor], Tensor]


def lorenz96(section: Lorenz96) -> Weather:
    """Forecasts of the slow variables, (N, 1, variables).

    Raises:
        SrkdError: a time is not a whole number of steps, or a run blew up.
    """
    truth = TwoLevelLorenz96(section.variables, section.fast, section.forcing, section.dt)
    teacher = OneLevelLorenz96(section.teacher_forcing, section.teacher_dt)
    steps = steps_of(section.lead, teacher.dt, "lead")
    states = truth.random(section.members + section.test_members, section.seed)
    simulate = lambda x: advance(teacher, x.double(), steps).to(x.dtype)  # noqa: E731
    return _examples(_Pair("X", truth, states, truth.slow, simulate), section)


def barotropic(section: Barotropic) -> Weather:
    """Forecasts of the vorticity, (N, 1, teacher_size, teacher_size).

    Raises:
        SrkdError: the grids are invalid, a time is not a whole number of steps, or a run blew up.
    """
    if section.teacher_size > section.size:
        raise SrkdError(f"data.barotropic: teacher_size {section.teacher_size} must not exceed size {section.size}")
    truth = BarotropicModel(section.size, section.dt, section.viscosity)
    teacher = BarotropicModel(section.teacher_size, section.teacher_dt, section.teacher_viscosity)
    steps = steps_of(section.lead, teacher.dt, "lead")
    states = truth.random(section.members + section.test_members, section.seed)
    return _examples(
        _Pair(
            "vorticity",
            truth,
            states,
            lambda state: resample(truth.field(state), section.teacher_size),
            lambda field: teacher.forecast(field, steps),
        ),
        section,
    )


def _examples(pair: _Pair, section: Twin) -> Weather:
    series = _series(pair, section)
    generator = torch.Generator().manual_seed(section.seed + 1)
    observed = series + section.noise * series.std() * torch.randn(series.shape, generator=generator)
    train, test = slice(0, section.members), slice(section.members, None)
    climatology = observed[train, 1:].flatten(0, 1).mean(0)[None, None]
    known, scored = (
        Examples(observed[rows, :-1].flatten(0, 1)[:, None], target[rows, 1:].flatten(0, 1)[:, None])
        for rows, target in ((train, observed), (test, series))
    )
    scored.simulated = in_parts(pair.simulate, scored.inputs)
    protocol = (
        f"{pair.truth.name}, {section.lead:g} ahead, {len(scored)} forecasts from observations with noise "
        f"{section.noise:g}, against the truth"
    )
    return Weather(known, scored, [pair.quantity], "", protocol, climatology, pair.simulate)


def in_parts(simulate: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Forecasts of the simulation for many inputs, computed in batches."""
    return torch.cat([simulate(part) for part in inputs.split(_BATCH)])


def _series(pair: _Pair, section: Twin) -> Tensor:
    """The truth on the student's grid, (members, times + 1, ...), float32; stored in the cache folder."""
    settings = json.dumps([type(section).__name__, section.model_dump(exclude={"noise", "teacher"})], sort_keys=True)
    path = cache_place("weather") / f"{hashlib.sha256(settings.encode()).hexdigest()[:16]}.pt"
    with contextlib.suppress(OSError, RuntimeError, EOFError, pickle.UnpicklingError):  # missing or damaged
        if trusted(path):
            output: Tensor = torch.load(path, weights_only=True)
            return output
    every = steps_of(section.lead, pair.truth.dt, "lead")
    state = advance(pair.truth, pair.states, steps_of(section.spin_up, pair.truth.dt, "spin_up"))
    projected = [pair.project(state)]
    for _ in range(section.times):
        state = advance(pair.truth, state, every)
        projected.append(pair.project(state))
    series = torch.stack(projected, 1).float()
    with atomic_path(path) as temporary:
        torch.save(series, temporary)
    return series
