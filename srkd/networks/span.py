"""SPAN: Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", CVPRW 2024."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.networks.base import Ladder, Recognised, SRNetwork, State, last_number, shuffle_factor
from srkd.networks.edsr import DIV2K_MEAN
from srkd.networks.registry import register
from srkd.networks.tail import ShuffleLast


@register("SPAN")
class SPAN(SRNetwork):
    """Blocks of three convolutions whose output is its own attention, and a concatenation of features.

    This is the inference form, whose convolutions are single ones; their authors train them as 1x1, 3x3, 1x1 with a
    skip connection, which is linear, as the branches of `train.reparameterise`. The published network has 6 blocks and
    48 features (94.4 G multiply-adds at x2), or 52 (481,324 parameters). spandrel reads the authors' checkpoints.

    Args:
        num_in_ch, num_out_ch: channels of the input and the output.
        num_feat, num_block: channels and blocks.
        upscale: any factor.
        img_range: factor applied to the input after its mean is subtracted; the authors' networks have 255.
        rgb_mean: mean of the images per channel, in [0, 1].
    """

    ladder = Ladder("SPAN", widths=(12, 16, 20, 24, 28, 32, 48), depths=(2, 4, 6), offered=False)

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 48,
        num_block: int = 6,
        upscale: int = 2,
        img_range: float = 1.0,
        rgb_mean: Sequence[float] = DIV2K_MEAN,
    ) -> None:
        super().__init__()
        if len(rgb_mean) not in (1, num_in_ch):
            raise ValueError(f"rgb_mean has {len(rgb_mean)} values for {num_in_ch} input channels")
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(rgb_mean).view(1, -1, 1, 1), persistent=False)
        self.img_range, self.num_block = img_range, num_block
        self.conv_1 = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)
        for number in range(1, num_block + 1):
            setattr(self, f"block_{number}", SPAB(num_feat))
        self.conv_cat = nn.Conv2d(4 * num_feat, num_feat, 1)
        self.conv_2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.upsampler = nn.Sequential(nn.Conv2d(num_feat, num_out_ch * upscale**2, 3, 1, 1), nn.PixelShuffle(upscale))

    def features(self, x: Tensor) -> Tensor:
        """The input of the last convolution."""
        first = y = self.conv_1((x - self.mean) * self.img_range)
        outputs = []
        for number in range(1, self.num_block + 1):
            y, inner = self.get_submodule(f"block_{number}")(y)
            outputs.append(y)
        output: Tensor = self.conv_cat(torch.cat([first, self.conv_2(y), outputs[0], inner], 1))
        return output

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to (N, C, upscale H, upscale W), about [0, 1] (not clamped)."""
        output: Tensor = self.upsampler(self.features(x))
        return output

    @classmethod
    def recognise(cls, state: State) -> Recognised | None:
        """Its own names, without the authors' branches."""
        first, last = state.get("conv_1.weight"), state.get("upsampler.0.weight")
        if first is None or last is None or "conv_cat.weight" not in state or first.dim() != 4:
            return None
        num_feat, num_in_ch = first.shape[:2]
        upscale = shuffle_factor(len(last), num_in_ch)
        if upscale == 0:
            return None
        sizes = {"num_feat": num_feat, "num_block": last_number(r"block_(\d+)\.", state)}
        return {"num_in_ch": num_in_ch, "num_out_ch": num_in_ch, **sizes, "upscale": upscale}, dict(state)

    def fused(self) -> nn.Module:
        last, shuffle = self.upsampler
        assert isinstance(shuffle, nn.PixelShuffle) and isinstance(last, nn.Conv2d)
        self.conv_1.weight.mul_(self.img_range)
        self.img_range = 1.0
        del self.upsampler
        return ShuffleLast(self, last, shuffle.upscale_factor)


class SPAB(nn.Module):
    """Three convolutions; their output plus x, times the sigmoid of that output less 1/2."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.c1_r, self.c2_r, self.c3_r = (nn.Conv2d(num_feat, num_feat, 3, 1, 1) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the block's output and the first activation."""
        inner = F.silu(self.c1_r(x))
        y = self.c3_r(F.silu(self.c2_r(inner)))
        return (y + x) * (torch.sigmoid(y) - 0.5), inner
