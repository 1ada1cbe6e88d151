"""EDSR: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from srkd.networks.blocks import ResidualBlock, Upsampler, inner_widths
from srkd.networks.registry import register

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
_DIV2K_GREY = (0.299 * 0.4488 + 0.587 * 0.4371 + 0.114 * 0.4040,)  # BT.601 luma of it


@register("EDSR")
class EDSR(nn.Module):
    """A residual trunk without batch norm, then pixel shuffle.

    64 features and 16 blocks give EDSR-baseline (1,369,859 parameters at x2); 16 and 8 the student of the comparative
    study (49,603); 256, 32 and res_scale 0.1 the large EDSR. Parameter names and arithmetic are BasicSR's.

    Args:
        upscale: 2, 3, 4 or another power of two.
        img_range: factor applied to the input after its mean is subtracted; BasicSR's checkpoints use 255.
        rgb_mean: mean of the images per channel, in [0, 1]; DIV2K's by default.
        num_mid: inner channels of each block in a pruned network; `num_feat` by default.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 16,
        upscale: int = 4,
        res_scale: float = 1.0,
        img_range: float = 255.0,
        rgb_mean: Sequence[float] | None = None,
        num_mid: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if rgb_mean is None:
            rgb_mean = _DIV2K_GREY if num_in_ch == 1 else DIV2K_MEAN
        if len(rgb_mean) != num_in_ch:
            raise ValueError(f"rgb_mean has {len(rgb_mean)} values for {num_in_ch} input channels")
        widths = inner_widths(num_feat, num_block, num_mid)
        self.mean: Tensor
        self.img_range = img_range
        self.register_buffer("mean", torch.tensor(rgb_mean).view(1, -1, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)
        self.body = nn.Sequential(*(ResidualBlock(num_feat, res_scale, num_mid=mid) for mid in widths))
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.upsample = Upsampler(upscale, num_feat)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N, 3, upscale H, upscale W), about [0, 1] (not clamped)."""
        x = self.conv_first((x - self.mean) * self.img_range)
        x = self.conv_after_body(self.body(x)) + x
        return self.conv_last(self.upsample(x)) / self.img_range + self.mean
