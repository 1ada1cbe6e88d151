"""Features compared element by element (FitNet)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from srkd.losses.align import Projected
from srkd.losses.numeric import mean_square
from srkd.losses.registry import register


@register("fitnet")
class FitNet(Projected):
    """mean (s - t)^2 between feature maps, the student's through a learned 1x1 projection where channels differ.

    Shapes: maps (N, C, H, W) or vectors (N, C), any range; maps of different size are average-pooled to the smaller.
    Default weight: SR 1.0 on features of unit scale (divide by the teacher's variance otherwise); classification 100.
    Cost: one 1x1 convolution and one pass over the teacher's map; memory one map of the teacher's shape.
    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015 (arXiv:1412.6550).
    """

    zero_at_equal = True

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        student, teacher = self.aligned(student, teacher)
        return mean_square(student - teacher)
