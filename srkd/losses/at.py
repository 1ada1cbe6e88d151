"""Attention transfer: compares where layers are active, independently of their channels."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F

from srkd.losses.align import as_maps, match_size
from srkd.losses.base import Loss, positive
from srkd.losses.numeric import l2_normalise, scaled_to_one
from srkd.losses.registry import register


@register("at")
class AttentionTransfer(Loss):
    """mean (n(mean_c |s|^p) - n(mean_c |t|^p))^2, n the L2 normalisation over positions; p = 2.

    Shapes: maps (N, C, H, W) of any channels, any range; maps of different size are average-pooled to the smaller.
    Default weight: SR 1000 (the maps have unit length, so a map of H W positions gives about 1 / (H W)); classification
    1000. Cost: one pass over each map; memory one channel.
    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017 (arXiv:1612.03928).
    """

    shapes: ClassVar[str] = "maps"
    zero_at_equal = True

    def __init__(self, p: float = 2.0) -> None:
        super().__init__()
        if positive("p", p) < 1:
            raise ValueError(f"p must be at least 1 (below 1 the gradient at zero is infinite), got {p}")
        self.p = p

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        student, teacher = match_size(as_maps(student), as_maps(teacher))
        return F.mse_loss(self.attention(student), self.attention(teacher))

    def attention(self, maps: Tensor) -> Tensor:
        """(N, H W): the mean over channels of |x|^p, of unit length."""
        power = maps.square() if self.p == 2 else maps.abs().pow(self.p)
        return l2_normalise(scaled_to_one(power.mean(1).flatten(1), 1), 1)
