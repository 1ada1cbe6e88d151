"""A residual network that adds detail to the enlarged input: small students of networks such as Real-ESRGAN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.networks.base import Ladder, Recognised, State, shuffle_factor
from srkd.networks.blocks import ResidualBlock, ResidualNetwork, TrunkOptions
from srkd.networks.registry import register
from srkd.networks.tail import ShuffleLast


@dataclass(frozen=True)
class _Options(TrunkOptions):
    num_feat: int = 48
    num_block: int = 6


@register("NearestResNet")
class NearestResNet(ResidualNetwork):
    """Residual blocks at the input's size and one pixel shuffle, added to the input enlarged by nearest neighbours.

    Real-ESRGAN's small network, SRVGGNetCompact, with EDSR's residual blocks in place of its plain stack: every layer
    runs at the input's size, which is what makes it fast. 48 features and 6 blocks have 292,320 parameters at x4.

    Args:
        trunk: as `TrunkOptions`; by default 48 features and 6 blocks; `upscale` is any factor.
    """

    Options = _Options
    ladder = Ladder("Nearest", depths=(3, 6, 12), imitates=True)

    def __init__(self, **trunk: Any) -> None:
        super().__init__()
        options = self.Options(**trunk)
        upscale, num_feat = options.upscale, options.num_feat
        if upscale < 1 or options.num_in_ch != options.num_out_ch:
            raise ValueError("upscale must be at least 1, and num_in_ch equal to num_out_ch")
        self.upscale = upscale
        self.conv_first = options.first()
        self.body = options.blocks(lambda num_mid: ResidualBlock(num_feat, num_mid=num_mid))
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_last = nn.Conv2d(num_feat, options.num_out_ch * upscale**2, 3, 1, 1)

    def features(self, x: Tensor) -> Tensor:
        """The input of the last convolution."""
        y = F.relu(self.conv_first(x))
        output: Tensor = self.conv_after_body(self.body(y)) + y
        return output

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N, 3, upscale H, upscale W), about [0, 1] (not clamped)."""
        y = self.features(x)
        # The nearest neighbour of a pixel before the shuffle: each channel repeated, which saves a large addition.
        skip = x.repeat_interleave(self.upscale**2, 1)
        return F.pixel_shuffle(torch.add(self.conv_last(y), skip), self.upscale)

    @classmethod
    def recognise(cls, state: State) -> Recognised | None:
        """Its own names."""
        common = cls.recognise_trunk(state)
        parts = {key.split(".")[0] for key in state}
        if common is None or parts != {"conv_first", "body", "conv_after_body", "conv_last"}:
            return None
        upscale = shuffle_factor(common["num_out_ch"], common["num_in_ch"])
        if upscale == 0:
            return None
        return {**common, "num_out_ch": common["num_in_ch"], "upscale": upscale}, dict(state)

    def fused(self) -> nn.Module:
        last = self.conv_last
        del self.conv_last
        return ShuffleLast(self, last, self.upscale, adds_input=True)
