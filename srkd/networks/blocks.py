"""Building blocks shared by the SR networks, with BasicSR's parameter names so that its checkpoints load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from srkd.networks.base import SRNetwork, State, last_number


class ResidualBlock(nn.Module):
    """x + res_scale * conv2(relu(conv1(x))), without normalisation (Lim et al., EDSR, CVPRW 2017).

    Shapes: (N, C, H, W) to the same. With `small_init` both convolutions are initialised at a tenth of Kaiming's scale.
    `num_mid` is the number of channels between the two in a pruned block; C by default.
    """

    def __init__(
        self, num_feat: int, res_scale: float = 1.0, small_init: bool = False, num_mid: int | None = None
    ) -> None:
        super().__init__()
        self.res_scale: float = res_scale
        self.conv1 = nn.Conv2d(num_feat, num_mid or num_feat, 3, 1, 1)
        self.conv2 = nn.Conv2d(num_mid or num_feat, num_feat, 3, 1, 1)
        self.relu = nn.ReLU(inplace=True)
        if small_init:
            kaiming(0.1, self.conv1, self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        residue = self.conv2(self.relu(self.conv1(x)))
        return torch.add(x, residue, alpha=self.res_scale)

    def fused(self) -> nn.Module:
        """This block with `res_scale` folded into the second convolution."""
        self.conv2.weight.mul_(self.res_scale)
        assert self.conv2.bias is not None
        self.conv2.bias.mul_(self.res_scale)
        self.res_scale = 1  # an integer: pnnx exports 1.0 as a multiplication
        return self


@dataclass(frozen=True)
class TrunkOptions:
    """The options that networks with a trunk of residual blocks share, and the layers that these determine.

    Args:
        num_in_ch, num_out_ch: channels of the input and the output.
        num_feat, num_block: channels and blocks of the trunk.
        upscale: factor of the output's sides.
        num_mid: inner channels of each block in a pruned network; `num_feat` by default.
    """

    num_in_ch: int = 3
    num_out_ch: int = 3
    num_feat: int = 64
    num_block: int = 16
    upscale: int = 4
    num_mid: Sequence[int] | None = None

    def first(self, side: int = 3) -> nn.Conv2d:
        """The convolution of the image, with a kernel of side x side."""
        return nn.Conv2d(self.num_in_ch, self.num_feat, side, 1, side // 2)

    def last(self, side: int = 3) -> nn.Conv2d:
        """The convolution to the output."""
        return nn.Conv2d(self.num_feat, self.num_out_ch, side, 1, side // 2)

    def blocks(self, make: Callable[[int], nn.Module]) -> nn.Sequential:
        """The trunk: `make(inner channels)` for each block. Raises ValueError for an invalid `num_mid`."""
        widths = [self.num_feat] * self.num_block if self.num_mid is None else self.num_mid
        if len(widths) != self.num_block or any(width < 1 for width in widths):
            raise ValueError(
                f"num_mid must give each of the {self.num_block} blocks a width of at least 1, got {list(widths)}"
            )
        return nn.Sequential(*map(make, widths))


class ResidualNetwork(SRNetwork):
    """A network with `conv_first`, a `body` of residual blocks with `conv1` and `conv2`, and `conv_last`."""

    Options = TrunkOptions
    trunk = "body"

    @classmethod
    def recognise_trunk(cls, state: State) -> dict[str, Any] | None:
        """`TrunkOptions` but upscale, from BasicSR's names and shapes; None if there is no such trunk."""
        first, last = state.get("conv_first.weight"), state.get("conv_last.weight")
        if first is None or last is None or not first.dim() == last.dim() == 4 or len(first) == 0:
            return None
        num_block = 1 + last_number(r"body\.(\d+)\.", state)
        inner = [state.get(f"body.{number}.conv1.weight") for number in range(num_block)]
        if not inner or any(weight is None or weight.dim() != 4 for weight in inner):
            return None
        num_mid = [len(weight) for weight in inner if weight is not None]
        pruned = {} if set(num_mid) == {len(first)} else {"num_mid": num_mid}
        sizes = {"num_feat": len(first), "num_block": num_block}
        return {"num_in_ch": first.shape[1], "num_out_ch": len(last), **sizes, **pruned}


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
