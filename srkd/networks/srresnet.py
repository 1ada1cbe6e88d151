"""SRResNet, the generator of SRGAN: Ledig et al., CVPR 2017, and its variant without batch norm."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from srkd.networks.blocks import ResidualBlock, Upsampler, inner_widths, kaiming
from srkd.networks.registry import register


@register("MSRResNet")
class MSRResNet(nn.Module):
    """SRResNet without batch norm that learns the difference to bilinear interpolation (BasicSR's MSRResNet).

    Parameter names and arithmetic are BasicSR's, so its checkpoints load. 64 features and 16 blocks: 1,517,571
    parameters at x4.

    Args:
        upscale: 2, 3 or 4; any from 2 with `one_step`.
        num_mid: inner channels of each block in a pruned network; `num_feat` by default.
        one_step: one pixel shuffle for the whole factor; BasicSR's x4 uses two of factor 2.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 16,
        upscale: int = 4,
        num_mid: Sequence[int] | None = None,
        one_step: bool = False,
    ) -> None:
        super().__init__()
        if upscale not in (2, 3, 4) and not (one_step and upscale > 1):
            raise ValueError(f"upscale must be 2, 3 or 4, got {upscale}")
        self.upscale = upscale
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)
        widths = inner_widths(num_feat, num_block, num_mid)
        self.body = nn.Sequential(*(ResidualBlock(num_feat, small_init=True, num_mid=mid) for mid in widths))
        two_steps = upscale == 4 and not one_step
        factor = 2 if two_steps else upscale
        self.upconv1 = nn.Conv2d(num_feat, num_feat * factor**2, 3, 1, 1)
        self.pixel_shuffle = nn.PixelShuffle(factor)
        if two_steps:
            self.upconv2 = nn.Conv2d(num_feat, num_feat * 4, 3, 1, 1)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, 1, 1)
        self.lrelu = nn.LeakyReLU(0.1, inplace=True)
        kaiming(0.1, self.conv_first, self.upconv1, self.conv_hr, self.conv_last)
        if two_steps:
            kaiming(0.1, self.upconv2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N, 3, upscale H, upscale W), about [0, 1] (not clamped)."""
        feature = self.body(self.lrelu(self.conv_first(x)))
        feature = self.lrelu(self.pixel_shuffle(self.upconv1(feature)))
        if hasattr(self, "upconv2"):
            feature = self.lrelu(self.pixel_shuffle(self.upconv2(feature)))
        residue = self.conv_last(self.lrelu(self.conv_hr(feature)))
        return residue + F.interpolate(x, scale_factor=self.upscale, mode="bilinear", align_corners=False)


class NormedBlock(nn.Module):
    """x + bn2(conv2(prelu(bn1(conv1(x))))), SRResNet's residual block."""

    def __init__(self, num_feat: int, num_mid: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_feat, num_mid, 3, 1, 1)
        self.bn1 = nn.BatchNorm2d(num_mid)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(num_mid, num_feat, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(num_feat)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))


@register("SRResNet")
class SRResNet(nn.Module):
    """SRResNet as published: 9x9 first and last convolutions, batch norm and PReLU in the trunk, pixel shuffle.

    The paper's output is tanh over [-1, 1] or linear over [0, 1]; this is the latter. 64 features and 16 blocks.

    Args:
        upscale: 2, 3, 4 or another power of two.
        num_mid: inner channels of each block in a pruned network; `num_feat` by default.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 16,
        upscale: int = 4,
        num_mid: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 9, 1, 4)
        self.prelu = nn.PReLU()
        widths = inner_widths(num_feat, num_block, num_mid)
        self.body = nn.Sequential(*(NormedBlock(num_feat, mid) for mid in widths))
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.bn_after_body = nn.BatchNorm2d(num_feat)
        parts = [
            [part, nn.PReLU()] if isinstance(part, nn.PixelShuffle) else [part] for part in Upsampler(upscale, num_feat)
        ]
        self.upsample = nn.Sequential(*(p for pair in parts for p in pair))
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 9, 1, 4)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N, 3, upscale H, upscale W), about [0, 1] (not clamped)."""
        x = self.prelu(self.conv_first(x))
        x = self.bn_after_body(self.conv_after_body(self.body(x))) + x
        return self.conv_last(self.upsample(x))
