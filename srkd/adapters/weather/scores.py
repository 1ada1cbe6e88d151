"""Forecast metrics, computed in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from srkd.adapters.weather.examples import Examples, Weather

VALIDATION = "validation "  # precedes a quantity's name in the scores of its validation examples


def error_scores(error: Tensor) -> dict[str, float]:
    """`rmse`, `mae` and `bias` (mean of forecast minus truth) of errors of any shape, in their unit."""
    error = error.double()
    return {"rmse": float(error.square().mean().sqrt()), "mae": float(error.abs().mean()), "bias": float(error.mean())}


def skill(error: Tensor, reference: Tensor) -> float:
    """Skill score 1 - MSE / MSE of the reference: 1 is perfect, 0 equals the reference; NaN errors are ignored.

    If the error of the reference is 0, the skill is 0 for a perfect forecast and -inf otherwise.
    """
    both = torch.isfinite(reference)
    mse, reference_mse = (float(e[both].double().square().mean()) for e in (error, reference))
    if reference_mse == 0:
        return 0.0 if mse == 0 else -math.inf
    return 1 - mse / reference_mse


def scores(forecast: Tensor, weather: Weather, quantity: int) -> dict[str, float]:
    """Errors of the forecasts of one quantity for the test examples, and their skill against persistence, climatology
    and, if available, the numerical model."""
    test = weather.test
    truth = test.target[:, quantity]
    error = forecast[:, quantity] - truth
    references = {"persistence": test.persistence, "climatology": weather.climatology.expand_as(test.target)}
    if test.simulated is not None and test.simulated[:, quantity].isfinite().any():
        references["model"] = test.simulated
    found = error_scores(error)
    return found | {f"skill_{name}": skill(error, r[:, quantity] - truth) for name, r in references.items()}


def rmse(forecast: Tensor, examples: Examples, quantity: int) -> float:
    """The root mean square error of the forecasts of one quantity."""
    return error_scores(forecast[:, quantity] - examples.target[:, quantity])["rmse"]


def by_station(error: Tensor, place: Tensor, stations: int) -> list[float | None]:
    """The RMSE of one quantity at each station; None for stations without a forecast."""
    squares = error.double().square()
    counts = torch.bincount(place, minlength=stations)
    sums = torch.bincount(place, squares, minlength=stations)
    return [math.sqrt(s / n) if n else None for s, n in zip(sums.tolist(), counts.tolist(), strict=True)]
