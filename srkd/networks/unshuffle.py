"""A residual trunk at half resolution: fewer, wider layers, which fill a processor's matrix units better.

The input is pixel-unshuffled, as by Real-ESRGAN's networks for x2 (Wang et al., ICCVW 2021) and by FSRCNN-like mobile
networks; a pixel shuffle of the whole factor ends it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.networks.base import Ladder, Recognised, SRNetwork, State, last_number, shuffle_factor
from srkd.networks.blocks import ResidualBlock
from srkd.networks.registry import register
from srkd.networks.tail import ChosenChannels, Layer, SubpixelOutput, cells_first, convolution, kernel_of, same


@register("UnshuffleSR")
class UnshuffleSR(SRNetwork):
    """Pixel unshuffle, residual blocks, pixel shuffle, and the nearest-neighbour image added.

    32 features and 4 blocks have 91,344 parameters at x2, 48 and 4 192,288; a layer costs a quarter of the
    multiply-adds per parameter that it costs at full resolution.

    Args:
        num_in_ch, num_out_ch: channels of the input and the output; equal.
        num_feat, num_block: channels and blocks of the trunk.
        upscale: any factor.
        unshuffle: the factor that the trunk's resolution is lower by; sides of the input are multiples of it.
    """

    ladder = Ladder("Unshuffle", widths=(16, 24, 32, 48, 64, 96), depths=(2, 4, 8), offered=False)
    trunk = "body"

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 32,
        num_block: int = 4,
        upscale: int = 2,
        unshuffle: int = 2,
    ) -> None:
        super().__init__()
        if num_in_ch != num_out_ch:
            raise ValueError(f"num_in_ch {num_in_ch} and num_out_ch {num_out_ch} must be equal: the input is added")
        self.upscale, self.multiple = upscale, unshuffle
        self.conv_first = nn.Conv2d(num_in_ch * unshuffle**2, num_feat, 3, 1, 1)
        self.body = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(num_block)))
        self.conv_last = nn.Conv2d(num_feat, num_out_ch * (upscale * unshuffle) ** 2, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to (N, C, upscale H, upscale W), about [0, 1] (not clamped)."""
        y = self.conv_last(self.body(self.conv_first(F.pixel_unshuffle(x, self.multiple))))
        base = F.interpolate(x, scale_factor=self.upscale, mode="nearest")
        return F.pixel_shuffle(y, self.upscale * self.multiple) + base

    @classmethod
    def recognise(cls, state: State) -> Recognised | None:
        """Its own names, for images of 3 channels."""
        first, last = state.get("conv_first.weight"), state.get("conv_last.weight")
        parts = {key.split(".")[0] for key in state}
        if first is None or last is None or parts != {"conv_first", "body", "conv_last"}:
            return None
        if "body.0.conv1.weight" not in state or first.dim() != 4:
            return None
        unshuffle, whole = shuffle_factor(first.shape[1], 3), shuffle_factor(len(last), 3)
        if unshuffle == 0 or whole % unshuffle or whole == 0:
            return None
        sizes = {"num_feat": len(first), "num_block": 1 + last_number(r"body\.(\d+)\.", state)}
        return {**sizes, "upscale": whole // unshuffle, "unshuffle": unshuffle}, dict(state)

    def fused(self) -> nn.Module:
        return FusedUnshuffleSR(self)


class FusedUnshuffleSR(SubpixelOutput):
    """UnshuffleSR whose pixel shuffle comes last: the input, already unshuffled, is added before it."""

    def __init__(self, network: UnshuffleSR) -> None:
        super().__init__(network.upscale * network.multiple)
        self.unshuffle = nn.PixelUnshuffle(network.multiple)
        self.conv_first, self.body = network.conv_first, network.body
        self.conv_last = convolution(cells_first(kernel_of(network.conv_last), self.factor))
        side, scale = network.multiple, network.upscale
        cell = torch.arange(self.factor) // scale  # row or column of the input pixel for each of the output's
        inside = (cell[:, None] * side + cell).flatten()[:, None]
        colours = torch.arange(self.conv_first.in_channels // side**2) * side**2
        self.enlarged = ChosenChannels((inside + colours).flatten())

    def subpixels(self, x: Tensor, finish: Layer = same) -> Tensor:
        pixels = self.unshuffle(x)
        return finish(self.conv_last(self.body(self.conv_first(pixels))) + self.enlarged(pixels))
