"""Training that already computes as int8 will, so that what is lost by rounding is learned back.

Rounding is imitated in float with gradients passed straight through (Jacob et al., "Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018). The weights stay those of the plain network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_SMALLEST = 1e-8  # a range of zeros has a scale too
_REMEMBERED = 0.99  # of a range, from one step to the next
_RANGE = "largest_input"


class Int8Conv2d(nn.Conv2d):
    """A convolution whose input, by tensor, and weights, by output channel, are rounded as int8 inference rounds them.

    Symmetric, in 255 levels, or 256 for an input without negative values, such as a ReLU's. The input's range is that
    of the last hundred steps or so: patches seldom hold the largest value that whole pictures have, and rounding to
    their own range would be finer than what is to come.
    """

    largest_input: Tensor

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            x = input.float()
            if self.training:
                with torch.no_grad():
                    self.largest_input.copy_(torch.maximum(x.abs().amax(), _REMEMBERED * self.largest_input))
            x, weight = rounded_activations(x, self.largest_input), rounded_weights(self.weight)
        return self._conv_forward(x, weight, self.bias)


def rounded_activations(x: Tensor, largest: Tensor) -> Tensor:
    """(N, C, H, W) on the grid of one scale for all, that of a tensor with values up to `largest`."""
    return _rounded(x, largest / (127 if x.amin() < 0 else 255))


def rounded_weights(weight: Tensor) -> Tensor:
    """(out, in, h, w) on the grid of a scale for each output channel."""
    return _rounded(weight, weight.abs().amax((1, 2, 3), keepdim=True) / 127)


def _rounded(x: Tensor, scale: Tensor) -> Tensor:
    """x to multiples of `scale`, with x's gradient passed through."""
    scale = scale.detach().clamp_min(_SMALLEST)
    steps = (x / scale).detach()
    return x + scale * (steps.round() - steps)


def imitate_int8(network: nn.Module) -> None:
    """Make every convolution an `Int8Conv2d`, in place; parameters keep their names and values."""
    for module in network.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Int8Conv2d
            module.register_buffer(_RANGE, module.weight.new_zeros(()))


def without_ranges(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The plain network's part of a `state_dict`."""
    return {key: value for key, value in state.items() if key.rpartition(".")[2] != _RANGE}
