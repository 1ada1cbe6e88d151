"""SESR: Bhardwaj et al., "Collapsible Linear Blocks for Super-Efficient Super Resolution", MLSys 2022."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.networks.base import Ladder, Recognised, SRNetwork, State, last_number, shuffle_factor
from srkd.networks.registry import register
from srkd.networks.tail import ShuffleLast


@register("SESR")
class SESR(SRNetwork):
    """The collapsed network: a 5x5 convolution, 3x3 convolutions with PReLU, a long skip connection, a 5x5 convolution.

    The paper's blocks are linear and collapse into these convolutions; `train.reparameterise` trains such branches. Its
    short skip connections collapse into the kernels, which therefore start with the identity. Published sizes have 16
    features: M3, M5, M7 and M11 with as many blocks, and XL 32 features and 11 blocks. They are for one channel (luma);
    here the nearest-neighbour image of each colour is added.

    Args:
        num_in_ch, num_out_ch: channels of the input and the output; equal.
        num_feat, num_block: channels and 3x3 convolutions.
        upscale: any factor.
    """

    ladder = Ladder("SESR", widths=(8, 12, 16, 24, 32, 48), depths=(3, 5, 11), offered=False)

    def __init__(
        self, num_in_ch: int = 3, num_out_ch: int = 3, num_feat: int = 16, num_block: int = 5, upscale: int = 2
    ) -> None:
        super().__init__()
        if num_in_ch != num_out_ch:
            raise ValueError(f"num_in_ch {num_in_ch} and num_out_ch {num_out_ch} must be equal: the input is added")
        self.upscale = upscale
        self.conv_first = nn.Conv2d(num_in_ch, num_feat, 5, 1, 2)
        self.body = nn.ModuleList()
        for _ in range(num_block):
            self.body += [nn.Conv2d(num_feat, num_feat, 3, 1, 1), nn.PReLU(num_feat)]
        self.conv_last = nn.Conv2d(num_feat, num_out_ch * upscale**2, 5, 1, 2)
        with torch.no_grad():
            for layer in self.body[::2]:
                assert isinstance(layer, nn.Conv2d)
                layer.weight += nn.init.dirac_(torch.empty_like(layer.weight))

    def features(self, x: Tensor) -> Tensor:
        """The input of the last convolution."""
        first = y = self.conv_first(x - 0.5)
        for layer in self.body:
            y = layer(y)
        output: Tensor = y + first
        return output

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to (N, C, upscale H, upscale W), about [0, 1] (not clamped)."""
        y = F.pixel_shuffle(self.conv_last(self.features(x)), self.upscale)
        return y + F.interpolate(x, scale_factor=self.upscale, mode="nearest")

    @classmethod
    def recognise(cls, state: State) -> Recognised | None:
        """Its own names; the authors' checkpoints are TensorFlow's."""
        first, last = state.get("conv_first.weight"), state.get("conv_last.weight")
        if first is None or last is None or first.shape[2:] != (5, 5) or "body.1.weight" not in state:
            return None
        num_feat, num_in_ch = first.shape[:2]
        upscale = shuffle_factor(len(last), num_in_ch)
        if upscale == 0:
            return None
        num_block = (1 + last_number(r"body\.(\d+)\.", state)) // 2
        channels = {"num_in_ch": num_in_ch, "num_out_ch": num_in_ch}
        return {**channels, "num_feat": num_feat, "num_block": num_block, "upscale": upscale}, dict(state)

    def fused(self) -> nn.Module:
        last = self.conv_last
        del self.conv_last
        return ShuffleLast(self, last, self.upscale, adds_input=True)
