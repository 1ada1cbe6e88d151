"""Networks of one channel on colour images: the luma goes through the network, the colours are resized."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

_RED, _BLUE = 0.299, 0.114  # BT.601, full range; green has the rest


class Luma(nn.Module):
    """(N, 3, H, W) RGB in [0, 1] to (N, 3, scale H, scale W) by a network of one channel.

    It is given the luma, and what it makes of that gets the bicubically enlarged difference of each colour from it,
    which is what resizing Cb and Cr comes to (Dong et al., SRCNN, ECCV 2014). Grey stays exactly grey, and reaches the
    network as it is.
    """

    def __init__(self, network: nn.Module, scale: int) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, rgb: Tensor) -> Tensor:
        red, green, blue = rgb.unbind(1)
        luma = (green + _RED * (red - green) + _BLUE * (blue - green)).unsqueeze(1)
        colour = F.interpolate(rgb - luma, scale_factor=float(self.scale), mode="bicubic", align_corners=False)
        return self.network(luma) + colour
