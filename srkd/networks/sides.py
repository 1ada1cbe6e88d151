"""Input sizes that a network accepts, found by running it, and the one rule by which other sizes are padded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srkd.networks.device import device_of

# Windows and strides of published networks, and products of two.
_MULTIPLES = (1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 28, 32, 36, 48, 56, 64, 128)
_SIDE = 37  # pixels for probing: a multiple of none of them, and larger than most networks' minimum


@dataclass(frozen=True)
class Sides:
    """Constraints on input sides: multiples of `multiple`, at least `minimum`, and equal if `square`."""

    multiple: int = 1
    minimum: int = 1
    square: bool = False

    def fitting(self, height: int, width: int) -> tuple[int, int]:
        """The smallest allowed sides that are at least `height` and `width`."""
        rows, columns = (padded_side(side, self.multiple, self.minimum) for side in (height, width))
        return (max(rows, columns),) * 2 if self.square else (rows, columns)

    def pad(self, x: Tensor) -> Tensor:
        """(N, C, H, W) with the bottom and right side extended by `mirrored` to fitting sides, in the same layout."""
        height, width = x.shape[-2:]
        tall, wide = self.fitting(height, width)
        if (tall, wide) == (height, width):
            return x
        rows, columns = (torch.from_numpy(mirrored(*side)).to(x.device) for side in ((height, tall), (width, wide)))
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        return x.index_select(-2, rows).index_select(-1, columns).contiguous(memory_format=layout)

    def pad_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """As `pad`, for (N, H, W, C)."""
        height, width = pixels.shape[1:3]
        tall, wide = self.fitting(height, width)
        if (tall, wide) == (height, width):
            return pixels
        return pixels[:, mirrored(height, tall)][:, :, mirrored(width, wide)]


def padded_side(side: int, multiple: int, minimum: int = 1) -> int:
    """The smallest multiple of `multiple` that is at least `side` and `minimum`."""
    return -(-max(side, minimum) // multiple) * multiple


def mirrored(length: int, to: int) -> NDArray[np.int64]:
    """The indices that extend a side of `length` pixels to `to`: its reflection, and beyond that its first pixel."""
    index = np.arange(to)
    return np.where(index < length, index, np.maximum(2 * (length - 1) - index, 0))


@dataclass(frozen=True)
class Probed:
    """A network's channels and sides, as found by `probe`."""

    input_channels: int
    output_channels: int
    sides: Sides


class Padded(nn.Module):
    """A network for inputs of any size: pads the input and crops the output; its modules keep their paths below
    `network`."""

    def __init__(self, network: nn.Module, scale: int, sides: Sides) -> None:
        super().__init__()
        self.network, self.scale = network, scale
        self.sides: Sides = sides

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        y: Tensor = self.network(self.sides.pad(x))
        return y[..., : height * self.scale, : width * self.scale]


@torch.no_grad()
def probe(network: nn.Module, scale: int) -> Probed | None:
    """Find the smallest multiple, and then the smallest side, that a network accepts with 3 channels or 1.

    None if it accepts no size tried, or its output is not `scale` times the size. The network does not change and no
    random number is drawn.
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        for multiple in _MULTIPLES:
            height = padded_side(_SIDE, multiple)
            width = height + (4 if multiple == 1 else multiple)  # not divisible by any larger multiple tried
            for channels in (3, 1):
                outputs = _output_channels(network, channels, height, width, scale)
                if outputs:
                    minimum = _minimum(network, channels, multiple, height, scale)
                    return Probed(channels, outputs, Sides(multiple, minimum))
        return None
    finally:
        for module in training:
            module.training = True


def _output_channels(network: nn.Module, channels: int, height: int, width: int, scale: int) -> int:
    """The channels of a network's output for an input of this size; 0 if it fails or the output size is wrong."""
    try:
        y = network(torch.full((1, channels, height, width), 0.5, device=device_of(network)))
    except Exception:  # a network may raise anything for a size it does not support
        return 0
    fits = isinstance(y, Tensor) and y.dim() == 4 and y.shape[-2:] == (scale * height, scale * width)
    return y.shape[1] if fits else 0


def _minimum(network: nn.Module, channels: int, multiple: int, known: int, scale: int) -> int:
    """The smallest of `multiple`, twice it, four times it, ... that a network accepts; it accepts `known`."""
    side = multiple
    while side < known and not _output_channels(network, channels, side, side, scale):
        side *= 2
    return padded_side(min(side, known), multiple)
