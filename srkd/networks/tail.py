"""Networks whose last operation is a pixel shuffle, and two last convolutions composed into one.

Only a pixel shuffle separates EDSR's last two convolutions, and it can be moved to the end. The composed weights are
sums and products of the two convolutions' weights, so they are differentiable.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Kernel = tuple[Tensor, Tensor]  # weight and bias
Layer = Callable[[Tensor], Tensor]


def same(y: Tensor) -> Tensor:
    """The identity."""
    return y


class SubpixelOutput(nn.Module):
    """A network for inference that ends in a pixel shuffle, so that the shuffle can be done on uint8.

    Args:
        factor: the factor of the shuffle.
    """

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def subpixels(self, x: Tensor, finish: Layer = same) -> Tensor:
        """(N, 3, H, W) to `finish` of the output before the shuffle, (N, factor * factor * 3, h, w).

        Channel (i, j, c) is colour c of the pixel in row i and column j of a cell of factor x factor.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return to_pixels(self.subpixels(x), self.factor)


class ShuffleLast(SubpixelOutput):
    """A network that ended in `last` and a pixel shuffle, with the shuffle done on the output's levels.

    Args:
        network: its method `features` returns the input of `last`.
        factor: the factor of the shuffle.
        adds_input: whether the input, enlarged by nearest neighbours, is added to the output: here to every pixel of a
            cell.
    """

    def __init__(self, network: nn.Module, last: nn.Conv2d, factor: int, adds_input: bool = False) -> None:
        super().__init__(factor)
        self.network: Any = network
        self.conv_last = convolution(cells_first(kernel_of(last), factor))
        self.adds_input = adds_input

    def subpixels(self, x: Tensor, finish: Layer = same) -> Tensor:
        y = self.conv_last(self.network.features(x))
        return finish(y + x.repeat(1, self.factor**2, 1, 1) if self.adds_input else y)


class ChosenChannels(nn.Module):
    """(N, C, H, W) to (N, len(places), H, W): the channels at `places`, in any order and any number of times."""

    places: Tensor

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.register_buffer("places", places, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.places]

    def as_convolution(self) -> nn.Conv2d:
        """The 1x1 convolution with ones and zeros that is equal to it, for runtimes without indexing."""
        weight = functional.one_hot(self.places).float()[:, :, None, None]
        return convolution((weight, weight.new_zeros(len(weight))))


class Tail(nn.Module):
    """Two 3x3 convolutions as one of 5x5: with 16 channels and x2 a third of the multiply-adds. See `joined`.

    `second` is given by its weight and bias.
    """

    def __init__(self, first: nn.Conv2d, second: Kernel) -> None:
        super().__init__()
        self.both = convolution(composed(kernel_of(first), second))
        self.edge = nn.Sequential(first, convolution(second))

    def forward(self, x: Tensor, finish: Layer = same) -> Tensor:
        return joined(x, self.both, self.edge, finish)


def joined(x: Tensor, both: Layer, edge: Layer, finish: Layer = same) -> Tensor:
    """Apply two consecutive 3x3 convolutions to (N, C, H, W) as one of 5x5, except at the border.

    At the border the second convolution sees zero padding instead of outputs of the first. So the outermost pixels are
    computed by the two convolutions, from the three rows or columns they depend on. Any height and width.

    Args:
        both: the 5x5 convolution, zero padding 2.
        edge: the two 3x3 convolutions, each with zero padding 1.
        finish: applied to interior and edges before they are concatenated, which is cheaper for uint8.
    """
    # An image of one row has only a top row: the second slice leaves the bottom empty.
    top, bottom = edge(x[:, :, :3])[:, :, :1], edge(x[:, :, -3:])[:, :, 1:][:, :, -1:]
    left, right = edge(x[..., :3])[..., :1], edge(x[..., -3:])[..., 1:][..., -1:]
    rows = torch.cat([finish(top), finish(both(x))[:, :, 1:-1], finish(bottom)], 2)
    return torch.cat([finish(left), rows[..., 1:-1], finish(right)], 3)


def composed(first: Kernel, second: Kernel) -> Kernel:
    """The 5x5 convolution equal to two zero-padded 3x3 convolutions away from the border."""
    (inner, inner_bias), (outer, outer_bias) = first, second
    inner, wide = inner.double(), outer.double()
    weight = functional.conv2d(inner.transpose(0, 1), wide.flip(2, 3), padding=2).transpose(0, 1)
    return weight.to(outer.dtype), (wide.sum((2, 3)) @ inner_bias.double() + outer_bias).to(outer.dtype)


def before_shuffle(last: Kernel, factor: int) -> Kernel:
    """The 3x3 convolution before a pixel shuffle that is equivalent to `last`, 3x3 with zero padding, after it.

    Its output channels are ordered (i, j, c): colour c of the pixel in row i and column j of a cell of factor x factor;
    `to_pixels` rearranges them. Exact at the border too: both pad with zeros.
    """
    weight, bias = last
    with_zero = functional.pad(weight.flatten(), (0, 1))
    places = _places_before_shuffle(*weight.shape[:2], factor).to(weight.device)
    return with_zero[places], bias.repeat(factor**2)


@functools.cache
@torch.inference_mode(False)  # what is kept may be needed for a gradient later
def _places_before_shuffle(out: int, into: int, factor: int) -> Tensor:
    """The flat index in `last`'s weight of each element of `before_shuffle`'s; -1 for zero."""
    flat = torch.arange(out * into * 9).view(out, into, 3, 3)
    # i, j, c; then its inputs: channel, row, column
    kernel = flat.new_full((factor, factor, out, into, factor, factor, 3, 3), -1)
    for i, j, u, v in itertools.product(range(factor), range(factor), range(3), range(3)):
        down, row = divmod(i + u - 1, factor)
        right, column = divmod(j + v - 1, factor)
        kernel[i, j, :, :, row, column, down + 1, right + 1] = flat[:, :, u, v]
    return kernel.reshape(out * factor**2, into * factor**2, 3, 3)


def to_pixels(cells: Tensor, factor: int) -> Tensor:
    """(N, factor * factor * C, H, W), channels ordered (i, j, c), to (N, C, factor H, factor W)."""
    n, _, height, width = cells.shape
    parts = cells.reshape(n, factor, factor, -1, height, width)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(n, -1, height * factor, width * factor)


def may_merge(network: nn.Module, layers: Iterable[nn.Module]) -> bool:
    """Whether these layers of a network may be computed together: in training, unless a hook sees their outputs."""
    return network.training and torch.is_grad_enabled() and not any(layer._forward_hooks for layer in layers)


def kernel_of(layer: nn.Module) -> Kernel:
    """A convolution's weight and bias."""
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    return layer.weight, layer.bias


def convolution(kernel: Kernel) -> nn.Conv2d:
    """The convolution with this weight and bias and "same" zero padding, in the weight's dtype."""
    weight, bias = kernel
    out, into, side, _ = weight.shape
    layer = nn.Conv2d(into, out, side, 1, side // 2).to(weight)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def cells_first(kernel: Kernel, factor: int) -> Kernel:
    """A convolution before a pixel shuffle with its channels, ordered (c, i, j), in `to_pixels`' order (i, j, c)."""
    weight, bias = (each.unflatten(0, (-1, factor**2)).transpose(0, 1).flatten(0, 1) for each in kernel)
    return weight, bias
