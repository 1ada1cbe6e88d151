"""A residual network that adds detail to the enlarged input: small students of networks such as Real-ESRGAN."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.networks.blocks import ResidualBlock, inner_widths
from srkd.networks.registry import register


@register("NearestResNet")
class NearestResNet(nn.Module):
    """Residual blocks at the input's size and one pixel shuffle, added to the input enlarged by nearest neighbours.

    Real-ESRGAN's small network, SRVGGNetCompact, with EDSR's residual blocks in place of its plain stack: every layer
    runs at the input's size, which is what makes it fast. 48 features and 6 blocks have 292,320 parameters at x4.

    Args:
        num_mid: inner channels of each block in a pruned network; `num_feat` by default.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 48,
        num_block: int = 6,
        upscale: int = 4,
        num_mid: list[int] | None = None,
    ) -> None:
        super().__init__()
        if upscale < 1 or num_in_ch != num_out_ch:
            raise ValueError("upscale must be at least 1, and num_in_ch equal to num_out_ch")
        self.upscale = upscale
        widths = inner_widths(num_feat, num_block, num_mid)
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)
        self.body = nn.Sequential(*(ResidualBlock(num_feat, num_mid=mid) for mid in widths))
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch * upscale**2, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N, 3, upscale H, upscale W), about [0, 1] (not clamped)."""
        y = F.relu(self.conv_first(x))
        y = self.conv_after_body(self.body(y)) + y
        # The nearest neighbour of a pixel before the shuffle: each channel repeated, which saves a large addition.
        skip = x.repeat_interleave(self.upscale**2, 1)
        return F.pixel_shuffle(torch.add(self.conv_last(y), skip), self.upscale)
