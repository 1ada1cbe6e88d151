"""A numerical simulation as a teacher: to the losses one like any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from srkd.distill.teachers import Prediction


class SimulationTeacher:
    """Answers a batch with a simulation's forecasts.

    Where the simulation has none (NaN), the truth stands in, so that a loss that knows no mask sees no error there.

    Args:
        forecast: gives the forecasts of a batch, of its target's shape.
    """

    def __init__(self, forecast: Callable[[Mapping[str, Any]], Tensor]) -> None:
        self.forecast = forecast

    @classmethod
    def live(cls, simulate: Callable[[Tensor], Tensor]) -> SimulationTeacher:
        """One that runs the simulation from each batch's inputs."""
        return cls(lambda batch: simulate(batch["input"].cpu()))

    @classmethod
    def cached(cls, forecasts: Tensor) -> SimulationTeacher:
        """One that made the forecasts of all training examples beforehand; the batch's `index` finds them."""
        return cls(lambda batch: forecasts[batch["index"]])

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Any]) -> Prediction:
        found = self.forecast(batch).to(batch["target"].device)
        return Prediction(torch.where(torch.isfinite(found), found, batch["target"]))
