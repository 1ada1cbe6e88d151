"""A recipe for forecasts: a table of stations, or an experiment with simulations that run here."""

from __future__ import annotations

from typing import Literal

import pydantic

from srkd.training.distilled import DistilledRecipe
from srkd.training.recipe import Section


class Quantity(Section):
    """One quantity that is forecast, by the columns of a table."""

    name: str = pydantic.Field(description="in scores")
    present: str = pydantic.Field(description="column of what is observed when the forecast is made")
    observed: str = pydantic.Field(description="column of what is observed when it is due: the truth")
    forecast: str = pydantic.Field(description="column of the numerical model's forecast: the teacher")


class Table(Section):
    """Forecasts and observations: a CSV file with a row for each station and day, which holds the next day's truth."""

    free = frozenset({"root"})  # the fingerprint says what was read from there
    root: str = pydantic.Field(description="the CSV file, also below SRKD_DATA")
    station: str = pydantic.Field("station", description="column of the station")
    time: str = pydantic.Field("Date", description="column of the day on which the forecast is made")
    latitude: str = pydantic.Field("lat", description="column of the station's latitude")
    longitude: str = pydantic.Field("lon", description="column of its longitude")
    quantities: list[Quantity] = pydantic.Field(min_length=1)
    range: tuple[float, float] = pydantic.Field((-90.0, 60.0), description="of the quantities: what is possible")
    unit: str = pydantic.Field("K", description="of the quantities' errors")
    inputs: list[str] = pydantic.Field([], description="further columns that the student sees")
    history: int = pydantic.Field(0, ge=0, description="days before the present one that it sees too")
    simulated: list[str] = pydantic.Field([], description="globs of columns that are the numerical model's output")
    correct_bias: bool = pydantic.Field(
        False, description="take the teacher's mean error over the training examples off its forecasts"
    )
    train: list[int] = pydantic.Field(min_length=1, description="years whose truth is trained on")
    test: list[int] = pydantic.Field(min_length=1, description="later years, to score on")


class Twin(Section):
    """An observing-system simulation: "truth" is a fine simulation, observed with noise; the teacher a coarser one that
    starts from such an observation, as the student does."""

    members: int = pydantic.Field(32, gt=0, description="runs of the truth to train on, from random states")
    test_members: int = pydantic.Field(8, gt=0, description="further ones to score on")
    times: int = pydantic.Field(8, gt=0, description="forecasts from each run, one after the other")
    lead: float = pydantic.Field(gt=0, description="how far ahead a forecast looks, in model time")
    spin_up: float = pydantic.Field(5.0, ge=0, description="model time before the first forecast")
    noise: float = pydantic.Field(0.1, ge=0, description="error of an observation, over the truth's standard deviation")
    seed: int = pydantic.Field(0, ge=0, description="of the random states and the noise; not the training's")
    teacher: Literal["cached", "live"] = pydantic.Field(
        "cached", description="whether the teacher forecasts once, before training, or in every step"
    )


class Lorenz96(Twin):
    """Truth: the two-level system of Lorenz (1996). Teacher: the one-level system, which lacks the fast variables."""

    lead: float = pydantic.Field(0.4, gt=0, description="how far ahead a forecast looks, in model time")
    variables: int = pydantic.Field(36, ge=4, description="slow variables, which are forecast")
    fast: int = pydantic.Field(10, gt=0, description="fast variables to each slow one")
    forcing: float = pydantic.Field(10.0, description="F of the truth")
    teacher_forcing: float = pydantic.Field(8.0, description="F of the teacher")
    dt: float = pydantic.Field(0.005, gt=0, description="step of the truth, in model time")
    teacher_dt: float = pydantic.Field(0.05, gt=0, description="step of the teacher")


class Barotropic(Twin):
    """Decaying two-dimensional turbulence: the truth on a fine grid, the teacher on the coarser one of the student."""

    lead: float = pydantic.Field(1.0, gt=0, description="how far ahead a forecast looks, in model time")
    size: int = pydantic.Field(64, ge=8, description="points a side of the truth's grid")
    teacher_size: int = pydantic.Field(32, ge=8, description="of the teacher's grid, and the student's")
    dt: float = pydantic.Field(0.02, gt=0, description="step of the truth, in model time")
    teacher_dt: float = pydantic.Field(0.05, gt=0, description="step of the teacher")
    viscosity: float = pydantic.Field(1e-7, ge=0, description="of the truth: coefficient of the cubed Laplacian")
    teacher_viscosity: float = pydantic.Field(1e-6, ge=0, description="of the teacher")


class Data(Section):
    """`data:` one of `table`, `lorenz96` and `barotropic`."""

    table: Table | None = None
    lorenz96: Lorenz96 | None = None
    barotropic: Barotropic | None = None
    share: float = pydantic.Field(1.0, gt=0, le=1, description="share of the training examples, drawn by manual_seed")

    @pydantic.model_validator(mode="after")
    def _one(self) -> Data:
        if sum(source is not None for source in (self.table, self.lorenz96, self.barotropic)) != 1:
            raise ValueError("name one of table, lorenz96 and barotropic")
        return self


class WeatherRecipe(DistilledRecipe):
    """The top of the recipe."""

    data: Data
