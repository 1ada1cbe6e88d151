"""Exponential moving average of trained weights, used for validation and saved models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Maintains `average = d * average + (1 - d) * weights` of several networks, of floating-point buffers
    too; other buffers are copied.

    d is the smaller of `decay` and (1 + step) / (10 + step), so that short runs forget the initial weights: with a
    constant 0.999, they would still make up a fifth of the average after 1,500 steps.

    Args:
        networks: by name; their current parameters and buffers are read at each update.
        decay: in [0, 1); 0: no average, and `swapped` has no effect.
    """

    def __init__(self, networks: Mapping[str, nn.Module], decay: float) -> None:
        self.networks = dict(networks)
        self.decay = decay
        self.average: dict[str, dict[str, Tensor]] = {}
        if decay:
            self.average = {name: _copy(network.state_dict()) for name, network in self.networks.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the current weights to the average; called after each step, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, average in self.average.items():
            weights = self.networks[name].state_dict()
            floats = [key for key in average if average[key].is_floating_point()]
            torch._foreach_lerp_([average[k] for k in floats], [weights[k] for k in floats], 1 - decay)
            for key in average.keys() - set(floats):
                average[key].copy_(weights[key])

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Use the averages as the networks' weights inside the block; restore their own weights after it."""
        own = {name: _copy(self.networks[name].state_dict()) for name in self.average}
        for name, average in self.average.items():
            self.networks[name].load_state_dict(average)
        try:
            yield
        finally:
            for name, weights in own.items():
                self.networks[name].load_state_dict(weights)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        return self.average

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        for name, average in self.average.items():
            for key, tensor in average.items():
                tensor.copy_(state[name][key])


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.detach().clone() for key, tensor in state.items()}
