"""Building blocks shared by the SR networks, with BasicSR's parameter names so that its checkpoints load."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + res_scale * conv2(relu(conv1(x))), without normalisation (Lim et al., EDSR, CVPRW 2017).

    Shapes: (N, C, H, W) to the same. With `small_init` both convolutions are initialised at a tenth of Kaiming's scale.
    `num_mid` is the number of channels between the two in a pruned block; C by default.
    """

    def __init__(
        self, num_feat: int, res_scale: float = 1.0, small_init: bool = False, num_mid: int | None = None
    ) -> None:
        super().__init__()
        self.res_scale = res_scale
        self.conv1 = nn.Conv2d(num_feat, num_mid or num_feat, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_mid or num_feat, num_feat, 3, 1, 1)
        self.relu = nn.ReLU(inplace=True)
        if small_init:
            kaiming(0.1, self.conv1, self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        residue = self.conv2(self.relu(self.conv1(x)))
        return torch.add(x, residue, alpha=self.res_scale)


def inner_widths(num_feat: int, num_block: int, num_mid: Sequence[int] | None) -> Sequence[int]:
    """The inner channels of each block: `num_mid`, or `num_feat` for all. Raises ValueError for an invalid list."""
    widths = [num_feat] * num_block if num_mid is None else num_mid
    if len(widths) != num_block or any(width < 1 for width in widths):
        raise ValueError(f"num_mid must give each of the {num_block} blocks a width of at least 1, got {list(widths)}")
    return widths


class Upsampler(nn.Sequential):
    """Convolution and pixel shuffle, once for x3 and otherwise once per factor of two (Shi et al., ESPCN, CVPR 2016).

    Shapes: (N, C, H, W) to (N, C, scale H, scale W); scale is 3 or a power of two.
    """

    def __init__(self, scale: int, num_feat: int) -> None:
        factors = {3: [3]}.get(scale, [2] * (scale.bit_length() - 1))
        if scale < 2 or (scale != 3 and scale & (scale - 1)):
            raise ValueError(f"scale must be 3 or a power of two, got {scale}")
        parts: list[nn.Module] = []
        for factor in factors:
            parts += [nn.Conv2d(num_feat, factor**2 * num_feat, 3, 1, 1), nn.PixelShuffle(factor)]
        super().__init__(*parts)


def kaiming(gain: float, *convolutions: nn.Conv2d) -> None:
    """Kaiming's normal initialisation times `gain`, zero bias: BasicSR's initialisation of residual networks."""
    for convolution in convolutions:
        nn.init.kaiming_normal_(convolution.weight)
        with torch.no_grad():
            convolution.weight.mul_(gain)
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
