"""Which input sizes a network takes, found out by running it, and how others are made to fit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srkd.networks.infer import device_of, padded, padded_side

# Windows and strides of published networks, and products of two.
_MULTIPLES = (1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 28, 32, 36, 48, 56, 64, 128)
_SIDE = 37  # to try multiples with: a multiple of none of them, and more than what most networks need


@dataclass(frozen=True)
class Sides:
    """What input sides must be: multiples of `multiple`, at least `minimum`, and equal where `square`."""

    multiple: int = 1
    minimum: int = 1
    square: bool = False

    def fitting(self, height: int, width: int) -> tuple[int, int]:
        """The smallest sides from these on that a network takes."""
        rows, columns = (padded_side(side, self.multiple, self.minimum) for side in (height, width))
        return (max(rows, columns),) * 2 if self.square else (rows, columns)


@dataclass(frozen=True)
class Probed:
    """What a network was found to take and give: numbers of channels, and sides."""

    takes: int
    gives: int
    sides: Sides


class Padded(nn.Module):
    """A network that takes any size: its input is padded and its output cut back; its modules keep their paths below
    `network`."""

    def __init__(self, network: nn.Module, scale: int, sides: Sides) -> None:
        super().__init__()
        self.network, self.scale = network, scale
        self.sides: Sides = sides

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        y = self.network(padded(x, *self.sides.fitting(height, width)))
        return y[..., : height * self.scale, : width * self.scale]


@torch.no_grad()
def probe(network: nn.Module, scale: int) -> Probed | None:
    """Find the smallest multiple, and then the smallest side, of which a network takes inputs of 3 channels or of 1.

    None where it takes no size that is tried, or does not give `scale` times the size. Nothing of the network changes
    and no random number is drawn.
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        for multiple in _MULTIPLES:
            height = padded_side(_SIDE, multiple)
            width = height + (4 if multiple == 1 else multiple)  # which no larger one that is tried divides too
            for takes in (3, 1):
                gives = _gives(network, takes, height, width, scale)
                if gives:
                    return Probed(takes, gives, Sides(multiple, _minimum(network, takes, multiple, height, scale)))
        return None
    finally:
        for module in training:
            module.training = True


def _gives(network: nn.Module, takes: int, height: int, width: int, scale: int) -> int:
    """The channels of what a network makes of an input of this size; 0 where it fails, or gives another size."""
    try:
        y = network(torch.full((1, takes, height, width), 0.5, device=device_of(network)))
    except Exception:  # a network that does not take a size fails in any way
        return 0
    fits = isinstance(y, Tensor) and y.dim() == 4 and y.shape[-2:] == (scale * height, scale * width)
    return y.shape[1] if fits else 0


def _minimum(network: nn.Module, takes: int, multiple: int, known: int, scale: int) -> int:
    """The smallest of `multiple`, twice it, four times, ... that a network takes; `known` is one that it does."""
    side = multiple
    while side < known and not _gives(network, takes, side, side, scale):
        side *= 2
    return padded_side(min(side, known), multiple)
