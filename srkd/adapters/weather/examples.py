"""What a source of weather gives, whether a table or a simulation: examples to train on, examples to score on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass
class Examples:
    """Forecasts to be made, in the quantities' own units, float32; N of them, `q` quantities.

    `inputs` (N, features, ...): what is known when the forecast is made; the first q features are what the quantities
    are then, which is the forecast of persistence too. `target` (N, q, ...): the truth. `simulated`, the same shape:
    the numerical model's forecast, NaN where there is none; None before it is made. `place`: the number of
    each example's station.
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

    def part(self, share: float, seed: int) -> Examples:
        """A share of the examples, at least one, drawn by `seed`, in their order."""
        count = max(1, round(share * len(self)))
        chosen = torch.from_numpy(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))
        simulated, place = (None if v is None else v[chosen] for v in (self.simulated, self.place))
        return Examples(self.inputs[chosen], self.target[chosen], simulated, place)


@dataclass
class Weather:
    """Training and test examples of one source.

    `climatology` broadcasts to the test examples' target. `simulate` makes the numerical model's forecast of inputs
    (None: forecasts are only what the examples hold). `places`: what is known of each station, in the order of their
    numbers.
    """

    train: Examples
    test: Examples
    quantities: list[str]
    unit: str
    protocol: str
    climatology: Tensor
    simulate: Callable[[Tensor], Tensor] | None = None
    places: list[dict[str, Any]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
