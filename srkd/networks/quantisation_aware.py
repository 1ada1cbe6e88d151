"""Quantisation-aware training: int8 rounding is simulated, so that training compensates for its error.

Rounding is simulated in float with straight-through gradients (Jacob et al., "Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018). The weights stay those of the plain network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from srkd.networks.base import SRNetwork

_SMALLEST = 1e-8  # avoids a scale of zero
_DECAY = 0.99  # of the range, per step
_RANGE = "largest_input"


class Int8Conv2d(nn.Conv2d):
    """A convolution whose input, per tensor, and weights, per output channel, are rounded as in int8 inference.

    Symmetric, with 255 levels, or 256 for a non-negative input, such as a ReLU's. The input range is a decaying maximum
    over about a hundred steps: patches seldom contain the largest value of whole images, and rounding to the range of
    one patch would be finer than at inference.
    """

    largest_input: Tensor

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            output: Tensor = self._conv_forward(self.rounded_input(input), rounded_weights(self.weight), self.bias)
            return output

    def rounded_input(self, x: Tensor) -> Tensor:
        """The input rounded to int8 levels; in training its range is updated."""
        x, largest = x.float(), self.largest_input
        if self.training:
            largest = torch.maximum(x.abs().amax(), _DECAY * largest)
            self.largest_input = largest.detach()
        return rounded_activations(x, largest)


def rounded_activations(x: Tensor, largest: Tensor) -> Tensor:
    """Round (N, C, H, W) to int8 levels of one scale, that of a tensor with values up to `largest`."""
    return _rounded(x, largest / (127 if x.amin() < 0 else 255))


def rounded_weights(weight: Tensor) -> Tensor:
    """Round (out, in, h, w) to int8 levels with one scale per output channel."""
    return _rounded(weight, weight.abs().amax((1, 2, 3), keepdim=True) / 127)


def _rounded(x: Tensor, scale: Tensor) -> Tensor:
    """Round x to multiples of `scale`: straight-through gradient for x, that of the rounding error for `scale`."""
    scale = scale.clamp_min(_SMALLEST)
    steps = (x / scale).detach()
    return x + scale * (steps.round() - steps)


def imitate_int8(network: nn.Module) -> None:
    """Turn convolutions into `Int8Conv2d`, and call `SRNetwork.simulate_int8`, in place; parameters do not change."""
    for module in network.modules():
        if isinstance(module, SRNetwork):
            module.simulate_int8()
        if type(module) is nn.Conv2d:
            module.__class__ = Int8Conv2d
            module.register_buffer(_RANGE, module.weight.new_zeros(()))


def without_ranges(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `state_dict` without the int8 input ranges: that of the plain network."""
    return {key: value for key, value in state.items() if key.rpartition(".")[2] != _RANGE}
