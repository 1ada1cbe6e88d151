"""A recipe for forecasts: from a table of stations, or from a twin experiment with simulations run here."""

from __future__ import annotations

from typing import Literal

import pydantic

from srkd.adapters.base import AdapterRecipe
from srkd.training.recipe import Section, Seed


class Quantity(Section):
    """A forecast quantity and its columns in a table."""

    name: str = pydantic.Field(description="name in scores")
    present: str = pydantic.Field(description="column of the observation at the time of the forecast")
    observed: str = pydantic.Field(description="column of the observation at the valid time: the truth")
    forecast: str = pydantic.Field(description="column of the numerical model's forecast: the teacher")


class Table(Section):
    """Forecasts and observations: a CSV file with one row per station and day, which includes the next day's truth."""

    free = frozenset({"root"})  # the fingerprint identifies the content
    root: str = pydantic.Field(description="the CSV file, as given or relative to SRKD_DATA")
    station: str = pydantic.Field("station", description="column of the station")
    time: str = pydantic.Field("Date", description="column of the day on which the forecast is made")
    latitude: str = pydantic.Field("lat", description="column of the station's latitude")
    longitude: str = pydantic.Field("lon", description="column of the station's longitude")
    quantities: list[Quantity] = pydantic.Field(min_length=1)
    range: tuple[float, float] = pydantic.Field((-90.0, 60.0), description="possible values of the quantities")
    unit: str = pydantic.Field("K", description="unit of the errors")
    inputs: list[str] = pydantic.Field([], description="further input columns of the student")
    history: int = pydantic.Field(0, ge=0, description="number of previous days that are inputs too")
    simulated: list[str] = pydantic.Field([], description="globs of the columns that are output of the numerical model")
    correct_bias: bool = pydantic.Field(
        False, description="subtract the teacher's mean error over the training examples from its forecasts"
    )
    train: list[int] = pydantic.Field(min_length=1, description="training years, by the day of the truth")
    validation: list[int] = pydantic.Field([], description="years to choose by, after the training years")
    test: list[int] = pydantic.Field(min_length=1, description="test years, after the others")


class Twin(Section):
    """An observing-system simulation experiment: the "truth" is a fine simulation, observed with noise; the teacher is
    a coarser simulation that starts from the same observations as the student."""

    members: int = pydantic.Field(32, gt=0, description="training runs of the truth, from random initial states")
    test_members: int = pydantic.Field(8, gt=0, description="further runs for the test")
    validation_members: int = pydantic.Field(0, ge=0, description="further runs to choose by")
    states: int = pydantic.Field(
        0, ge=0, description="inputs from runs of the teacher's own model, which alone it labels: nothing of the truth"
    )
    times: int = pydantic.Field(8, gt=0, description="consecutive forecasts per run")
    lead: float = pydantic.Field(gt=0, description="forecast lead time, in model time")
    spin_up: float = pydantic.Field(5.0, ge=0, description="model time before the first forecast")
    noise: float = pydantic.Field(0.1, ge=0, description="observation error, in standard deviations of the truth")
    seed: Seed = pydantic.Field(0, description="seed of the initial states and the noise, not of the training")
    teacher: Literal["cached", "live"] = pydantic.Field(
        "cached", description="run the teacher once before training (cached) or in every step (live)"
    )


class Lorenz96(Twin):
    """Truth: the two-level model of Lorenz (1996). Teacher: the one-level model, without the fast variables."""

    lead: float = pydantic.Field(0.4, gt=0, description="forecast lead time, in model time")
    variables: int = pydantic.Field(36, ge=4, description="number of slow variables, which are forecast")
    fast: int = pydantic.Field(
        10, ge=0, description="number of fast variables per slow one; 0: the truth is the one-level model"
    )
    forcing: float = pydantic.Field(10.0, description="F of the truth")
    teacher_forcing: float = pydantic.Field(8.0, description="F of the teacher")
    dt: float = pydantic.Field(0.005, gt=0, description="time step of the truth, in model time")
    teacher_dt: float = pydantic.Field(0.05, gt=0, description="time step of the teacher, in model time")


class Barotropic(Twin):
    """Decaying two-dimensional turbulence: the truth on a fine grid, the teacher on the student's coarser grid."""

    lead: float = pydantic.Field(1.0, gt=0, description="forecast lead time, in model time")
    size: int = pydantic.Field(64, ge=8, description="grid points per side of the truth")
    teacher_size: int = pydantic.Field(32, ge=8, description="grid points per side of the teacher and the student")
    dt: float = pydantic.Field(0.02, gt=0, description="time step of the truth, in model time")
    teacher_dt: float = pydantic.Field(0.05, gt=0, description="time step of the teacher, in model time")
    viscosity: float = pydantic.Field(1e-7, ge=0, description="coefficient of the cubed Laplacian in the truth")
    teacher_viscosity: float = pydantic.Field(1e-6, ge=0, description="the same coefficient in the teacher")


class WeatherData(Section):
    """`data:` one of `table`, `lorenz96` and `barotropic`."""

    table: Table | None = None
    lorenz96: Lorenz96 | None = None
    barotropic: Barotropic | None = None
    share: float = pydantic.Field(1.0, gt=0, le=1, description="share of the training examples, sampled by manual_seed")
    states_per_step: int = pydantic.Field(
        0,
        ge=0,
        description="inputs without truth, labelled by the teacher alone, beside each batch: of a simulation its "
        "`states`, of a table the training rows outside `share`",
    )

    @pydantic.model_validator(mode="after")
    def _one(self) -> WeatherData:
        if sum(source is not None for source in (self.table, self.lorenz96, self.barotropic)) != 1:
            raise ValueError("set exactly one of table, lorenz96 and barotropic")
        twin = self.lorenz96 or self.barotropic
        if self.states_per_step and (twin.states == 0 if twin else self.share == 1):
            raise ValueError("states_per_step: there are none; set states of the simulation, or share of a table")
        if self.states_per_step and twin and twin.teacher == "live":
            raise ValueError("states_per_step: the teacher must be cached")
        return self


class WeatherRecipe(AdapterRecipe):
    """Top level of the recipe."""

    data: WeatherData
