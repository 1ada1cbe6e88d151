"""Single-channel networks on colour images: the network upscales the luma, the chroma is resized."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

_RED, _BLUE = 0.299, 0.114  # BT.601, full range; the rest is green


class Luma(nn.Module):
    """(N, 3, H, W) RGB in [0, 1] to (N, 3, scale H, scale W) by a network of one channel.

    The network upscales the luma; the bicubically resized difference of each colour from the luma is added, which is
    equivalent to resizing Cb and Cr (Dong et al., SRCNN, ECCV 2014). Grey input reaches the network unchanged and stays
    exactly grey.
    """

    def __init__(self, network: nn.Module, scale: int) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, rgb: Tensor) -> Tensor:
        red, green, blue = rgb.unbind(1)
        luma = (green + _RED * (red - green) + _BLUE * (blue - green)).unsqueeze(1)
        colour = F.interpolate(rgb - luma, scale_factor=float(self.scale), mode="bicubic", align_corners=False)
        output: Tensor = self.network(luma) + colour
        return output
