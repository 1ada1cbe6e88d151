"""Matches the sign of features before the activation (AB)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from srkd.losses.align import Projected
from srkd.losses.base import positive
from srkd.losses.numeric import mean_square, with_gradient
from srkd.losses.registry import register


@register("ab")
class ActivationBoundary(Projected):
    """mean relu(margin - s)^2 where t > 0 and relu(margin + s)^2 elsewhere: matches the sign of the teacher's features.

    For initialisation: use it alone in a first stage, then train with other losses. Tap both networks before the
    activation; margin 1.

    Shapes: maps (N, C, H, W) or vectors (N, C), any range; sizes are average-pooled to the smaller, different channels
    projected by a learned 1x1 convolution. Default weight: SR 1.0, classification 1.0, in its own stage. Cost: one
    1x1 convolution and a few passes over the teacher's map; memory two maps.
    Source: Heo et al., "Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons",
    AAAI 2019 (arXiv:1811.03233).
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = positive("margin", margin)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        student, teacher = self.aligned(student, teacher)
        with torch.no_grad():
            side = (teacher > 0).to(student.dtype).mul_(2).sub_(1)
            short = (side * student).neg_().add_(self.margin).clamp_min_(0)
            value = mean_square(short)
        return with_gradient(value, {student: side.mul_(short).mul_(-2 / short.numel())})
