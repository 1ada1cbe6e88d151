"""SRResNet, the generator of SRGAN: Ledig et al., CVPR 2017, and its variant without batch norm."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from srkd.networks.base import Ladder, Recognised, State, shuffle_factor
from srkd.networks.blocks import ResidualBlock, ResidualNetwork, Upsampler, kaiming
from srkd.networks.registry import register


@register("MSRResNet")
class MSRResNet(ResidualNetwork):
    """SRResNet without batch norm that learns the difference to bilinear interpolation (BasicSR's MSRResNet).

    Parameter names and arithmetic are BasicSR's, so its checkpoints load. 64 features and 16 blocks: 1,517,571
    parameters at x4.

    Args:
        one_step: one pixel shuffle for the whole factor; BasicSR's x4 uses two of factor 2.
        trunk: as `TrunkOptions`; `upscale` is 2, 3 or 4; any from 2 with `one_step`.
    """

    ladder = Ladder("SRResNet", depths=(4, 8))

    def __init__(self, one_step: bool = False, **trunk: Any) -> None:
        super().__init__()
        options = self.Options(**trunk)
        upscale, num_feat = options.upscale, options.num_feat
        if upscale not in (2, 3, 4) and not (one_step and upscale > 1):
            raise ValueError(f"upscale must be 2, 3 or 4, got {upscale}")
        self.upscale = upscale
        self.conv_first = options.first()
        self.body = options.blocks(lambda num_mid: ResidualBlock(num_feat, small_init=True, num_mid=num_mid))
        two_steps = upscale == 4 and not one_step
        factor = 2 if two_steps else upscale
        self.upconv1 = nn.Conv2d(num_feat, num_feat * factor**2, 3, 1, 1)
        self.pixel_shuffle = nn.PixelShuffle(factor)
        if two_steps:
            self.upconv2 = nn.Conv2d(num_feat, num_feat * 4, 3, 1, 1)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_last = options.last()
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
        output: Tensor = residue + F.interpolate(x, scale_factor=self.upscale, mode="bilinear", align_corners=False)
        return output

    @classmethod
    def recognise(cls, state: State) -> Recognised | None:
        """MSRResNet with BasicSR's names (also traiNNer's)."""
        common = cls.recognise_trunk(state)
        if common is None or "upconv1.weight" not in state:
            return None
        widening = [state[key] for key in ("upconv1.weight", "upconv2.weight") if key in state]
        steps = [shuffle_factor(len(tensor), common["num_feat"]) for tensor in widening]
        options = {**common, "upscale": math.prod(steps)}
        if steps in ([2], [3], [2, 2]):
            return options, dict(state)
        return (options | {"one_step": True}, dict(state)) if len(steps) == 1 and steps[0] > 3 else None


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
        output: Tensor = x + self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))
        return output


@register("SRResNet")
class SRResNet(ResidualNetwork):
    """SRResNet as published: 9x9 first and last convolutions, batch norm and PReLU in the trunk, pixel shuffle.

    The paper's output is tanh over [-1, 1] or linear over [0, 1]; this is the latter. 64 features and 16 blocks.

    Args:
        trunk: as `TrunkOptions`; `upscale` is 3 or a power of two.
    """

    def __init__(self, **trunk: Any) -> None:
        super().__init__()
        options = self.Options(**trunk)
        num_feat = options.num_feat
        self.conv_first = options.first(9)
        self.prelu = nn.PReLU()
        self.body = options.blocks(lambda num_mid: NormedBlock(num_feat, num_mid))
        self.conv_after_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.bn_after_body = nn.BatchNorm2d(num_feat)
        parts = [
            [part, nn.PReLU()] if isinstance(part, nn.PixelShuffle) else [part]
            for part in Upsampler(options.upscale, num_feat)
        ]
        self.upsample = nn.Sequential(*(p for pair in parts for p in pair))
        self.conv_last = options.last(9)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N, 3, upscale H, upscale W), about [0, 1] (not clamped)."""
        x = self.prelu(self.conv_first(x))
        x = self.bn_after_body(self.conv_after_body(self.body(x))) + x
        output: Tensor = self.conv_last(self.upsample(x))
        return output

    @classmethod
    def recognise(cls, state: State) -> Recognised | None:
        """SRResNet with these names, which differ from EDSR's by the batch norms."""
        common = cls.recognise_trunk(state)
        if common is None or "bn_after_body.weight" not in state:
            return None
        widening = [tensor for key, tensor in state.items() if key.startswith("upsample.") and tensor.dim() == 4]
        steps = [shuffle_factor(len(tensor), common["num_feat"]) for tensor in widening]
        if steps != [3] and set(steps) != {2}:
            return None
        return {**common, "upscale": math.prod(steps)}, dict(state)
