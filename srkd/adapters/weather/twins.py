"""Observing-system simulation experiments: a fine simulation is the truth, a coarser one the teacher.

Student and teacher start from the same observations, which are the truth with noise. Training targets are observations
too; the targets of validation and test are the truth. States without truth come from runs of the teacher's own model:
the student sees them with the same noise, and their labels are that run's continuation.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

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


class _Model(Dynamics, Protocol):
    """A model with random initial states."""

    def random(self, members: int, seed: int) -> Tensor: ...


@dataclass
class _World:
    """A model, and the projection of its states to the student's grid."""

    model: _Model
    project: Callable[[Tensor], Tensor]


@dataclass
class _Pair:
    """The truth, the teacher, and the teacher's forecast from fields on the student's grid."""

    quantity: str
    truth: _World
    teacher: _World
    simulate: Callable[[Tensor], Tensor]


def lorenz96(section: Lorenz96, states: bool = False) -> Weather:
    """Forecasts of the slow variables, (N, 1, variables).

    Args:
        states: whether to make the states that only the teacher labels.

    Raises:
        SrkdError: a time is not a whole number of steps, or a run blew up.
    """
    truth = (
        TwoLevelLorenz96(section.variables, section.fast, section.forcing, section.dt)
        if section.fast
        else OneLevelLorenz96(section.forcing, section.dt, section.variables)
    )
    teacher = OneLevelLorenz96(section.teacher_forcing, section.teacher_dt, section.variables)
    steps = steps_of(section.lead, teacher.dt, "lead")
    simulate = lambda x: advance(teacher, x.double(), steps).to(x.dtype)  # noqa: E731
    return _weather(_Pair("X", _World(truth, truth.slow), _World(teacher, teacher.slow), simulate), section, states)


def barotropic(section: Barotropic, states: bool = False) -> Weather:
    """Forecasts of the vorticity, (N, 1, teacher_size, teacher_size).

    Args:
        states: whether to make the states that only the teacher labels.

    Raises:
        SrkdError: the grids are invalid, a time is not a whole number of steps, or a run blew up.
    """
    if section.teacher_size > section.size:
        raise SrkdError(f"data.barotropic: teacher_size {section.teacher_size} must not exceed size {section.size}")
    truth = BarotropicModel(section.size, section.dt, section.viscosity)
    teacher = BarotropicModel(section.teacher_size, section.teacher_dt, section.teacher_viscosity)
    steps = steps_of(section.lead, teacher.dt, "lead")
    coarse = _World(truth, lambda state: resample(truth.field(state), section.teacher_size))
    simulate = lambda field: teacher.forecast(field, steps)  # noqa: E731
    return _weather(_Pair("vorticity", coarse, _World(teacher, teacher.field), simulate), section, states)


def _weather(pair: _Pair, section: Twin, states: bool) -> Weather:
    counts = [section.members, section.validation_members, section.test_members]
    series = _series(pair.truth, section, sum(counts), section.seed)
    noise = section.noise * series.std()
    observed = _noisy(series, noise, section.seed + 1)
    climatology = observed[: section.members, 1:].flatten(0, 1).mean(0)[None, None]
    seen, truth = observed.split(counts), series.split(counts)
    train, validation, test = (
        _examples(now, later) for now, later in ((seen[0], seen[0]), (seen[1], truth[1]), (seen[2], truth[2]))
    )
    test.simulated = in_parts(pair.simulate, test.inputs)
    protocol = (
        f"{pair.truth.model.name}, {section.lead:g} ahead, {len(test)} forecasts from observations with noise "
        f"{section.noise:g}, against the truth"
    )
    return Weather(
        train,
        test,
        [pair.quantity],
        "",
        protocol,
        climatology,
        pair.simulate,
        validation if len(validation) else None,
        _states(pair, section, noise) if states else None,
    )


def _examples(now: Tensor, later: Tensor) -> Examples:
    """Consecutive forecasts of series (members, times + 1, ...)."""
    return Examples(now[:, :-1].flatten(0, 1)[:, None], later[:, 1:].flatten(0, 1)[:, None])


def _states(pair: _Pair, section: Twin, noise: Tensor) -> Examples:
    """`section.states` examples from runs of the teacher's model, from random initial states of another seed."""
    series = _series(pair.teacher, section, math.ceil(section.states / section.times), section.seed + 2)
    return _examples(_noisy(series, noise, section.seed + 3), series)[torch.arange(section.states)]


def _noisy(series: Tensor, noise: Tensor, seed: int) -> Tensor:
    return series + noise * torch.randn(series.shape, generator=torch.Generator().manual_seed(seed))


def in_parts(simulate: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Forecasts of the simulation for many inputs, computed in batches."""
    return torch.cat([simulate(part) for part in inputs.split(_BATCH)])


def _series(world: _World, section: Twin, members: int, seed: int) -> Tensor:
    """Runs of a model on the student's grid, (members, times + 1, ...), float32; stored in the cache folder."""
    model = world.model
    options = section.model_dump(exclude={"noise", "teacher"})
    settings = json.dumps([type(section).__name__, options, members, seed], sort_keys=True)
    path = cache_place("weather") / f"{hashlib.sha256(settings.encode()).hexdigest()[:16]}.pt"
    with contextlib.suppress(OSError, RuntimeError, EOFError, pickle.UnpicklingError):  # missing or damaged
        if trusted(path):
            output: Tensor = torch.load(path, weights_only=True)
            return output
    every = steps_of(section.lead, model.dt, "lead")
    state = advance(model, model.random(members, seed), steps_of(section.spin_up, model.dt, "spin_up"))
    projected = [world.project(state)]
    for _ in range(section.times):
        state = advance(model, state, every)
        projected.append(world.project(state))
    series = torch.stack(projected, 1).float()
    with atomic_path(path) as temporary:
        torch.save(series, temporary)
    return series
