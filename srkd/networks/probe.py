"""The input sizes that a network accepts, found by running it, and a check that its output is finite and of the right
size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srkd.errors import SrkdError
from srkd.networks.device import device_of
from srkd.networks.sides import Sides, padded_side

# Windows and strides of published networks, and products of two.
_MULTIPLES = (1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24, 28, 32, 36, 48, 56, 64, 128)
_SIDE = 37  # pixels for probing: a multiple of none of them, and larger than most networks' minimum
_SIDES = (16, 64)  # in pixels; many windowed networks need at least 64


@torch.inference_mode()
def check_output(network: nn.Module, scale: int, sides: Sides, origin: str) -> None:
    """Run a network in eval mode on a small grey ramp.

    A network that fails on both sizes is not checked; running it will report why.

    Raises:
        SrkdError: the output is not `scale` times the input's size with 3 channels, or contains NaN or infinity.
    """
    for side in (sides.fitting(side, side)[0] for side in _SIDES):
        ramp = torch.linspace(0, 1, side).expand(1, 3, side, side).contiguous()
        try:
            output = network(ramp)
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError):
            continue
        if not isinstance(output, torch.Tensor):
            return
        height, width = output.shape[-2:]
        if output.shape != (1, 3, side * scale, side * scale):
            raise SrkdError(
                f"{origin}: described as a network for x{scale}, but upscales {side}x{side} to {width}x{height} pixels"
            )
        if not torch.isfinite(output).all():
            raise SrkdError(
                f"{origin}: its weights are too large: the output is not finite, and images would be black; use a "
                "checkpoint from before its training diverged"
            )
        return


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
