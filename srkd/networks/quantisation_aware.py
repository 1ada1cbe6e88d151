"""Training that already computes as int8 will, so that what is lost by rounding is learned back.

Rounding is imitated in float with gradients passed straight through (Jacob et al., "Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018). The weights stay those of the plain network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from srkd.networks.edsr import EDSR
from srkd.networks.tail import Kernel, before_shuffle, composed, joined, kernel_of, to_pixels

_SMALLEST = 1e-8  # a range of zeros has a scale too
_REMEMBERED = 0.99  # of a range, from one step to the next
_RANGE = "largest_input"


class Int8Conv2d(nn.Conv2d):
    """A convolution whose input, by tensor, and weights, by output channel, are rounded as int8 inference rounds them.

    Symmetric, in 255 levels, or 256 for an input without negative values, such as a ReLU's. The input's range is that
    of the last hundred steps or so: patches seldom hold the largest value that whole images have, and rounding to
    their own range would be finer than what is to come.
    """

    largest_input: Tensor

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return self._conv_forward(self.rounded_input(input), rounded_weights(self.weight), self.bias)

    def rounded_input(self, x: Tensor) -> Tensor:
        """An input as int8 has it; in training its range counts."""
        x, largest = x.float(), self.largest_input
        if self.training:
            largest = torch.maximum(x.abs().amax(), _REMEMBERED * largest)
            self.largest_input = largest.detach()
        return rounded_activations(x, largest)


class Int8EDSR(EDSR):
    """EDSR with its convolutions rounded as they are run: the last two as one, which is rounded as one.

    Rounded apart, as they are trained, the network learns to make up for errors that inference does not make.
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
    """(N, C, H, W) on the grid of one scale for all, that of a tensor with values up to `largest`."""
    return _rounded(x, largest / (127 if x.amin() < 0 else 255))


def rounded_weights(weight: Tensor) -> Tensor:
    """(out, in, h, w) on the grid of a scale for each output channel."""
    return _rounded(weight, weight.abs().amax((1, 2, 3), keepdim=True) / 127)


def _rounded(x: Tensor, scale: Tensor) -> Tensor:
    """x to multiples of `scale`, with x's gradient passed through, and to `scale` what rounding owes to its size."""
    scale = scale.clamp_min(_SMALLEST)
    steps = (x / scale).detach()
    return x + scale * (steps.round() - steps)


def imitate_int8(network: nn.Module) -> None:
    """Make each convolution an `Int8Conv2d`, EDSR an `Int8EDSR`, in place; parameters keep their names and values."""
    if type(network) is EDSR:
        network.__class__ = Int8EDSR
    for module in network.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Int8Conv2d
            module.register_buffer(_RANGE, module.weight.new_zeros(()))


def without_ranges(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The plain network's part of a `state_dict`."""
    return {key: value for key, value in state.items() if key.rpartition(".")[2] != _RANGE}
