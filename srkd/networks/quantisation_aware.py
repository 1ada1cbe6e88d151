"""Quantisation-aware training: int8 rounding is simulated, so that training compensates for its error.

Rounding is simulated in float with straight-through gradients (Jacob et al., "Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018). The weights stay those of the plain network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from srkd.networks.edsr import EDSR
from srkd.networks.tail import Kernel, before_shuffle, composed, joined, kernel_of, to_pixels

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
            return self._conv_forward(self.rounded_input(input), rounded_weights(self.weight), self.bias)

    def rounded_input(self, x: Tensor) -> Tensor:
        """The input rounded to int8 levels; in training its range is updated."""
        x, largest = x.float(), self.largest_input
        if self.training:
            largest = torch.maximum(x.abs().amax(), _DECAY * largest)
            self.largest_input = largest.detach()
        return rounded_activations(x, largest)


class Int8EDSR(EDSR):
    """EDSR rounded as in inference, where the last two convolutions are composed into one.

    If they were rounded separately, the network would learn to compensate for errors that inference does not make.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Shapes and ranges as `EDSR`."""
        x = self.conv_first((x - self.mean) * self.img_range)
        x = self.conv_after_body(self.body(x)) + x
        *head, widening, shuffle = self.upsample
        for layer in head:
            x = layer(x)
        assert isinstance(widening, Int8Conv2d) and isinstance(shuffle, nn.PixelShuffle)
        with torch.autocast(x.device.type, enabled=False):
            cells = self._tail(widening.rounded_input(x), kernel_of(widening), shuffle.upscale_factor)
        return to_pixels(cells, shuffle.upscale_factor) / self.img_range + self.mean

    def _tail(self, x: Tensor, first: Kernel, factor: int) -> Tensor:
        second = before_shuffle(kernel_of(self.conv_last), factor)
        weight, bias = composed(first, second)

        def both(x: Tensor) -> Tensor:
            return functional.conv2d(x, rounded_weights(weight), bias, padding=2)

        def edge(x: Tensor) -> Tensor:
            return functional.conv2d(functional.conv2d(x, *first, padding=1), *second, padding=1)

        return joined(x, both, edge)


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
    """Turn convolutions into `Int8Conv2d` and EDSR into `Int8EDSR`, in place; parameters keep names and values."""
    if type(network) is EDSR:
        network.__class__ = Int8EDSR
    for module in network.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Int8Conv2d
            module.register_buffer(_RANGE, module.weight.new_zeros(()))


def without_ranges(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `state_dict` without the int8 input ranges: that of the plain network."""
    return {key: value for key, value in state.items() if key.rpartition(".")[2] != _RANGE}
