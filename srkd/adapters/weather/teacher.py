"""A numerical simulation as a teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from srkd.distill.teachers import Prediction


class SimulationTeacher:
    """Predicts a batch with the forecasts of a simulation.

    Missing forecasts (NaN) are replaced by the truth, so that losses without a mask see no error there.

    Args:
        forecast: returns the forecasts of a batch, in the shape of its target.
    """

    def __init__(self, forecast: Callable[[Mapping[str, Any]], Tensor]) -> None:
        self.forecast = forecast

    @classmethod
    def live(cls, simulate: Callable[[Tensor], Tensor]) -> SimulationTeacher:
        """A teacher that runs the simulation from the inputs of each batch."""
        return cls(lambda batch: simulate(batch["input"].cpu()))

    @classmethod
    def cached(cls, forecasts: Tensor) -> SimulationTeacher:
        """A teacher with precomputed forecasts of all training examples, selected by the `index` of a batch."""
        return cls(lambda batch: forecasts[batch["index"]])

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Any]) -> Prediction:
        found = self.forecast(batch).to(batch["target"].device)
        return Prediction(torch.where(torch.isfinite(found), found, batch["target"]))
