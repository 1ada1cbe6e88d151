"""Student networks: they take inputs in physical units and predict the change from the present state."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from srkd.adapters.weather.examples import Examples
from srkd.errors import SrkdError, unknown

_OPTIONS: dict[str, dict[str, int]] = {"MLP": {"width": 64, "depth": 2}, "ConvNet": {"width": 16, "depth": 4}}


def build(spec: Mapping[str, Any], examples: Examples) -> nn.Module:
    """Build the network `{type: MLP | ConvNet, width, depth}`; it is normalised with the statistics of the examples.

    MLP is for stations, (N, features) to (N, q); ConvNet for Lorenz-96, (N, 1, n), and for fields, (N, 1, n, n), with
    periodic boundaries. `depth` is the number of hidden layers.

    Raises:
        SrkdError: unknown network or option, or a network that does not fit the data.
    """
    kind = str(spec.get("type"))
    if kind not in _OPTIONS:
        raise SrkdError(f"network.type: {unknown('network', kind, _OPTIONS)}")
    options = {key: value for key, value in spec.items() if key != "type"}
    for key, value in options.items():
        if key not in _OPTIONS[kind]:
            raise SrkdError(f"network: {unknown('option', str(key), _OPTIONS[kind])}")
        if type(value) is not int or value < 1:
            raise SrkdError(f"network.{key} must be an integer >= 1, got {value!r}")
    dimensions = examples.inputs.dim() - 2
    if (kind == "MLP") != (dimensions == 0):
        raise SrkdError(f"network.type: {kind} does not fit this data: stations need an MLP, simulations a ConvNet")
    size = {**_OPTIONS[kind], **options}
    features, quantities = examples.inputs.shape[1], examples.target.shape[1]
    body = _mlp(features, quantities, **size) if kind == "MLP" else _convnet(dimensions, features, quantities, **size)
    return Student(body, examples)


class Student(nn.Module):
    """present state + standard deviation of its change (`spread`) * body(normalised inputs)."""

    mean: Tensor
    std: Tensor
    spread: Tensor

    def __init__(self, body: nn.Module, examples: Examples) -> None:
        super().__init__()
        self.body = body
        rest = (1,) * (examples.inputs.dim() - 2)
        for name, value in _statistics(examples).items():
            self.register_buffer(name, value.view(1, -1, *rest))

    def forward(self, x: Tensor) -> Tensor:
        change = self.body((x - self.mean) / self.std)
        output: Tensor = x[:, : self.spread.shape[1]] + self.spread * change
        return output


def _statistics(examples: Examples) -> dict[str, Tensor]:
    """Mean and standard deviation of each input feature, and `spread`, the standard deviation of the change of each
    quantity, over the training examples."""
    inputs, change = (v.transpose(0, 1).flatten(1) for v in (examples.inputs, examples.target - examples.persistence))
    spreads = {"std": inputs.std(1, correction=0), "spread": change.std(1, correction=0)}
    return {"mean": inputs.mean(1), **{name: torch.where(v > 1e-6, v, 1.0) for name, v in spreads.items()}}


def _mlp(features: int, quantities: int, width: int, depth: int) -> nn.Module:
    sizes = [features, *[width] * depth]
    hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(width, quantities))


def _convnet(dimensions: int, features: int, quantities: int, width: int, depth: int) -> nn.Module:
    conv = nn.Conv1d if dimensions == 1 else nn.Conv2d
    sizes = [features, *[width] * depth]
    hidden: list[nn.Module] = []
    for a, b in pairwise(sizes):
        hidden += [conv(a, b, 5, padding=2, padding_mode="circular"), nn.GELU()]
    return nn.Sequential(*hidden, conv(width, quantities, 5, padding=2, padding_mode="circular"))
