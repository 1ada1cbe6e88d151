"""Training and test examples of a weather data source, a table or a simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass
class Examples:
    """N forecasts of q quantities, in the units of the quantities, float32.

    `inputs` (N, features, ...): known at the time of the forecast; the first q features are the present values of the
    quantities, which are also the persistence forecast. `target` (N, q, ...): the truth. `simulated` (N, q, ...): the
    forecast of the numerical model, NaN where not available; None before it is computed. `place` (N): index of the
    station.
    """

    inputs: Tensor
    target: Tensor
    simulated: Tensor | None = None
    place: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def persistence(self) -> Tensor:
        return self.inputs[:, : self.target.shape[1]]

    def part(self, share: float, seed: int) -> tuple[Examples, Examples]:
        """A random share of the examples, at least one, sampled with `seed`, and the others; both in their order."""
        count = max(1, round(share * len(self)))
        order = np.random.default_rng(seed).permutation(len(self))
        one, other = (self[torch.from_numpy(np.sort(part))] for part in (order[:count], order[count:]))
        return one, other

    def __getitem__(self, chosen: Tensor) -> Examples:
        """The examples of an index or a mask."""
        simulated, place = (None if v is None else v[chosen] for v in (self.simulated, self.place))
        return Examples(self.inputs[chosen], self.target[chosen], simulated, place)


@dataclass
class Weather:
    """Training and test examples of one data source.

    `climatology` broadcasts to the target of the test examples. `simulate` computes the numerical model's forecast from
    inputs (None: only the forecasts in the examples are available). `places`: metadata of each station, by index.
    `validation`: examples to choose by. `states`: inputs without truth, whose target is the numerical model's forecast.
    """

    train: Examples
    test: Examples
    quantities: list[str]
    unit: str
    protocol: str
    climatology: Tensor
    simulate: Callable[[Tensor], Tensor] | None = None
    validation: Examples | None = None
    states: Examples | None = None
    places: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
